"""How much a plan can hurt: pure, from resource types and actions alone."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from triplane.core.change import Risk
from triplane.terraform.kinds import DATA, IAM, NOT_IAM
from triplane.terraform.plan import Plan, ResourceChange

_DATA = tuple(" ".join(names for clouds in DATA.values() for names in clouds.values()).split())
_IAM = tuple(" ".join(IAM.values()).split())
_NOT_IAM = tuple(" ".join(NOT_IAM.values()).split())
_BY_ACTION = {
    "read": Risk.NONE,
    "import": Risk.LOW,
    "move": Risk.LOW,
    "create": Risk.LOW,
    "forget": Risk.MEDIUM,
    "update": Risk.MEDIUM,
    "invoke": Risk.HIGH,
    "replace": Risk.HIGH,
    "destroy": Risk.HIGH,
}


def risk(plan: Plan) -> Risk:
    """The highest risk of any change in ``plan``; changed outputs alone are low."""
    risks = [resource_risk(change) for change in plan.resources]
    return max([*risks, Risk.LOW if plan.outputs else Risk.NONE], default=Risk.NONE)


def resource_risk(change: ResourceChange) -> Risk:
    """Create is low, update medium, replace, destroy and invoke high; critical for data lost and for IAM."""
    found = _BY_ACTION[change.action]
    if found > Risk.NONE and is_iam(change.type):
        return Risk.CRITICAL
    if found is Risk.HIGH and holds_data(change.type):
        return Risk.CRITICAL
    return found


def ceiling(types: Iterable[str], *, empty: bool) -> Risk:
    """The most that a stack planned later may do without asking again.

    A stack with an empty state can only create: low, unless it declares IAM (``types`` are the resource
    types in its source). A stack that exists may also be updated in place: medium.
    """
    if not empty:
        return Risk.MEDIUM
    return Risk.CRITICAL if any(is_iam(name) for name in types) else Risk.LOW


def holds_data(resource_type: str) -> bool:
    """Whether losing such a resource loses data."""
    return _any(resource_type, _DATA) and not is_iam(resource_type)


def is_iam(resource_type: str) -> bool:
    """Whether such a resource decides who may do what."""
    return _any(resource_type, _IAM) and not _any(resource_type, _NOT_IAM)


def _any(resource_type: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(resource_type, glob) for glob in globs)
