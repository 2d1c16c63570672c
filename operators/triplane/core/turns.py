"""Whose turn it is in an environment: runs that deploy to it go one after the other.

The order is that of the entries of an append-only ledger. Whether a run still goes on is Airflow's to say, so a run
that died holds nobody up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from triplane.core.ledger import Entry

ASKED = "asked"
TAKEN = "taken"
SUPERSEDED = "superseded"
APPLYING = "applying"
KINDS = (ASKED, TAKEN, SUPERSEDED, APPLYING)


def scope(environment: str) -> str:
    """The ledger of the turns of an environment."""
    return f"{environment}/turns"


@dataclass(frozen=True)
class Run:
    """A run of a DAG, named as Airflow names it."""

    dag_id: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.dag_id} {self.run_id}"

    def body(self, **more: str) -> dict[str, str]:
        """What an entry says of it."""
        return {"dag_id": self.dag_id, "run_id": self.run_id, **more}


@dataclass
class _Turn:
    asked: int = -1
    taken: int = -1
    applying: bool = False
    superseded_by: str = ""


@dataclass
class Turns:
    """What the entries say. Of being superseded and of applying, what comes first in the ledger counts."""

    entries: Iterable[Entry]
    _runs: dict[Run, _Turn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.entries:
            if entry.kind not in KINDS:
                continue
            run = Run(str(entry.body["dag_id"]), str(entry.body["run_id"]))
            turn = self._runs.setdefault(run, _Turn())
            match entry.kind:
                case "asked" if turn.asked < 0:
                    turn.asked = entry.number
                case "taken":
                    turn.taken = entry.number
                case "applying" if not turn.superseded_by:
                    turn.applying = True
                case "superseded" if not turn.applying:
                    turn.superseded_by = str(entry.body["by"])

    def asked(self, run: Run) -> bool:
        """Whether it is in the queue, or was."""
        return run in self._runs and self._runs[run].asked >= 0

    def superseded_by(self, run: Run) -> str:
        """The newer run that took its place, empty if none did."""
        return self._runs[run].superseded_by if run in self._runs else ""

    def applying(self, run: Run) -> bool:
        """Whether it has begun to apply."""
        return run in self._runs and self._runs[run].applying

    def before(self, run: Run, running: Callable[[Run], bool]) -> list[Run]:
        """Those that ``run`` waits for: they asked earlier, or have their turn, and still run."""
        own = self._runs[run].asked
        return [
            other
            for other, turn in self._runs.items()
            if other != run
            and not turn.superseded_by
            and (turn.taken >= 0 or 0 <= turn.asked < own)
            and running(other)
        ]

    def since(self, run: Run, running: Callable[[Run], bool]) -> list[Run]:
        """Those that took a turn after ``run`` did and still run."""
        own = self._runs[run].taken if run in self._runs else -1
        return [
            other
            for other, turn in self._runs.items()
            if other != run and not turn.superseded_by and turn.taken > own and running(other)
        ]

    def supersedable(self, run: Run, running: Callable[[Run], bool]) -> list[Run]:
        """Older ones that still run and have applied nothing."""
        own = self._runs[run].asked
        return [
            other
            for other, turn in self._runs.items()
            if 0 <= turn.asked < own and not turn.superseded_by and not turn.applying and running(other)
        ]
