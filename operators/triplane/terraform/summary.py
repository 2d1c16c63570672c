"""A plan in a few lines: what matters most first, readable at 500 resources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from triplane.core.change import Risk
from triplane.terraform.plan import SIGNS, Plan, ResourceChange
from triplane.terraform.risk import holds_data, resource_risk

EACH = 40
"""So many changes are listed one by one before those of little risk are grouped."""
NAMED = 3
"""So many addresses are named of a group."""
DESTRUCTIVE = ("destroy", "replace")


def change_lines(plan: Plan) -> tuple[str, ...]:
    """One line for each change, the riskiest first; in a large plan, one for each group of harmless ones.

    What destroys or replaces something, or is of high risk, always has a line of its own.
    """
    ordered = sorted(plan.resources, key=_weight)
    outputs = [item.line() for item in plan.outputs]
    if len(ordered) <= EACH:
        return (*(item.line() for item in ordered), *outputs)
    shown = [item for item in ordered if _matters(item)]
    rest = [item for item in ordered if not _matters(item)]
    return (*(item.line() for item in shown), *_groups(rest), *_outputs(outputs))


def irreversible(plan: Plan, *, rollback: bool = False) -> tuple[str, ...]:
    """Lines about what nobody can undo: data that is lost, and in a rollback data that does not come back."""
    lost = [
        f"! {item.address}: its data is lost, and no rollback brings it back"
        for item in plan.resources
        if item.action in DESTRUCTIVE and holds_data(item.type)
    ]
    empty = [
        f"! {item.address} comes back empty: its data is not restored"
        for item in plan.resources
        if rollback and item.action == "create" and holds_data(item.type)
    ]
    return (*lost, *empty)


def _weight(item: ResourceChange) -> tuple[int, int, str, str]:
    order = list(SIGNS)
    return (-resource_risk(item), -order.index(item.action), item.type, item.address)


def _matters(item: ResourceChange) -> bool:
    return item.action in DESTRUCTIVE or resource_risk(item) >= Risk.HIGH


def _groups(items: Sequence[ResourceChange]) -> Iterator[str]:
    for (action, kind), members in groupby(items, key=lambda item: (item.action, item.type)):
        group = list(members)
        if len(group) <= NAMED:
            yield from (item.line() for item in group)
            continue
        named = ", ".join(item.address for item in group[:NAMED])
        yield f"{SIGNS[action]} {len(group)} {kind}: {named} and {len(group) - NAMED} more"


def _outputs(lines: Sequence[str]) -> Sequence[str]:
    if len(lines) <= NAMED:
        return lines
    return [*lines[:NAMED], f"~ {len(lines) - NAMED} more outputs"]
