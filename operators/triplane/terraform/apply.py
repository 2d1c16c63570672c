"""Whether an approved plan may be applied now: once, on the state it was made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from triplane.core.errors import RefusedError, StaleError
from triplane.core.ledger import Entry, Ledger
from triplane.terraform.plan import State

APPLYING = "terraform.applying"
APPLIED = "terraform.applied"
FAILED = "terraform.failed"
NOT_STARTED = "terraform.not_started"


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

    def body(self, **more: Any) -> dict[str, Any]:
        """What the ledger keeps of it."""
        return {"address": self.address, "key": self.key, "run": self.run, **more}


def decide(attempt: Attempt, state: State, entries: Sequence[Entry]) -> Literal["apply", "done"]:
    """``done``: this run applied it before, and the state is as that left it.

    Terraform notices a state that has moved on, but not a first plan that is applied once more after its
    state is gone: the ledger does.

    :raises RefusedError: it was applied before, or an attempt at it was begun and did not finish
    :raises StaleError: the state is not the one that was approved
    """
    last = next((entry for entry in reversed(entries) if entry.body.get("key") == attempt.key), None)
    if last is not None and last.kind != NOT_STARTED:
        return _again(attempt, state, last)
    if (state.lineage, state.serial) != (attempt.lineage, attempt.serial):
        approved = State(lineage=attempt.lineage, serial=attempt.serial)
        raise StaleError(
            f"the plan was approved for {approved}, but there is now {state}. "
            "Nothing was applied; run again to plan and approve what is left to do"
        )
    return "apply"


def begin(ledger: Ledger, attempt: Attempt, *, plan: str) -> None:
    """Record that the plan is about to be applied, before the first side effect.

    :raises RefusedError: another task began to apply it at the same moment
    """
    entry = ledger.append(APPLYING, attempt.body(plan=plan, lineage=attempt.lineage, serial=attempt.serial))
    open_since = [e for e in ledger.entries() if e.body.get("key") == attempt.key]
    ended = [e.number for e in open_since if e.kind == NOT_STARTED and e.number < entry.number]
    first = next(e for e in open_since if e.kind == APPLYING and e.number > max(ended, default=-1))
    if first.number != entry.number:
        raise RefusedError(f"{first.body['run']} is applying this plan already")


def _again(attempt: Attempt, state: State, last: Entry) -> Literal["done"]:
    body: Mapping[str, Any] = last.body
    if last.kind == APPLIED:
        unmoved = (state.lineage, state.serial) == (body.get("lineage"), body.get("serial"))
        if body.get("run") == attempt.run and unmoved:
            return "done"
        raise RefusedError(
            f"this plan was applied at {last.at} by {body.get('run')}; a plan is applied "
            "once. Run again to plan what is left to do"
        )
    ended = "failed" if last.kind == FAILED else "did not finish"
    raise RefusedError(
        f"{body.get('run')} began to apply this plan, and that {ended} ({last.at}); there is "
        f"now {state}. Run again to plan and approve what is left to do"
    )
