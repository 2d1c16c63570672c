"""The last drift check of each environment, as it was kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from triplane.core.drift import STATES
from triplane.drift.alarms import Alarm, Alarms, groups
from triplane.drift.report import bounded, coverage
from triplane.ui.models import Drift, DriftReport, Scope

if TYPE_CHECKING:
    from triplane.ui.archive import Archive
    from triplane.ui.inventory import Inventory

BYTES = 1_500_000
"""How large a report may be, in JSON; what matters least is left out and counted."""
HISTORY = 120


class Check(NamedTuple):
    """Whose drift is looked for where, and by which DAG."""

    platform: str
    environment: str
    dag_id: str


def drift(found: Inventory, archive: Archive) -> Drift:
    """The environments whose drift DAG the user may read. What is about clouds whose DAG he may not read is left out."""
    scopes = [scope for _, scope in found.scopes(archive.owners(found.environments()))]
    reports = tuple(_report(archive, check, clouds) for check, clouds in checks(scopes).items())
    return Drift(problems=archive.problems, environments=reports)


def checks(scopes: Iterable[Scope]) -> dict[Check, set[str]]:
    """The checks whose DAG the user may read -> the clouds whose DAG he may read, too."""
    found: dict[Check, set[str]] = {}
    for scope in scopes:
        if scope.drift_dag_id:
            check = Check(scope.platform, scope.environment, scope.drift_dag_id)
            found.setdefault(check, set()).add(scope.cloud)
    return found


def of_clouds(
    report: Mapping[str, Any], clouds: Collection[str], alarms: Mapping[str, Alarm]
) -> Mapping[str, Any]:
    """The report as far as it is about these clouds; ``alarms`` are the known ones of all."""

    def seen(address: str) -> bool:
        return address.split("/")[0] in clouds

    components = [item for item in report["components"] if seen(item["address"])]
    if len(components) == len(report["components"]):
        return report
    own = Alarms(known={key: alarm for key, alarm in alarms.items() if seen(alarm["address"])})
    return {
        **report,
        **{state: sum(item["state"] == state for item in components) for state in STATES},
        "components": components,
        "groups": groups(components, own),
        "coverage": coverage(components),
        "alarms": {"known": len(own.known)},
        "left_behind": {
            address: said for address, said in report.get("left_behind", {}).items() if seen(address)
        },
    }


def _report(archive: Archive, check: Check, clouds: Collection[str]) -> DriftReport:
    """The counts of earlier checks are of all clouds: they are for those who may read all."""
    state, known = archive.drift_state(check.environment), archive.drift(check.platform, check.environment)
    report = of_clouds(known, clouds, state["alarms"]) if known else None
    return DriftReport(
        environment=check.environment,
        dag_id=check.dag_id,
        report=bounded(report, BYTES) if report else None,
        history=tuple(state["history"][-HISTORY:]) if report and report is known else (),
    )
