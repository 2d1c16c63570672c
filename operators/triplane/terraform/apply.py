"""Apply an approved plan: that plan, once, on the state it was made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from triplane.core.change import ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.errors import RefusedError, StaleError, TerminalError
from triplane.core.ledger import Entry, Ledger
from triplane.core.store import ArtifactStore
from triplane.terraform.cli import ApplyError, LockedError
from triplane.terraform.plan import State
from triplane.terraform.stack import Planned, Stack, check_binds

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

    def body(self, **more: Any) -> dict[str, Any]:
        """What the ledger keeps of it."""
        return {"address": self.address, "key": self.key, "run": self.run, **more}


def apply(
    stack: Stack,
    approved: ComponentChange,
    attempt: Attempt,
    *,
    ledger: Ledger,
    store: ArtifactStore,
    make_plan: Callable[[], Planned],
) -> tuple[State, str]:
    """Apply an approved change, unless an earlier try did; returns the state afterwards, and what was done.

    A deferred change is planned now, with ``make_plan``, and applied if it is no more than was approved.
    """
    state = stack.terraform.pull()
    if decide(attempt, state, ledger.entries()) == "done":
        stack.terraform.say(f"{attempt.address}: applied by an earlier try of this task")
        return state, approved.summary
    if approved.action != "deferred":
        plan = str(approved.binds["plan"])
        return _once(stack, stack.fetch(plan, store), attempt, ledger, plan), approved.summary
    planned = make_plan()
    _check_fresh(approved, planned)
    if not planned.changed:
        return planned.state, planned.summary
    kept = stack.keep(planned, store)
    return _once(stack, planned.path, attempt, ledger, kept["plan"]), planned.summary


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


def _check_fresh(approved: ComponentChange, planned: Planned) -> None:
    ceiling = Risk.parse(str(approved.binds["ceiling"]))
    if planned.risk > ceiling:
        raise RefusedError(
            f"planned on the real outputs of its upstream, this is {planned.risk} risk "
            f"({planned.summary}), more than the {ceiling} that was approved. Nothing was applied; "
            "run again to approve this plan"
        )
    check_binds(approved, {"lineage": planned.state.lineage, "serial": planned.state.serial})


def _once(stack: Stack, path: Path, attempt: Attempt, ledger: Ledger, plan: str) -> State:
    begin(ledger, attempt, plan=plan)
    try:
        stack.terraform.apply(path)
    except (LockedError, TerminalError):
        ledger.append(NOT_STARTED, attempt.body())
        raise
    except ApplyError as error:
        ledger.append(FAILED if error.started else NOT_STARTED, attempt.body())
        raise
    state = stack.terraform.pull()
    ledger.append(APPLIED, attempt.body(lineage=state.lineage, serial=state.serial))
    return state
