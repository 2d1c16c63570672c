"""What a run would change, and what it did, read from the run's XComs.

They are for reading: an approval is bound to the digests of the change sets, not to these texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from triplane.cli.api import Api
from triplane.cli.observe import Observation
from triplane.cli.text import clean, one_line
from triplane.core.stages import cloud_of
from triplane.core.words import CLOUDS

LINES = 40
"""So many lines of one component are shown."""
ALL_LINES = 400
RISKS = ("none", "low", "medium", "high", "critical")
OK = ("in_sync", "pending")


def change_sets(api: Api, seen: Observation) -> dict[str, dict[str, Any]]:
    """Cloud -> ``{"digest", "risk", "changed", "components": [...]}`` of what was planned so far."""
    digests: dict[str, str] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for task in seen.tasks:
        if task["state"] != "success":
            continue
        if task["task_id"] in ("change_set", "change_sets"):
            digests |= {
                str(cloud): str(digest) for cloud, digest in (api.xcom(task, "change_sets") or {}).items()
            }
        elif str(task["task_id"]).endswith(".plan"):
            value = api.xcom(task)
            found.setdefault(cloud_of(task), []).extend(
                _changes(value if isinstance(value, list) else [value])
            )
    clouds = [cloud for cloud in CLOUDS if cloud in {*found, *digests}]
    return {cloud: _set(digests.get(cloud, ""), found.get(cloud, [])) for cloud in clouds}


def rows(api: Api, seen: Observation) -> list[dict[str, Any]]:
    """What became of each component: of the report of a run over all clouds, or of the record of one cloud."""
    for task in seen.tasks:
        if task["dag_run_id"] != seen.run["dag_run_id"]:
            continue
        if task["task_id"] == "report" and (value := api.xcom(task, "rows")):
            return [dict(row) for row in value]
        if task["task_id"] == "record" and (value := api.xcom(task)):
            return [_row(result) for result in value]
    return []


def drift(api: Api, seen: Observation) -> dict[str, Any]:
    """The report of a drift check; empty if it has none."""
    for task in seen.tasks:
        if task["task_id"] == "report" and (value := api.xcom(task, "report") or api.xcom(task)):
            return dict(value)
    return {}


def drifted(report: Mapping[str, Any]) -> list[str]:
    """The components that are not as they were applied; what could not be checked is not among them."""
    return [
        str(item["address"]) for item in report.get("components", ()) if item["state"] not in (*OK, "unknown")
    ]


def drift_lines(report: Mapping[str, Any]) -> list[str]:
    """The report for people."""
    found = []
    for item in sorted(report.get("components", ()), key=lambda item: item["state"] in OK):
        found.append(
            one_line(f"{item['address']}: {str(item['state']).replace('_', ' ')} {item.get('error') or ''}")
        )
        for resource in list(item.get("resources", ()))[:LINES]:
            names = ", ".join(str(attribute.get("name")) for attribute in resource.get("attributes", ()))
            found.append(one_line(f"{resource.get('address')}: {names or resource.get('action', 'changed')}"))
            found[-1] = f"    {found[-1]}"
    return found


def lines(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Change sets for people: what would change, cloud by cloud."""
    found: list[str] = []
    for cloud, body in sets.items():
        if found:
            found.append("")
        changed = [item for item in body["components"] if item["action"] != "none"]
        found.append(
            f"{cloud}: {len(changed)} of {len(body['components'])} components would change, risk {body['risk']}"
        )
        if body["digest"]:
            found.append(f"  {body['digest']}")
        for item in changed:
            found.append(
                f"  {item['address']}: {item['action']}, risk {item['risk']}. {item['summary']}".rstrip()
            )
            found += [
                f"      {line}"
                for line in (*(f"! denied: {text}" for text in item["denied"]), *item["lines"])
            ]
    hidden = len(found) - ALL_LINES
    return [*found[:ALL_LINES], f"... and {hidden} more lines"] if hidden > 0 else found


def _set(digest: str, components: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    changed = [item for item in components if item["action"] != "none"]
    ranks = [max(RISKS.index(item["risk"]), 1) for item in changed if item["risk"] in RISKS]
    return {
        "digest": digest,
        "risk": RISKS[max(ranks, default=0)],
        "changed": len(changed),
        "components": sorted(components, key=lambda item: str(item["address"])),
    }


def _changes(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        if not isinstance(value, Mapping) or "address" not in value:
            continue
        text = [clean(line, 250) for line in value.get("lines") or ()]
        shown = text[:LINES] + ([f"... and {len(text) - LINES} more"] if len(text) > LINES else [])
        yield {
            "address": one_line(value["address"]),
            "action": one_line(value.get("action", "")),
            "risk": one_line(value.get("risk", "")),
            "summary": one_line(value.get("summary", "")),
            "lines": shown,
            "denied": [one_line(item) for item in value.get("denied") or ()],
        }


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    cloud, _, component = str(result["address"]).partition("/")
    return {
        "cloud": cloud,
        "component": component,
        "version": result["version"],
        "state": result["state"],
        "seconds": result["seconds"],
    }
