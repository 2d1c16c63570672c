"""What was sent already, and which message began a thread: kept in the artifact store."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triplane.core.store import ArtifactStore

SENDING_SECONDS = 300.0
"""Whoever has said for longer that it is sending was killed meanwhile."""


class Memory:
    """The memory of one route.

    A message is claimed before it is sent. A sender that was killed loses its claim after
    :data:`SENDING_SECONDS`: then the message may arrive twice, but it does arrive.
    """

    def __init__(self, store: ArtifactStore, route: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._base = f"notify/{route}"
        self._clock = clock
        self._me = uuid.uuid4().hex

    def claim(self, identity: str) -> bool:
        """Whether it is ours to send: nobody else has sent it, or is sending it."""
        name = self._name(identity)
        if self._store.create_named(name, self._claim()):
            return True
        found = self._read(name)
        if found.get("state") == "sent":
            return False
        sending = found.get("state") == "sending" and self._clock() - found["at"] < SENDING_SECONDS
        if sending:
            return False
        self._store.put_named(name, self._claim())
        return self._read(name).get("by") == self._me

    def sent(self, identity: str) -> None:
        """It has arrived."""
        self._write(self._name(identity), state="sent")

    def failed(self, identity: str) -> None:
        """It has not: the next try may send it."""
        self._write(self._name(identity), state="failed")

    def anchor(self, thread: str) -> str:
        """What the service calls the first message of this thread, empty if there is none."""
        return str(self._read(self._thread(thread)).get("anchor", "")) if thread else ""

    def begin(self, thread: str, anchor: str) -> None:
        """The first message of a thread was sent."""
        if thread and anchor:
            self._store.create_named(self._thread(thread), json.dumps({"anchor": anchor}).encode())

    def _name(self, identity: str) -> str:
        return f"{self._base}/sent/{identity}"

    def _thread(self, thread: str) -> str:
        return f"{self._base}/threads/{thread}"

    def _claim(self) -> bytes:
        return json.dumps({"state": "sending", "at": self._clock(), "by": self._me}).encode()

    def _write(self, name: str, **value: Any) -> None:
        self._store.put_named(name, json.dumps({**value, "at": self._clock()}).encode())

    def _read(self, name: str) -> dict[str, Any]:
        data = self._store.get_named(name)
        return {} if data is None else dict(json.loads(data))
