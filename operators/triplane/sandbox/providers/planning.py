"""What Terraform shall expect of a change, and what it shall remember of a resource. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from triplane.sandbox.providers.schema import Attribute, Body, State

NOTHING = (None, "", False, 0)


def plan(
    body: Body, prior: State | None, proposed: State, config: State, unknown: Any
) -> tuple[State, list[str]]:
    """The planned state, and the names of what makes a new resource necessary.

    ``proposed`` is Terraform's merge of the configuration with the prior state; ``unknown`` stands for
    values that only the cloud can tell.
    """
    if prior is None:
        return _first(body, proposed, unknown), []
    planned = dict(proposed)
    changed = {
        name
        for name, attribute in body.attributes.items()
        if not same(attribute, prior.get(name), proposed.get(name), unknown)
    }
    changed |= {name for name in body.blocks if prior.get(name) != proposed.get(name)}
    for name in set(body.blocks) & changed:
        planned[name] = _first_blocks(body.blocks[name], proposed[name], unknown)
    for name, attribute in body.attributes.items():
        if attribute.computed and config.get(name) is None:
            if attribute.copies in changed:
                planned[name] = planned.get(attribute.copies) or {}
            elif changed.intersection(attribute.after):
                planned[name] = unknown
        elif name not in changed:
            planned[name] = prior.get(name)
    return planned, sorted(name for name in changed if _replaces(body, name))


def _replaces(body: Body, name: str) -> bool:
    return body.blocks[name].replace if name in body.blocks else body.attributes[name].replace


def _first(body: Body, proposed: State, unknown: Any) -> State:
    """What is planned for a new resource: all that the cloud decides is unknown."""
    planned = dict(proposed)
    for name, attribute in body.attributes.items():
        if attribute.computed and proposed.get(name) is None:
            copied = proposed.get(attribute.copies) if attribute.copies else None
            planned[name] = unknown if copied is None else copied
    for name, block in body.blocks.items():
        planned[name] = _first_blocks(block, proposed.get(name), unknown)
    return planned


def _first_blocks(block: Body, value: Any, unknown: Any) -> Any:
    if isinstance(value, list):
        return [_first(block, item, unknown) for item in value]
    return _first(block, value, unknown) if isinstance(value, dict) else value


def settle(body: Body, known: Mapping[str, Any], observed: Mapping[str, Any]) -> State:
    """The state to remember: what the cloud has, said as ``known`` says it where both mean the same.

    What the cloud does not tell (a password, ``force_destroy``) stays as known. What nobody asked for and
    has its default stays unset, so that it does not show as drift.
    """
    state = {
        name: _settle_attribute(attribute, known.get(name), observed[name])
        if name in observed
        else known.get(name)
        for name, attribute in body.attributes.items()
    }
    for name, block in body.blocks.items():
        before, now = known.get(name), observed.get(name)
        if now is None or not before or not isinstance(before, list):
            state[name] = before if before is not None else ([] if block.nesting != "single" else None)
        else:
            pairs = zip(before + [{}] * len(now), now, strict=False)
            state[name] = [settle(block, old, new) for old, new in pairs]
    return state


def _settle_attribute(attribute: Attribute, known: Any, observed: Any) -> Any:
    if same(attribute, known, observed):
        return known
    unset = _nothing(observed) if attribute.default is None else observed == attribute.default
    if unset and not attribute.computed and (known is None or (_nothing(known) and _nothing(observed))):
        return known
    return observed


def _nothing(value: Any) -> bool:
    return value in NOTHING or value in ([], {})


def same(attribute: Attribute, left: Any, right: Any, unknown: Any = None) -> bool:
    """Whether two values of an attribute mean the same. An unknown value is the same as no other."""
    if unknown is not None and (left is unknown or right is unknown):
        return False
    if left is None or right is None:
        return left is right
    if attribute.type == "set(string)":
        return sorted(map(str, left)) == sorted(map(str, right))
    if attribute.json and isinstance(left, str) and isinstance(right, str):
        try:
            return bool(json.loads(left) == json.loads(right))
        except ValueError:
            pass
    return bool(left == right)
