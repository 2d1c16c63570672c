"""What the page reads from the artifact store and the ledgers. What cannot be read is told once, and left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from triplane import settings
from triplane.core.errors import InputError, RefusedError, TriplaneError

if TYPE_CHECKING:
    from triplane.core.change import ChangeSet
    from triplane.core.ledger import Entry, Head
    from triplane.core.store import ArtifactStore

T = TypeVar("T")
ERRORS = (TriplaneError, OSError, ValueError, TypeError)
"""What reading raises: what is there may have been tampered with."""
NOBODY = "?"
"""No platform has this name."""
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
        """Environment -> the platform that it belongs to, of those that were deployed; nobody's where that cannot be read."""
        if self._store is None:
            return {}
        found = {name: self._owner(name) for name in environments}
        return {name: owner for name, owner in found.items() if owner}

    def deployed(self, scope: str) -> Mapping[str, Mapping[str, Any]]:
        """See :func:`triplane.core.deployed.read`."""
        from triplane.core import deployed

        return self._try(lambda store: deployed.read(store, scope)) or {}

    def drift(self, platform: str, environment: str) -> dict[str, Any] | None:
        """The report of the last drift check, if it was this platform's: one from before the environment was taken may be another's."""
        from triplane.drift import kept

        found = self._try(lambda _: kept.report(environment))
        return found if found and found["platform"] == platform else None

    def drift_state(self, environment: str) -> Mapping[str, Any]:
        """The alarms, and the counts of the drift checks: see :func:`triplane.drift.kept.state`."""
        from triplane.drift import kept

        return self._try(lambda _: kept.state(environment)) or {"alarms": {}, "history": []}

    def change_set(self, digest: str) -> ChangeSet | None:
        """The change set of this digest; XComs can name anything, so what is none is told."""

        def work(_: ArtifactStore) -> ChangeSet:
            try:
                return settings.get_change_set(digest)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise RefusedError(f"artifact {digest} is not a change set; start a new run") from error

        return self._try(work)

    def entries(self, scope: str) -> list[Entry]:
        """All entries of a ledger; none where it was tampered with, which is a problem."""
        return self._try(lambda _: settings.ledger(scope).entries()) or []

    def newest(self, scope: str, limit: int, before: int | None = None) -> list[Entry]:
        """See :meth:`triplane.core.ledger.Ledger.newest`."""
        return self._try(lambda _: settings.ledger(scope).newest(limit, before)) or []

    def verified(self, scope: str) -> tuple[list[str], Head | None]:
        """What is wrong with a ledger, and its head."""
        ledger = settings.ledger(scope)
        return self._try(lambda _: (ledger.problems(), ledger.head())) or ([], None)

    def _owner(self, environment: str) -> str:
        owner = self._try(lambda _: settings.environment_owner(environment) or "")
        return NOBODY if owner is None else owner

    def _try(self, work: Callable[[ArtifactStore], T]) -> T | None:
        if self._store is None:
            return None
        try:
            return work(self._store)
        except ERRORS as error:
            self.tell(str(error))
            return None
