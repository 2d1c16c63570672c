"""One sandbox for all end-to-end tests of a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from triplane.sandbox.runtime import Sandbox


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A running sandbox: the one in ``$TRIPLANE_SANDBOX_HOME`` if it is up, else a new one for this run."""
    if home := os.environ.get("TRIPLANE_SANDBOX_HOME"):
        yield Sandbox.load(Path(home))
        return
    with tempfile.TemporaryDirectory(prefix="triplane-") as directory:
        sandbox = Sandbox.up(Path(directory) / "sandbox", on_progress=print)
        try:
            yield sandbox
        finally:
            sandbox.down()


@pytest.fixture
def cloud_env(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """``os.environ`` leads into the sandbox; returns what was added."""
    environ = sandbox.environ()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ
