"""Who gets the traffic of a Cloud Run service, in words, as shares, and as its API writes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from triplane.serverless.target import Observed

REVISION: Final = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
OWN_TAG: Final = re.compile(r"t[0-9a-f]{8}")
NAME_LIMIT: Final = 46
"""Cloud Run takes so many characters of a tag and the name of its service together."""
Targets = list[dict[str, Any]]


def version_of(service: Any) -> str:
    """Which revision serves: its name, ``a=90,b=10`` (most first) where traffic is split, "" for none."""
    shares: dict[str, int] = {}
    for status in service.traffic_statuses:
        name = status.revision or service.latest_ready_revision.rpartition("/")[2]
        shares[name] = shares.get(name, 0) + status.percent
    serving = sorted(((-percent, name) for name, percent in shares.items() if percent), key=lambda each: each)
    if len(serving) == 1:
        return serving[0][1]
    return ",".join(f"{name}={-percent}" for percent, name in serving)


def shares_of(version: str) -> dict[str, int]:
    """The percents of what :func:`version_of` returned."""
    parts = [part.partition("=") for part in version.split(",") if part]
    return {name: int(share or 100) for name, _, share in parts}


def traffic_of(version: str) -> Targets:
    """The traffic targets for what :func:`version_of` returned."""
    return targets(shares_of(version))


def shared(version: str, percent: int, previous: Observed | None) -> dict[str, int]:
    """``percent`` for ``version``; the rest goes to what served before, in the proportions that it had."""
    before = {name: share for name, share in shares_of(previous.version if previous else "").items()
              if name != version}  # fmt: skip
    if percent >= 100 or not before:
        return {version: 100}
    rest, whole = 100 - percent, sum(before.values())
    found = {name: rest * share // whole for name, share in before.items()}
    found[max(before, key=lambda name: before[name])] += rest - sum(found.values())
    return {version: percent} | {name: share for name, share in found.items() if share}


def targets(shares: Mapping[str, int], tagged: Mapping[str, str] | None = None) -> Targets:
    """The traffic targets for ``shares``; ``tagged`` names revisions that also get a tag, with 0 percent or more."""
    tags = dict(tagged or {})
    names = [*shares, *(name for name in tags if name not in shares)]
    return [
        {"type_": REVISION, "revision": name, "percent": shares.get(name, 0)}
        | ({"tag": tags[name]} if name in tags else {})
        for name in names
    ]


def foreign_tags(service: Any) -> Targets:
    """The targets that only give a tag of somebody else's: those stay."""
    return [
        {"type_": target.type_.name, "revision": target.revision, "percent": 0, "tag": target.tag}
        for target in service.traffic
        if target.tag and not OWN_TAG.fullmatch(target.tag)
    ]


def same(found: Iterable[Any], wanted: Targets) -> bool:
    """Whether targets (or their statuses) are what is wanted."""
    have = {
        _key(each.type_.name, each.revision, each.percent, each.tag)
        for each in found
        if each.percent or each.tag
    }
    return have == {
        _key(each["type_"], each["revision"], each["percent"], each.get("tag", "")) for each in wanted
    }


def _key(kind: str, revision: str, percent: int, tag: str) -> tuple[str, str, int, str]:
    """Where the latest is meant, only the status says which one that is."""
    return kind, revision if kind == REVISION else "", percent, tag


def tag_for(attempt: str, service: str) -> str:
    """The tag of what a deployment brings up, "" where the service's name leaves no room for one."""
    tag = f"t{attempt[:8]}"
    return tag if len(tag) + len(service) <= NAME_LIMIT else ""


def own_tag(service: Any, version: str) -> str:
    """The tag that a deployment has given to ``version``, "" without."""
    found = (target.tag for target in service.traffic if target.revision == version)
    return next((tag for tag in found if OWN_TAG.fullmatch(tag)), "")
