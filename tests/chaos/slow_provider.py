"""A cloud whose things take long to create, and its Terraform provider, resident so that no kill reaches it.

Started as a script by the provider's Python::

    slow_provider.py SOURCES FOLDER SECONDS

``FOLDER/objects`` holds one file for each thing that exists, named by its id, with its name in it. A thing
exists from the start of its create, as in real clouds; nothing forbids two of one name. ``FOLDER/journal``
says in which order things were created and deleted, ``FOLDER/reattach`` ``TF_REATTACH_PROVIDERS`` must be.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import tf.provider
import tf.runner

from triplane.sandbox.providers import plugin
from triplane.sandbox.providers.schema import Body, NotFound, Provider, Resource

OBJECTS = Path(sys.argv[2]) / "objects"
SECONDS = float(sys.argv[3])


def journal(what: str, found: str, name: str) -> None:
    with (OBJECTS.parent / "journal").open("a") as file:
        file.write(f"{what} {found} {name}\n")


def create(cloud: None, state: dict[str, Any]) -> str:
    found = uuid.uuid4().hex
    (OBJECTS / found).write_text(state["name"])
    journal("create", found, state["name"])
    time.sleep(SECONDS)
    return found


def read(cloud: None, state: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"id": state["id"], "name": (OBJECTS / state["id"]).read_text()}
    except FileNotFoundError:
        raise NotFound(state["id"]) from None


def delete(cloud: None, state: dict[str, Any]) -> None:
    (OBJECTS / state["id"]).unlink(missing_ok=True)
    journal("delete", state["id"], state["name"])


THING = Resource[None](
    lines={"id": "computed string", "name": "required string replace"},
    name="thing",
    create=create,
    read=read,
    delete=delete,
)
PROVIDER = Provider[None](
    name="slow", version="1.0.0", arguments=Body({}), resources=(THING,), connect=lambda config: None
)


class Announcement(io.StringIO):
    """Takes the one line that says how to reach the provider."""

    def write(self, text: str) -> int:
        if "TF_REATTACH_PROVIDERS" in text:
            reattach = Path(sys.argv[2]) / "reattach"
            reattach.with_suffix(".new").write_text(text.split("'")[1])
            reattach.with_suffix(".new").rename(reattach)
        return len(text)


if __name__ == "__main__":
    OBJECTS.mkdir(parents=True)
    tf.provider.ProviderServicer = plugin.Servicer
    # An interrupted Terraform asks its providers to stop; this one serves others too.
    tf.runner._ShutdownInterceptor.intercept_service = lambda self, go_on, details: go_on(details)
    with contextlib.redirect_stdout(Announcement()):
        tf.runner.run_provider(plugin.Plugin(PROVIDER), argv=["slow", "--dev"])
