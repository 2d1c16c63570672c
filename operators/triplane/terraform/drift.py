"""What differs between the code, the state and the real resources of one stack.

One ordinary plan says both: what has changed behind Terraform's back (drift), and what the code would change
although nobody has (pending: merged, but not applied).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from triplane.core.drift import IN_SYNC, Check, Ignore, Past, fingerprint, state_of
from triplane.terraform.plan import AttributeChange, Plan, ResourceChange

EMPTY = frozenset({"null", '""', "[]", "{}"})
"""Values that providers write for one another without anything having changed."""
VOLATILE = (
    *("etag", "last_modified", "last_modified_*", "last_updated*", "update_time", "updated_at", "updated_on"),
    *("generation", "metageneration", "resource_version", "version_id", "fingerprint", "label_fingerprint"),
    *("tags_fingerprint", "metadata_fingerprint", "self_link*", "last_status*", "*_count_available"),
)
"""Attributes that a cloud computes anew whenever it likes; nobody can configure them."""
PEOPLES = frozenset({"tags", "tags_all", "labels", "annotations", "metadata_labels"})
"""Attributes whose names people give."""
STATE = "state"
"""Address of the finding that the state of a deployed stack is gone."""
COPIES = {"tags_all": "tags", "terraform_labels": "labels", "effective_labels": "labels"}
"""Attributes that repeat another one: shown once, where they can be configured."""


def judge(
    address: str,
    plan: Plan,
    *,
    deployed: bool = False,
    ignores: Iterable[Ignore] = (),
    before: Mapping[str, Any] | None = None,
    run: str = "",
    now: datetime | None = None,
) -> Check:
    """What ``plan`` says of the stack at ``address``.

    ``before`` is what :func:`triplane.core.drift.memory` kept of the last check: since when a drift is known, and what
    is cured. ``deployed`` says that a rollout has made the stack, and none has destroyed it.
    """
    now = now or datetime.now(UTC)
    valid = [rule for rule in ignores if rule.until >= now.date()]
    check = Check(address=address, state=IN_SYNC, checked_at=now.isoformat(), last_good=now.isoformat())
    past = Past(before, run)
    for change in plan.drift:
        real = _real(change, valid, check)
        for part, unmanaged in _parts(real, plan) if real else ():
            seen = past.seen(_fingerprint(address, part), check.checked_at)
            check.resources.append(
                {
                    "address": part.address,
                    "action": part.action,
                    "attributes": [vars(attribute) for attribute in part.attributes],
                    **({"unmanaged": True} if unmanaged else {}),
                    **seen,
                }
            )
    lost = deployed and plan.no_state and any(item.action == "create" for item in plan.resources)
    if lost:
        seen = past.seen(fingerprint(address, STATE, "destroy"), check.checked_at)
        check.resources.append({"address": STATE, "action": "destroy", "attributes": [], **seen})
    check.cured = past.cured(check)
    check.expired = [str(rule) for rule in ignores if rule not in valid]
    check.pending = "" if lost else _pending(plan, {item["address"] for item in check.resources})
    check.state = state_of(check, missing=lost or plan.all_gone)
    return check


def _parts(change: ResourceChange, plan: Plan) -> list[tuple[ResourceChange, bool]]:
    """``change`` as what applying ``plan`` puts back, and as what it leaves as it is; true for the latter."""
    repair = next((item for item in plan.resources if item.address == change.address), None)
    if repair is None or repair.action == "read":
        return [(change, True)]
    if repair.action != "update" or not change.attributes:
        return [(change, False)]
    names = [attribute.name for attribute in repair.attributes]
    back = tuple(item for item in change.attributes if any(_same(item.name, name) for name in names))
    left = tuple(item for item in change.attributes if item not in back)
    return [(replace(change, attributes=part), kept) for part, kept in ((back, False), (left, True)) if part]


def _same(name: str, other: str) -> bool:
    """Whether they are one attribute, or one is inside the other."""
    return name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.")


def refreshed(plan: Path) -> bool:
    """Whether the saved plan at ``plan`` found anything in the real resources that its state does not say.

    Terraform keeps the state before and after the refresh in the plan, so this costs no process.
    """
    try:
        with zipfile.ZipFile(plan) as archive:
            after, before = (json.loads(archive.read(name)) for name in ("tfstate", "tfstate-prev"))
    except (zipfile.BadZipFile, KeyError, ValueError):
        return True
    return bool(after.get("resources") != before.get("resources"))


def _real(change: ResourceChange, ignores: Sequence[Ignore], check: Check) -> ResourceChange | None:
    """``change`` without noise and what is ignored; None if nothing is left."""
    if not change.attributes:
        rule = next((rule for rule in ignores if rule.covers(change.address, "")), None)
        if rule:
            check.ignored.append(f"{change.line()} ({rule})")
        return None if rule else change
    kept = []
    names = {_root(attribute.name) for attribute in change.attributes}
    for attribute in change.attributes:
        rule = next((rule for rule in ignores if rule.covers(change.address, attribute.name)), None)
        if _is_noise(attribute, names):
            check.noise.append(f"{change.address}: {attribute}")
        elif rule:
            check.ignored.append(f"{change.address}: {attribute} ({rule})")
        else:
            kept.append(attribute)
    if not kept:
        return None
    return ResourceChange(
        address=change.address, type=change.type, action=change.action, attributes=tuple(kept)
    )


def _is_noise(attribute: AttributeChange, names: set[str]) -> bool:
    root = _root(attribute.name)
    if attribute.before in EMPTY and attribute.after in EMPTY:
        return True
    if COPIES.get(root) in names:
        return True
    last = attribute.name.rpartition(".")[2]
    return any(
        fnmatchcase(name, glob) for name in (root, *(() if root in PEOPLES else (last,))) for glob in VOLATILE
    )


def _pending(plan: Plan, drifted: set[str]) -> str:
    """What the code would change beyond putting back what others have changed; ``drifted`` are real drifts."""
    theirs = {change.address: {a.name for a in change.attributes} for change in plan.drift}
    mine = tuple(
        item
        for item in plan.resources
        if item.action != "read"
        and (item.address not in theirs or any(a.name not in theirs[item.address] for a in item.attributes))
        and not (item.address in drifted and not theirs[item.address])
    )
    outputs = () if drifted else plan.outputs
    return Plan(resources=mine, outputs=outputs).summary() if mine or outputs else ""


def _fingerprint(address: str, change: ResourceChange) -> str:
    after = sorted((attribute.name, attribute.after) for attribute in change.attributes)
    return fingerprint(address, change.address, change.action, after)


def _root(name: str) -> str:
    return name.partition(".")[0]
