"""Which findings are an alarm, which of them nobody was told of yet, and what they have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triplane.core.digest import digest
from triplane.core.drift import UNKNOWN

EXAMPLES = 5
"""Components that a group names."""

Alarm = dict[str, Any]


@dataclass(kw_only=True)
class Alarms:
    """``known``: fingerprint -> what is kept of an alarm until it is cured; ``new`` and ``cured`` are of this run."""

    known: dict[str, Alarm] = field(default_factory=dict)
    new: dict[str, Alarm] = field(default_factory=dict)
    cured: dict[str, Alarm] = field(default_factory=dict)

    @property
    def repairable(self) -> dict[str, Alarm]:
        """Those that a deployment puts back."""
        return {key: alarm for key, alarm in self.known.items() if not alarm["unmanaged"]}


def raised(
    components: Sequence[Mapping[str, Any]], before: Mapping[str, Alarm], *, alarm_after: int, run_id: str
) -> Alarms:
    """The alarms after a run: findings that ``alarm_after`` checks in a row have seen.

    ``before`` is ``known`` of the run before, or of an earlier try of this one. What could not be checked stays as
    it was. What the spec no longer names is forgotten.
    """
    found = Alarms()
    for item in components:
        address = item["address"]
        mine = {key: alarm for key, alarm in before.items() if alarm["address"] == address}
        if item["state"] == UNKNOWN:
            found.known |= mine
            continue
        current = {resource["fingerprint"]: resource for resource in item.get("resources", ())}
        for key, resource in current.items():
            if key in mine:
                found.known[key] = mine[key]
            elif resource["checks"] >= alarm_after:
                found.known[key] = {
                    "address": address,
                    "resource": resource["address"],
                    "first_seen": resource["first_seen"],
                    "unmanaged": bool(resource.get("unmanaged")),
                    "raised_by": run_id,
                }
        found.cured |= {key: alarm for key, alarm in mine.items() if key not in current}
    found.new = {key: alarm for key, alarm in found.known.items() if alarm["raised_by"] == run_id}
    return found


def groups(components: Sequence[Mapping[str, Any]], alarms: Alarms) -> list[dict[str, Any]]:
    """All findings by what probably caused them, those with an alarm and the largest first.

    The same action on the same attributes of the same kind of component has one cause: a policy that changed a tag
    of forty resources is one group. A cause stays the same ``id`` from run to run.
    """
    found: dict[tuple[Any, ...], list[tuple[str, Mapping[str, Any]]]] = {}
    for item in components:
        kind = item["address"].split("/")[1]
        for resource in item.get("resources", ()):
            names = tuple(sorted({attribute["name"] for attribute in resource["attributes"]}))
            key = (kind, resource["action"], names, bool(resource.get("unmanaged")))
            found.setdefault(key, []).append((item["address"], resource))
    listed = [_group(key, members, alarms) for key, members in found.items()]
    return sorted(listed, key=lambda group: (not group["alarm"], -group["resources"], group["cause"]))


def repair_id(environment: str, alarms: Mapping[str, Alarm]) -> str:
    """The id of the run that repairs ``alarms``: the same for the same ones, another when one of them comes back."""
    what = sorted((key, alarm["first_seen"]) for key, alarm in alarms.items())
    return f"drift__{environment}__{digest(what).removeprefix('sha256:')[:16]}"


def _group(
    key: tuple[Any, ...], members: Sequence[tuple[str, Mapping[str, Any]]], alarms: Alarms
) -> dict[str, Any]:
    kind, action, names, unmanaged = key
    addresses = list(dict.fromkeys(address for address, _ in members))
    return {
        "id": digest(list(key)).removeprefix("sha256:")[:16],
        "cause": f"{kind}: {action} {', '.join(names)}".rstrip()
        + (" (not in the spec)" if unmanaged else ""),
        "kind": kind,
        "action": action,
        "attributes": list(names),
        "unmanaged": unmanaged,
        "clouds": list(dict.fromkeys(address.split("/")[0] for address in addresses)),
        "components": addresses[:EXAMPLES],
        "components_total": len(addresses),
        "resources": len(members),
        "since": min(resource["first_seen"] for _, resource in members),
        "alarm": any(resource["fingerprint"] in alarms.known for _, resource in members),
        "new": sum(resource["fingerprint"] in alarms.new for _, resource in members),
    }
