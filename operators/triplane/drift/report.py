"""One schema for every kind of component: what was checked, and what differs from what was applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

IN_SYNC = "in_sync"
DRIFTED = "drifted"
UNKNOWN = "unknown"


def summary(checks: Sequence[Mapping[str, Any]], expected: Sequence[str]) -> dict[str, Any]:
    """``{"in_sync": n, "drifted": n, "unknown": n, "components": [...]}`` of all checks.

    A component that was expected but not checked is ``unknown``, never in sync.
    """
    found = {check["address"]: dict(check) for check in checks}
    components = [
        found.get(address, {"address": address, "state": UNKNOWN, "resources": []}) for address in expected
    ]
    counts = {
        state: sum(item["state"] == state for item in components) for state in (IN_SYNC, DRIFTED, UNKNOWN)
    }
    return {**counts, "components": components}


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report for people: what drifted first, resource by resource."""
    order = (DRIFTED, UNKNOWN, IN_SYNC)
    found = []
    for item in sorted(report["components"], key=lambda item: order.index(item["state"])):
        found.append(f"{item['address']}: {item['state'].replace('_', ' ')}")
        for resource in item.get("resources", ()):
            names = ", ".join(attribute["name"] for attribute in resource.get("attributes", ()))
            found.append(f"    {resource['address']}: {names or resource.get('action', 'changed')}")
    return found
