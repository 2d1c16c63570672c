"""A saved plan as the change that people approve."""

from __future__ import annotations

from collections.abc import Mapping

from triplane.core.change import ComponentChange, Intent, Risk
from triplane.core.store import ArtifactStore
from triplane.terraform.stack import Planned, Stack
from triplane.terraform.summary import change_lines, irreversible


def propose(
    stack: Stack,
    planned: Planned,
    *,
    address: str,
    inputs: Mapping[str, str | int],
    store: ArtifactStore,
    notes: tuple[str, ...] = (),
    unsure: bool = False,
    intent: Intent = "deploy",
) -> ComponentChange:
    """The change that ``planned`` makes; a plan that changes something is kept in ``store``.

    ``inputs`` are digests of what the plan was made of, ``notes`` lines for people above the plan's own. To
    destroy is always critical; where it is ``unsure`` whether something exists that no state knows, the risk is high
    at least.
    """
    binds = {**inputs, "lineage": planned.state.lineage, "serial": planned.state.serial}
    if planned.changed:
        binds |= stack.keep(planned, store)
    return ComponentChange(
        address=address,
        action=planned.action,
        risk=_risk(planned, unsure, intent),
        summary=planned.summary,
        lines=_lines(planned, notes, intent) if planned.changed else notes,
        denied=planned.verdict.denied,
        binds=binds,
    )


def _risk(planned: Planned, unsure: bool, intent: Intent) -> Risk:
    if not planned.changed:
        return planned.risk
    if intent == "destroy":
        return Risk.CRITICAL
    return max(planned.risk, Risk.HIGH) if unsure else planned.risk


def _lines(planned: Planned, notes: tuple[str, ...], intent: Intent) -> tuple[str, ...]:
    lost = irreversible(planned.plan, rollback=intent == "rollback")
    return (*notes, *lost, *change_lines(planned.plan))
