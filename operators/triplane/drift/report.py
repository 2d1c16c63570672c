"""One schema for every kind of component: what was checked, and what differs from what was deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from triplane.core.drift import IN_SYNC, MISSING, STATES, UNKNOWN

NOTES = ("noise", "ignored", "expired", "cured")
XCOM_BYTES = 48_000
"""How large the part of a report in Airflow's database may be."""
GROUPS_SHOWN = 10


def summary(checks: Sequence[Mapping[str, Any]], expected: Sequence[str]) -> dict[str, Any]:
    """``{"in_sync": n, "pending": n, ..., "components": [...]}`` of all checks, in the order of ``expected``.

    A component that was expected but not checked is ``unknown``, never in sync.
    """
    found = {check["address"]: dict(check) for check in checks}
    components = [
        found.get(address, {"address": address, "state": UNKNOWN, "resources": []}) for address in expected
    ]
    counts = {state: sum(item["state"] == state for item in components) for state in reversed(STATES)}
    return {**counts, "components": components}


def coverage(components: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many of the expected components were checked, by cloud and kind, and which check is the oldest.

    ``oldest_good`` is the component whose last good check is longest ago, ``never`` how many have none.
    """
    by: dict[str, dict[str, dict[str, int]]] = {}
    for item in components:
        cloud, kind, _ = item["address"].split("/", 2)
        counts = by.setdefault(cloud, {}).setdefault(kind, {"checked": 0, "expected": 0})
        counts["expected"] += 1
        counts["checked"] += item["state"] != UNKNOWN
    known = [item for item in components if item.get("last_good")]
    oldest = min(known, key=lambda item: datetime.fromisoformat(item["last_good"]), default=None)
    return {
        "checked": sum(item["state"] != UNKNOWN for item in components),
        "expected": len(components),
        "by": by,
        "oldest_good": {name: oldest[name] for name in ("address", "last_good")} if oldest else None,
        "never": len(components) - len(known),
    }


def bounded(report: Mapping[str, Any], limit: int = XCOM_BYTES) -> dict[str, Any]:
    """The report as far as it fits in ``limit`` bytes of JSON, what matters most first.

    ``left_out`` counts the groups and components that did not fit.
    """
    found = {**report, "groups": [], "components": [], "left_out": {"groups": 0, "components": 0}}
    left = limit - len(json.dumps(found)) - 200
    for name in ("groups", "components"):
        parts = list(report[name])
        if name == "components":
            parts.sort(key=lambda item: STATES.index(item["state"]))
        for part in parts:
            size = len(json.dumps(part)) + 2
            if size > left:
                found["left_out"][name] += 1
                continue
            found[name].append(part)
            left -= size
    return found


def extra(report: Mapping[str, Any]) -> dict[str, Any]:
    """What an asset event says of the report."""
    names = ("environment", "run_id", "dag_id", "at", "revision", *STATES, "alarms", "kept_as")
    found = {name: report[name] for name in names}
    groups = [{"cause": group["cause"], "resources": group["resources"]} for group in report["groups"]]
    covered = {name: report["coverage"][name] for name in ("checked", "expected", "oldest_good")}
    return {**found, "coverage": covered, "groups": groups[:GROUPS_SHOWN]}


def lines(report: Mapping[str, Any], now: datetime | None = None) -> list[str]:
    """The report for people: the worst first, resource by resource."""
    found = []
    for item in sorted(report["components"], key=lambda item: STATES.index(item["state"])):
        found.append(f"{item['address']}: {item['state'].replace('_', ' ')}{_why(item, now)}")
        for resource in item.get("resources", ()):
            names = ", ".join(attribute["name"] for attribute in resource.get("attributes", ()))
            since = f" (since {resource['first_seen'][:16]})" if resource.get("first_seen") else ""
            found.append(f"    {resource['address']}: {names or resource.get('action', 'changed')}{since}")
        found += [f"    {name}: {text}" for name in NOTES for text in item.get(name, ())]
    return [
        *found,
        *(f"{address}: left behind: {said}" for address, said in report.get("left_behind", {}).items()),
    ]


def markdown(report: Mapping[str, Any], now: datetime | None = None) -> str:
    """The whole report as Markdown."""
    return "\n".join(_markdown(report, now)) + "\n"


def _markdown(report: Mapping[str, Any], now: datetime | None) -> Iterator[str]:
    covered = report["coverage"]
    yield f"# Drift of {report['platform']} {report['environment']}"
    yield ""
    yield f"{report['at'][:16]}, revision {report['revision']}, run {report['run_id']}"
    yield ""
    yield "| state | components |"
    yield "|---|---|"
    for state in STATES:
        yield f"| {state.replace('_', ' ')} | {report[state]} |"
    yield ""
    yield f"Checked: {covered['checked']} of {covered['expected']}."
    if covered["oldest_good"]:
        oldest = covered["oldest_good"]
        yield f"The oldest good check is that of {oldest['address']}: {age(oldest['last_good'], now)}."
    if report["groups"]:
        yield ""
        yield "## By cause"
        yield ""
        yield from (group_line(group) for group in report["groups"])
    if left := report.get("left_behind"):
        yield ""
        yield "## Left behind"
        yield ""
        yield from (f"- {address}: {said}" for address, said in left.items())
    shown = [item for item in report["components"] if item["state"] != IN_SYNC]
    if shown:
        yield ""
        yield "## Components"
        yield ""
        yield "```text"
        yield from lines({"components": shown}, now)
        yield "```"


def group_line(group: Mapping[str, Any]) -> str:
    """One cause as an item of a Markdown list."""
    where = ", ".join(group["components"])
    more = group["components_total"] - len(group["components"])
    alarm = "**alarm** " if group["alarm"] else ""
    others = f" and {more} more" if more else ""
    return f"- {alarm}{group['cause']}: {group['resources']} in {where}{others} (since {group['since'][:16]})"


def age(last_good: str, now: datetime | None = None) -> str:
    """How long ago the last good check was, in words."""
    if not last_good:
        return "it was never checked before"
    hours = ((now or datetime.now(UTC)) - datetime.fromisoformat(last_good)).total_seconds() / 3600
    return (
        f"the last good check was {hours / 24:.1f} days ago"
        if hours >= 48
        else f"the last good check was {hours:.1f} h ago"
    )


def _why(item: Mapping[str, Any], now: datetime | None) -> str:
    if item["state"] == UNKNOWN and not item.get("error"):
        return " (there is no answer; the log of its check says why)"
    if item["state"] == UNKNOWN:
        return f" ({item['error']}; {age(item.get('last_good', ''), now)})"
    if item["state"] == MISSING:
        return " (it was deployed, and all of it is gone)"
    return f" (not applied yet: {item['pending']})" if item.get("pending") else ""
