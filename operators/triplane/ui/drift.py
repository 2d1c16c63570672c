"""The last drift check of each environment, as it was kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triplane.core.drift import STATES
from triplane.drift.report import bounded
from triplane.ui.models import Drift, DriftReport

if TYPE_CHECKING:
    from triplane.ui.archive import Archive
    from triplane.ui.inventory import Inventory

BYTES = 1_500_000
"""How large a report may be, in JSON; what matters least is left out and counted."""
HISTORY = 120


def drift(found: Inventory, archive: Archive) -> Drift:
    """The environments whose drift DAG the user may read. What is about clouds whose DAG he may not read is left out."""
    scopes = [scope for _, scope in found.scopes(archive.owners(found.environments())) if scope.drift_dag_id]
    clouds: dict[tuple[str, str], set[str]] = {}
    for scope in scopes:
        clouds.setdefault((scope.environment, scope.drift_dag_id), set()).add(scope.cloud)
    reports = tuple(
        DriftReport(
            environment=environment,
            dag_id=dag_id,
            report=bounded(of_clouds(report, readable), BYTES)
            if (report := archive.drift(environment))
            else None,
            history=tuple(archive.drift_history(environment)[-HISTORY:]),
        )
        for (environment, dag_id), readable in clouds.items()
    )
    return Drift(problems=archive.problems, environments=reports)


def of_clouds(report: Mapping[str, Any], clouds: set[str]) -> dict[str, Any]:
    """The report as far as it is about these clouds."""

    def seen(address: str) -> bool:
        return address.split("/")[0] in clouds

    components = [item for item in report["components"] if seen(item["address"])]
    groups = [
        {**group, "components": kept, "clouds": [cloud for cloud in group["clouds"] if cloud in clouds]}
        for group in report["groups"]
        if (kept := [address for address in group["components"] if seen(address)])
    ]
    left = {address: said for address, said in report.get("left_behind", {}).items() if seen(address)}
    counts = {state: sum(item["state"] == state for item in components) for state in STATES}
    return {**report, **counts, "components": components, "groups": groups, "left_behind": left}
