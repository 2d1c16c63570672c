"""Apply an approved plan: that plan, once, on the state it was made for, whoever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triplane.core.change import ComponentChange, Risk
from triplane.core.ledger import Ledger
from triplane.core.store import ArtifactStore
from triplane.terraform import recovery
from triplane.terraform.attempt import APPLIED, HELD, Attempt, begin, decide
from triplane.terraform.plan import State
from triplane.terraform.stack import Planned, Stack, check_binds

EFFECTS = ("resource_changes", "output_changes", "action_invocations", "deferred_changes")
"""What a plan does, in Terraform's JSON of it: with all values, before and after."""


@dataclass(frozen=True)
class Applied:
    """The stack is as approved. ``state`` is the state afterwards; ``changed``: something had to be done for it, which
    need not show in the state: the repair of drift makes real what the state said before.
    """

    state: State
    summary: str
    changed: bool


@dataclass(frozen=True)
class Held:
    """Nothing more was applied: people have to see ``planned`` first. ``notes`` say why; ``unsure``: something may
    exist that no state knows.
    """

    planned: Planned
    notes: tuple[str, ...]
    unsure: bool = False


def apply(
    stack: Stack,
    approved: ComponentChange,
    attempt: Attempt,
    *,
    ledger: Ledger,
    store: ArtifactStore,
    make_plan: Callable[[], Planned],
    unasked: Callable[[Planned], bool] = lambda planned: False,
) -> Applied | Held:
    """Apply an approved change, unless an earlier try did.

    A deferred change is planned now, with ``make_plan``, and applied if it is no more than was approved. What
    an earlier try left half done is planned anew. A plan that goes beyond the approval is held, unless
    ``unasked`` says that the policy lets it pass; always, where something may exist that no state knows. One that does
    exactly what was approved, on a state that only has another serial, is not beyond it.
    """
    recovery.settle(stack, attempt.address, ledger, store)
    state = stack.terraform.pull()
    left: tuple[str, ...] = ()
    match decide(attempt, state, ledger.entries()):
        case "done":
            stack.terraform.say(f"{attempt.address}: applied by an earlier try of this task")
            return Applied(state, approved.summary, _changed(approved, state))
        case "again":
            recovery.lost(attempt, ledger)
            planned, left = recovery.replan(
                stack, attempt.address, ledger, store, make_plan, destroy=approved.action == "destroy"
            )
            notes = ("! an earlier try of this apply was cut off; this is what is left to do", *left)
            if not left and planned.changed and _as_approved(stack, approved, planned, store):
                stack.terraform.say(
                    f"{attempt.address}: an earlier try has changed nothing; all of it is left to do"
                )
                notes = ()
        case "apply" if approved.action != "deferred":
            plan = str(approved.binds["plan"])
            found = _once(stack, stack.fetch(plan, store), attempt, ledger, store, plan)
            return Applied(found, approved.summary, changed=True)
        case _:
            planned = make_plan()
            check_binds(approved, {"lineage": planned.state.lineage, "serial": planned.state.serial})
            notes = _beyond(approved, planned)
    if not planned.changed:
        ledger.append(APPLIED, attempt.body(lineage=planned.state.lineage, serial=planned.state.serial))
        return Applied(planned.state, planned.summary, _changed(approved, planned.state))
    kept = stack.keep(planned, store)
    if notes and (planned.verdict.denied or left or not unasked(planned)):
        ledger.append(HELD, attempt.body(plan=kept["plan"]))
        return Held(planned, notes, unsure=bool(left))
    found = _once(stack, planned.path, attempt, ledger, store, kept["plan"])
    return Applied(found, planned.summary, changed=True)


def _changed(approved: ComponentChange, state: State) -> bool:
    """Whether an earlier try has changed something. What was to be planned late may have been nothing."""
    return approved.action != "deferred" or state.serial != approved.binds["serial"]


def _as_approved(stack: Stack, approved: ComponentChange, planned: Planned, store: ArtifactStore) -> bool:
    if approved.action == "deferred" or planned.verdict.denied:
        return False
    was = stack.terraform.show(stack.fetch(str(approved.binds["plan"]), store))
    now = stack.terraform.show(planned.path)
    return all(was.get(part) == now.get(part) for part in EFFECTS)


def _beyond(approved: ComponentChange, planned: Planned) -> tuple[str, ...]:
    ceiling = Risk.parse(str(approved.binds["ceiling"]))
    if planned.risk <= ceiling and not planned.verdict.denied:
        return ()
    return (
        f"! planned on the real outputs of its upstream, this is {planned.risk} risk "
        f"({planned.summary}), more than the {ceiling} that was approved",
    )


def _once(
    stack: Stack, path: Path, attempt: Attempt, ledger: Ledger, store: ArtifactStore, plan: str
) -> State:
    stack.terraform.renew()
    begin(ledger, attempt, plan=plan)
    return recovery.record(stack, attempt, ledger, store, lambda: stack.terraform.apply(path, attempt.job()))
