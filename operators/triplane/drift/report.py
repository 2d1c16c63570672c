"""One schema for every kind of component: what was checked, and what differs from what was applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

IN_SYNC = "in_sync"
PENDING = "pending"
DRIFTED = "drifted"
UNKNOWN = "unknown"
STATES = (DRIFTED, UNKNOWN, PENDING, IN_SYNC)
NOTES = ("noise", "ignored", "expired", "cured")


def summary(checks: Sequence[Mapping[str, Any]], expected: Sequence[str]) -> dict[str, Any]:
    """``{"in_sync": n, "drifted": n, "pending": n, "unknown": n, "components": [...]}`` of all checks.

    A component that was expected but not checked is ``unknown``, never in sync.
    """
    found = {check["address"]: dict(check) for check in checks}
    components = [
        found.get(address, {"address": address, "state": UNKNOWN, "resources": []}) for address in expected
    ]
    counts = {state: sum(item["state"] == state for item in components) for state in reversed(STATES)}
    return {**counts, "components": components}


def lines(report: Mapping[str, Any], now: datetime | None = None) -> list[str]:
    """The report for people: what drifted first, resource by resource."""
    found = []
    for item in sorted(report["components"], key=lambda item: STATES.index(item["state"])):
        found.append(f"{item['address']}: {item['state'].replace('_', ' ')}{_why(item, now)}")
        for resource in item.get("resources", ()):
            names = ", ".join(attribute["name"] for attribute in resource.get("attributes", ()))
            since = f" (since {resource['first_seen'][:16]})" if resource.get("first_seen") else ""
            found.append(f"    {resource['address']}: {names or resource.get('action', 'changed')}{since}")
        found += [f"    {name}: {text}" for name in NOTES for text in item.get(name, ())]
    return found


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
    return f" (not applied yet: {item['pending']})" if item.get("pending") else ""
