"""The append-only, hash-chained record of change sets, approvals, rollouts and verdicts.

Each entry names the digest of the one before it, and is sealed with a key that only workers hold: a change to any
entry shows in all that follow, and nobody without the key can write those anew. A sealed head tells when the last
ones are gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from triplane.core import files
from triplane.core.digest import canonical_json, digest
from triplane.core.errors import RefusedError, TransientError
from triplane.core.keys import key_id, seal, sealed

GENESIS = "sha256:" + "0" * 64
RESEALED = "resealed"
FOLDER = "ledger"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. ``body`` holds digests and names, never secrets. ``key`` names the key that made
    ``seal``; both are empty where the installation has no signing key."""

    number: int
    previous: str
    kind: str
    at: str
    body: Mapping[str, Any]
    key: str = ""
    seal: str = ""

    @property
    def digest(self) -> str:
        """What the next entry refers to as ``previous``."""
        return digest([self.number, self.previous, self.kind, self.at, dict(self.body)])


@dataclass(frozen=True)
class Head:
    """The last entry of a ledger, to be compared with what is there later."""

    number: int
    digest: str
    key: str = ""
    seal: str = ""


class Ledger:
    """The ledger of one scope (``staging/aws``) under ``root``, one file an entry.

    :param keys: the signing keys, the newest first; without any, entries are chained but not sealed
    """

    def __init__(self, root: Any, scope: str, keys: Sequence[str] = ()) -> None:
        self._folder = root / FOLDER
        for part in scope.split("/"):
            self._folder = self._folder / part
        self._keys = keys
        self.scope = scope

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All entries in order, or those of one kind.

        :raises RefusedError: an entry was changed, removed, moved or slipped in
        """
        found = self._found()
        if problems := self._problems(found):
            raise RefusedError(f"the ledger of {self.scope} is not to be trusted: {problems[0]}")
        return [entry for entry in found if kind in (None, entry.kind)]

    def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        """The last entries, or the last ones before a number, the newest first. For looking: nothing is verified."""
        newest = reversed(self._paths()[:before][-limit:])
        return [Entry(**json.loads(data)) for data in files.read_all(list(newest))]

    def problems(self, known: Head | None = None) -> list[str]:
        """What shows that somebody changed, removed, moved or added entries; empty if nothing does.

        :param known: a head of an earlier day, kept elsewhere: what was recorded then must still be there
        """
        found = self._found()
        problems = self._problems(found)
        if known and (len(found) <= known.number or found[known.number].digest != known.digest):
            problems.append(f"entry {known.number} is not the {known.digest} that was there before")
        return problems

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Add an entry.

        :raises RefusedError: no worker of this installation wrote what is the last entry now
        :raises TransientError: others kept adding entries at the same time
        """
        for _ in range(20):
            last = self._last()
            if last and (problem := self._unsealed(last)):
                raise RefusedError(f"the ledger of {self.scope} is not to be trusted: {problem}")
            if entry := self._added(last, kind, body):
                return entry
        raise TransientError(f"the ledger of {self.scope} is busy; try again")

    def append_after(self, known: Sequence[Entry], kind: str, body: Mapping[str, Any]) -> Entry | None:
        """Add an entry if ``known``, all entries as they were just read, are still all; else None: decide again."""
        return self._added(known[-1] if known else None, kind, body)

    def reseal(self) -> Entry:
        """Vouch with the newest key for what is there, once the key that sealed the last entry is no longer known.

        :raises RefusedError: entries were changed, removed, moved or slipped in
        :raises TransientError: somebody added an entry at the same time
        """
        found = self._found()
        if broken := _breaks(found):
            raise RefusedError(f"the ledger of {self.scope} is not to be trusted: {broken[0]}")
        entry = self._added(found[-1] if found else None, RESEALED, {})
        if entry is None:
            raise TransientError(f"the ledger of {self.scope} is busy; try again")
        return entry

    def head(self) -> Head | None:
        """What to keep elsewhere, so that a later :meth:`problems` notices entries that are gone; None where empty."""
        last = self._last()
        return Head(last.number, last.digest, last.key, last.seal) if last else None

    def _added(self, last: Entry | None, kind: str, body: Mapping[str, Any]) -> Entry | None:
        """The new entry, None if somebody else added one meanwhile."""
        number, previous = (last.number + 1, last.digest) if last else (0, GENESIS)
        entry = self._sealed(Entry(number, previous, kind, datetime.now(UTC).isoformat(), dict(body)))
        try:
            files.create(self._folder / f"{number:08d}.json", canonical_json(vars(entry)))
        except FileExistsError:
            return None
        head = Head(number, entry.digest, entry.key, entry.seal)
        known = self._known_head()
        if known is None or known.number < number:
            files.replace(self._folder / "head", canonical_json(vars(head)))
        return entry

    def _sealed(self, entry: Entry) -> Entry:
        if not self._keys:
            return entry
        key = self._keys[0]
        return replace(entry, key=key_id(key), seal=seal(key, self._signed(entry.digest)))

    def _signed(self, digest: str) -> bytes:
        return canonical_json(["ledger", self.scope, digest])

    def _problems(self, found: Sequence[Entry]) -> list[str]:
        problems = _breaks(found)
        if found and (problem := self._unsealed(found[-1])):
            problems.append(problem)
        head = self._known_head()
        if head and len(found) <= head.number:
            problems.append(f"there were {head.number + 1} entries, and there are {len(found)} now")
        elif head and found[head.number].digest != head.digest and not problems:
            problems.append("the head is not the one that a worker of this installation wrote")
        return problems

    def _unsealed(self, last: Entry) -> str:
        """Why the last entry, which vouches for all before it, is not one of ours; empty if it is."""
        if not self._keys or sealed(self._keys, last.key, self._signed(last.digest), last.seal):
            return ""
        if last.key in {key_id(key) for key in self._keys}:
            return f"entry {last.number} was not written by a worker of this installation"
        why = (
            f"was sealed with the key {last.key}, which is not in [triplane] signing_key any more"
            if last.key
            else "is not sealed, as if it were from before [triplane] signing_key was set"
        )
        return (
            f"entry {last.number} {why}; if that is right, say so with `triplane ledger reseal {self.scope}`"
        )

    def _known_head(self) -> Head | None:
        data = files.read(self._folder / "head")
        return None if data is None else Head(**json.loads(data))

    def _found(self) -> list[Entry]:
        return [Entry(**json.loads(data)) for data in files.read_all(self._paths())]

    def _last(self) -> Entry | None:
        return next((Entry(**json.loads(data)) for data in files.read_all(self._paths()[-1:])), None)

    def _paths(self) -> list[Any]:
        return [path for path in files.children(self._folder) if path.name.endswith(".json")]


def scopes(root: Any) -> list[str]:
    """The scopes that have a ledger under ``root``."""

    def below(folder: Any, name: str) -> list[str]:
        children = files.children(folder)
        own = [name] if any(path.name.endswith(".json") for path in children) else []
        return own + [
            scope
            for path in children
            if path.is_dir()
            for scope in below(path, f"{name}/{path.name}".lstrip("/"))
        ]

    return below(root / FOLDER, "")


def _breaks(found: Sequence[Entry]) -> list[str]:
    """Where the chain does not hold; after a gap nothing more can be said."""
    previous = GENESIS
    problems: list[str] = []
    for number, entry in enumerate(found):
        if entry.number != number:
            return [*problems, f"entry {number} is missing or out of order"]
        if entry.previous != previous:
            problems.append(
                f"entry {number} does not follow the entry {number - 1} that is there"
                if number
                else "entry 0 does not begin it"
            )
        previous = entry.digest
    return problems
