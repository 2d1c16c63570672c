"""What the page reads from the artifact store and the ledgers. What cannot be read is told once, and left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from triplane import settings
from triplane.core.errors import InputError, TriplaneError

if TYPE_CHECKING:
    from triplane.core.change import ChangeSet
    from triplane.core.ledger import Entry, Ledger
    from triplane.core.store import ArtifactStore

T = TypeVar("T")
NO_KEY = "The API server cannot read Triplane's artifact store, so versions, change sets, drift and history are missing here: "


class Archive:
    """Reads for one request. ``problems`` says what could not be read, and what to do about it."""

    def __init__(self) -> None:
        self._problems: dict[str, None] = {}
        self._store: ArtifactStore | None = None
        try:
            self._store = settings.artifact_store()
        except InputError as error:
            self.tell(f"{NO_KEY}{error}")

    @property
    def problems(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(self._problems)

    def tell(self, problem: str) -> None:
        """Add a problem."""
        self._problems[problem] = None

    def owners(self, environments: Sequence[str]) -> dict[str, str]:
        """Environment -> the platform that it belongs to, of those that were deployed."""
        found = {name: self._named(f"environments/{name}") for name in environments}
        return {name: data.decode() for name, data in found.items() if data is not None}

    def deployed(self, scope: str) -> Mapping[str, Mapping[str, Any]]:
        """See :func:`triplane.core.deployed.read`."""
        from triplane.core import deployed

        return self._try(lambda store: deployed.read(store, scope)) or {}

    def drift(self, environment: str) -> dict[str, Any] | None:
        """The report of the last drift check."""
        from triplane.drift import kept

        return self._try(lambda _: kept.report(environment))

    def drift_history(self, environment: str) -> list[dict[str, Any]]:
        """The counts of the drift checks, the oldest first."""
        from triplane.drift import kept

        return list((self._try(lambda _: kept.state(environment)) or {}).get("history", ()))

    def change_set(self, digest: str) -> ChangeSet | None:
        """The change set of this digest; XComs can name anything, so what is none is told."""
        try:
            return self._try(lambda _: settings.get_change_set(digest))
        except (LookupError, TypeError, AttributeError):
            self.tell(f"artifact {digest} is not a change set; start a new run")
            return None

    def entries(self, scope: str) -> list[Entry]:
        """All entries of a ledger; none where it was tampered with, which is a problem."""
        return self._try(lambda _: settings.ledger(scope).entries()) or []

    def newest(self, scope: str, limit: int, before: int | None = None) -> list[Entry]:
        """See :meth:`triplane.core.ledger.Ledger.newest`."""
        return self._try(lambda _: settings.ledger(scope).newest(limit, before)) or []

    def ledger(self, scope: str) -> Ledger | None:
        """The ledger of a scope."""
        return self._try(lambda _: settings.ledger(scope))

    def _named(self, name: str) -> bytes | None:
        return self._try(lambda store: store.get_named(name))

    def _try(self, work: Callable[[ArtifactStore], T]) -> T | None:
        if self._store is None:
            return None
        try:
            return work(self._store)
        except (TriplaneError, OSError, ValueError) as error:
            self.tell(str(error))
            return None
