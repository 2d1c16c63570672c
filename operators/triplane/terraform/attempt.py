"""Attempts at approved plans, as the ledger knows them: an approved plan is applied once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from triplane.core.change import ComponentChange
from triplane.core.digest import digest
from triplane.core.errors import RefusedError, StaleError
from triplane.core.jobs import Job, job
from triplane.core.ledger import Entry, Ledger
from triplane.terraform.plan import State

APPLYING = "terraform.applying"
APPLIED = "terraform.applied"
FAILED = "terraform.failed"
NOT_STARTED = "terraform.not_started"
HELD = "terraform.held"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at an approved plan. ``key`` identifies the approval, ``run`` the DAG run that asks.

    ``lineage`` and ``serial`` are of the state that was approved.
    """

    address: str
    key: str
    run: str
    lineage: str
    serial: int

    @classmethod
    def at(cls, approved: ComponentChange, *, address: str, run: str) -> Attempt:
        """The attempt of ``run`` (``dag_id/run_id``). A deferred change has no plan yet that identifies it."""
        deferred = approved.action == "deferred"
        return cls(
            address=address,
            key=digest([run, approved.to_json()]) if deferred else str(approved.binds.get("plan")),
            run=run,
            lineage=str(approved.binds["lineage"]),
            serial=int(approved.binds["serial"]),
        )

    @classmethod
    def of(cls, entry: Entry) -> Attempt:
        """The attempt that a ledger entry :data:`APPLYING` opened."""
        names = ("address", "key", "run", "lineage", "serial")
        return cls(**{name: entry.body[name] for name in names})

    def body(self, **more: Any) -> dict[str, Any]:
        """What the ledger keeps of it."""
        return {"address": self.address, "key": self.key, "run": self.run, **more}

    def job(self) -> Job:
        """Where a retry finds the Terraform that applies it."""
        return job(["terraform apply", self.address, self.key, self.run])


def decide(attempt: Attempt, state: State, entries: Sequence[Entry]) -> Literal["apply", "done", "again"]:
    """``done``: this run applied it before, or what people were asked instead, and the state is as that left
    it. ``again``: this run began to apply it and did not finish, so what is left has to be planned.

    Terraform notices a state that has moved on, but not a first plan that is applied once more after its
    state is gone: the ledger does.

    :raises RefusedError: another run applied it, or began to
    :raises StaleError: the state is not the one that was approved
    """
    last = last_real([entry for entry in entries if entry.body.get("key") == attempt.key])
    if last is not None and last.kind == HELD:
        asked = last_of(replace(attempt, key=str(last.body["plan"])), entries)
        return "done" if asked is not None and _as_left(state, asked) else "again"
    if last is not None:
        return _tried(attempt, state, last)
    if (state.lineage, state.serial) != (attempt.lineage, attempt.serial):
        approved = State(lineage=attempt.lineage, serial=attempt.serial)
        raise StaleError(
            f"the state has moved: the plan was approved for {approved}, but there is now {state}. "
            "Nothing was applied; run again to plan and approve what is left to do"
        )
    return "apply"


def begin(ledger: Ledger, attempt: Attempt, *, plan: str) -> None:
    """Record that the plan is about to be applied, before the first side effect.

    :raises RefusedError: another task began to apply it at the same moment
    """
    entry = ledger.append(APPLYING, attempt.body(plan=plan, lineage=attempt.lineage, serial=attempt.serial))
    mine = [e for e in ledger.entries() if e.body.get("key") == attempt.key]
    ended = [e.number for e in mine if e.kind in (NOT_STARTED, FAILED) and e.number < entry.number]
    first = next(e for e in mine if e.kind == APPLYING and e.number > max(ended, default=-1))
    if first.number != entry.number:
        raise RefusedError(f"{first.body['run']} is applying this plan already")


def last_of(attempt: Attempt, entries: Sequence[Entry]) -> Entry | None:
    """The last entry about this attempt's approval."""
    return next((entry for entry in reversed(entries) if entry.body.get("key") == attempt.key), None)


def last_real(entries: Sequence[Entry]) -> Entry | None:
    """The last of them that is not about an apply that began nothing."""
    not_started: set[object] = set()
    for entry in reversed(entries):
        if entry.kind == NOT_STARTED:
            not_started.add(entry.body["key"])
        elif entry.kind == APPLYING and entry.body["key"] in not_started:
            not_started.discard(entry.body["key"])
        else:
            return entry
    return None


def _tried(attempt: Attempt, state: State, last: Entry) -> Literal["done", "again"]:
    body: Mapping[str, Any] = last.body
    own = body.get("run") == attempt.run
    if last.kind == APPLIED:
        if own and _as_left(state, last):
            return "done"
        raise RefusedError(
            f"this plan was applied at {last.at} by {body.get('run')}; a plan is applied "
            "once. Run again to plan what is left to do"
        )
    if own:
        return "again"
    ended = "failed" if last.kind == FAILED else "did not finish"
    raise RefusedError(
        f"{body.get('run')} began to apply this plan, and that {ended} ({last.at}); there is "
        f"now {state}. Run again to plan and approve what is left to do"
    )


def _as_left(state: State, applied: Entry) -> bool:
    left = (applied.body.get("lineage"), applied.body.get("serial"))
    return applied.kind == APPLIED and (state.lineage, state.serial) == left
