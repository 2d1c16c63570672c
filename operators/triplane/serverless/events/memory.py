"""What tasks remember of event sources between runs, in the artifact store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from triplane.serverless.events.source import Found

if TYPE_CHECKING:
    from triplane.core.store import ArtifactStore


class Begun(NamedTuple):
    """A deployment that is under way: what it set out from; once it goes back, why, and since when (of ``time.time()``)."""

    attempt: str
    previous: Found | None
    failed: str = ""
    since: float = 0.0


class Memory:
    """What is remembered of the one at ``address``. Without a store nothing is."""

    def __init__(self, store: ArtifactStore | None, scope: str, address: str) -> None:
        self._store = store
        self._place = f"{scope}/{address}"

    def kept(self) -> dict[str, Any] | None:
        """What :func:`triplane.serverless.events.source.keep` said after the last deployment."""
        return self._get(f"event-sources/{self._place}")

    def keep(self, value: Mapping[str, Any] | None) -> None:
        """None: nothing of ours is there any more."""
        self._put(f"event-sources/{self._place}", value)

    def begun(self) -> Begun | None:
        """The deployment that has not ended."""
        found = self._get(f"event-sources-begun/{self._place}")
        if not found:
            return None
        previous = None if found["previous"] is None else Found(**found["previous"])
        return Begun(**{**found, "previous": previous})

    def begin(self, begun: Begun) -> None:
        """To be called before anything is changed."""
        previous = None if begun.previous is None else vars(begun.previous)
        self._put(f"event-sources-begun/{self._place}", {**begun._asdict(), "previous": previous})

    def end(self) -> None:
        """It ended, well or back where it was."""
        self._put(f"event-sources-begun/{self._place}", None)

    def written(self, name: str) -> dict[str, Any]:
        """The options of the one that is called ``name`` at the cloud, as they were written; empty if not known."""
        return self._get(f"event-sources-written/{self._place}/{name}") or {}

    def write(self, name: str, options: Mapping[str, Any]) -> None:
        """Options with their references, which :meth:`written` finds when they have left the spec."""
        self._put(f"event-sources-written/{self._place}/{name}", options)

    def _get(self, name: str) -> dict[str, Any] | None:
        data = None if self._store is None else self._store.get_named(name)
        found: dict[str, Any] | None = None if data is None else json.loads(data)
        return found

    def _put(self, name: str, value: Any) -> None:
        if self._store is not None:
            self._store.put_named(name, json.dumps(value, default=_plain).encode())


def _plain(value: Any) -> Any:
    """Times, as boto3 gives them."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
