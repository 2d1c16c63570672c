"""The append-only, hash-chained record of change sets, approvals, rollouts and verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triplane.core import files
from triplane.core.digest import canonical_json, digest
from triplane.core.errors import RefusedError, TransientError

GENESIS = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. ``body`` holds digests and names, never secrets."""

    number: int
    previous: str
    kind: str
    at: str
    body: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """What the next entry refers to as ``previous``."""
        return digest([self.number, self.previous, self.kind, self.at, dict(self.body)])


class Ledger:
    """The ledger of one scope (``staging/aws``) under ``root``, one file an entry."""

    def __init__(self, root: Any, scope: str) -> None:
        self._folder = root / "ledger"
        for part in scope.split("/"):
            self._folder = self._folder / part
        self._scope = scope

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All entries in order, or those of one kind.

        :raises RefusedError: an entry was changed, removed or slipped in
        """
        found: list[Entry] = []
        for path in self._paths():
            entry = Entry(**json.loads(path.read_bytes()))
            expected = found[-1].digest if found else GENESIS
            if entry.previous != expected or entry.number != len(found):
                raise RefusedError(
                    f"the ledger of {self._scope} is broken at entry {len(found)}: do not trust it"
                )
            found.append(entry)
        return [entry for entry in found if kind in (None, entry.kind)]

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Add an entry. :raises TransientError: others kept adding entries at the same time"""
        self._folder.mkdir(parents=True, exist_ok=True)
        for _ in range(20):
            entries = self.entries()
            entry = Entry(
                len(entries),
                entries[-1].digest if entries else GENESIS,
                kind,
                datetime.now(UTC).isoformat(),
                dict(body),
            )
            try:
                files.create(self._folder / f"{entry.number:08d}.json", canonical_json(vars(entry)))
            except FileExistsError:
                continue
            return entry
        raise TransientError(f"the ledger of {self._scope} is busy; try again")

    def _paths(self) -> list[Any]:
        if not self._folder.exists():
            return []
        return sorted(
            (p for p in self._folder.iterdir() if p.name[:1] != "." and p.name.endswith(".json")),
            key=lambda p: p.name,
        )
