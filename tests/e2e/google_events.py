"""A function that remembers what it is called with, and the services that call it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.google_lab import CONNECTION, LIMIT, REGION, desired, package, run, sha256, until_gone
from triplane.clouds import gcp
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.google.targets import cloud_functions
from triplane.serverless.rest import Api

PLACE = {"region": REGION}
CODE = """
import json, os, pathlib, sys

def hook(request):
    folder = pathlib.Path(os.environ["FOLDER"])
    with (folder / "calls").open("a") as file:
        body = request.get_data(as_text=True)
        file.write(json.dumps({"path": request.path, "headers": request.headers, "body": body}) + "\\n")
    return ("no", 500) if (folder / "fail").exists() else ("", 204)
"""


class Recorder:
    """A deployed function; ``calls`` are what it was called with."""

    def __init__(self, folder: Path) -> None:
        self.name = f"recorder-{uuid.uuid4().hex[:8]}"
        self._folder = folder
        data = package({"main.py": CODE})
        options = {"runtime": "python312", "entry_point": "hook", "ingress": "all"}
        made = desired(
            self.name, sha256(data), package=data, options=options, environment={"FOLDER": str(folder)}
        )
        assert not run(lambda: cloud_functions(CONNECTION, REGION), made).failed

    @property
    def calls(self) -> list[dict[str, Any]]:
        file = self._folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def messages(self) -> list[str]:
        """The ids of the messages that Pub/Sub has brought."""
        return [json.loads(call["body"])["message"]["messageId"] for call in self.calls]

    @contextmanager
    def failing(self) -> Iterator[None]:
        (self._folder / "fail").touch()
        try:
            yield
        finally:
            (self._folder / "fail").unlink()


@contextmanager
def recorder(sandbox: Sandbox, folder: Path) -> Iterator[Recorder]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sandbox.environ().items():
            patch.setenv(name, value)
        made = Recorder(folder)
    yield made
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sandbox.environ().items():
            patch.setenv(name, value)
        until_gone(lambda: cloud_functions(CONNECTION, REGION), made.name)


def api(service: str) -> Api:
    return Api(gcp.session(CONNECTION), f"https://{service}.googleapis.com")


def until(what: Callable[[], Any]) -> Any:
    """Wait for it."""
    deadline = time.monotonic() + LIMIT
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
