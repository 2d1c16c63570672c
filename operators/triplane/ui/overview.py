"""The first view: every component in every environment, in one answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from triplane.ui import database
from triplane.ui.database import RunKey, TaskRow
from triplane.ui.drift import checks, of_clouds
from triplane.ui.inventory import CloudDag, Inventory, is_child, is_component
from triplane.ui.models import Cell, Component, ComponentState, DriftAge, Overview, Run, Scope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from triplane.ui.archive import Archive

LOOKED_AT = 400
"""So many of the newest runs are looked at to find the last ones."""
SHOWN = 20
STATES: Mapping[str, ComponentState] = {
    "failed": "failed",
    "up_for_retry": "running",
    "running": "running",
    "deferred": "running",
    "restarting": "running",
    "awaiting_input": "waiting",
}
"""The states of tasks that say more of a component than what was deployed."""
LOUD: Sequence[ComponentState] = ("never", "deployed", "running", "waiting", "failed")
"""What counts most of several tasks, last."""

Places = Mapping[RunKey, Mapping[str, ComponentState]]
"""Run -> address -> what its tasks say of the component."""


def overview(session: Session, found: Inventory, archive: Archive) -> Overview:
    """What the user may see of all platforms."""
    environments = found.environments()
    scopes = list(found.scopes(archive.owners(environments)))
    recent = database.recent_runs(session, found.dag_ids, LOOKED_AT)
    there = {scope: archive.deployed(f"{scope.environment}/{scope.cloud}") for _, scope in scopes}
    last = last_rollouts(session, scopes, recent, there)
    keys = [(run.dag_id, run.run_id) for run in last.values()]
    places = component_states(database.tasks(session, keys, tuple(STATES)), found)
    asked = dict.fromkeys((scope.platform, scope.environment) for _, scope in scopes)
    reports = {key: report for key in asked if (report := archive.drift(*key))}
    drifted = {key: drift_states(report) for key, report in reports.items()}
    ages = tuple(
        drift_age(of_clouds(report, clouds, archive.drift_state(check.environment)["alarms"]))
        for check, clouds in checks(scope for _, scope in scopes).items()
        if (report := reports.get((check.platform, check.environment)))
    )
    cells: dict[tuple[str, str], dict[str, Cell]] = {}
    for dag, scope in scopes:
        run, deployed = last.get(scope), there[scope]
        at = places.get((run.dag_id, run.run_id), {}) if run else {}
        drift_of = drifted.get((scope.platform, scope.environment), {})
        for address in dict.fromkeys((*dag.components, *filter(is_component, deployed))):
            cells.setdefault((dag.dag_id, address), {})[scope.environment] = cell(
                deployed.get(address), at.get(address), drift_of.get(address, "")
            )
    return Overview(
        problems=archive.problems,
        environments=environments,
        scopes=tuple(scope.model_copy(update={"last": last.get(scope)}) for _, scope in scopes),
        components=tuple(
            Component(address=address, dag_id=dag_id, cells=of) for (dag_id, address), of in cells.items()
        ),
        edges=tuple(dict.fromkeys(edge for dag in found.clouds for edge in dag.edges)),
        drift=ages,
        runs=_started(recent),
        waiting=len(database.waiting(session, found.dag_ids)),
    )


def started_runs(session: Session, found: Inventory) -> tuple[Run, ...]:
    """The newest runs that no other run has started."""
    return _started(database.recent_runs(session, found.dag_ids, LOOKED_AT))


def _started(recent: Iterable[Run]) -> tuple[Run, ...]:
    return tuple(run for run in recent if not is_child(run.run_id))[:SHOWN]


def last_rollouts(
    session: Session,
    scopes: Sequence[tuple[CloudDag, Scope]],
    recent: Sequence[Run],
    there: Mapping[Scope, Mapping[str, Mapping[str, Any]]],
) -> dict[Scope, Run]:
    """The newest rollout of each scope: one of the recent runs, or that of what was deployed last, long ago."""
    found = {scope: run for dag, scope in scopes if (run := last_rollout(recent, dag, scope))}
    older = {
        (scope.dag_id, str(known["run_id"])): scope
        for scope, deployed in there.items()
        if scope not in found
        for known in deployed.values()
    }
    runs = database.runs(session, list(older))
    for key in sorted(runs, key=lambda key: runs[key].started):
        found[older[key]] = runs[key]
    return found


def last_rollout(recent: Iterable[Run], dag: CloudDag, scope: Scope) -> Run | None:
    """The newest of these runs that applies in the scope, or has; plans do not."""
    first = dag.environments[0] if dag.environments else ""
    for run in recent:
        planned = run.action == "plan" or run.run_id.endswith(".plan")
        if run.dag_id == dag.dag_id and not planned and (run.environment or first) == scope.environment:
            return run
    return None


def component_states(rows: Iterable[TaskRow], found: Inventory) -> Places:
    """What the tasks of each run say of its components, where that is more than what was deployed."""
    states: dict[RunKey, dict[str, ComponentState]] = {}
    for row in rows:
        dag = found.of(row.dag_id)
        address = dag.addresses.get(row.task_id) if dag else None
        if address is None or row.state not in STATES:
            continue
        at = states.setdefault((row.dag_id, row.run_id), {})
        at[address] = max(at.get(address, "never"), STATES[row.state], key=LOUD.index)
    return states


def cell(deployed: Mapping[str, Any] | None, state: ComponentState | None, drift: str) -> Cell:
    """One component in one environment: what is deployed, what the last rollout does to it, what has drifted."""
    known = deployed or {}
    return Cell(
        version=str(known.get("version", "")),
        revision=str(known.get("revision", "")),
        run_id=str(known.get("run_id", "")),
        state=state or ("deployed" if deployed else "never"),
        drift=drift,
    )


def drift_states(report: Mapping[str, Any]) -> dict[str, str]:
    """Address -> state, of a drift report."""
    return {str(item["address"]): str(item["state"]) for item in report.get("components", ())}


def drift_age(report: Mapping[str, Any]) -> DriftAge:
    """The head of a drift report."""
    covered, alarms = report["coverage"], report.get("alarms", {})
    return DriftAge(
        environment=report["environment"],
        at=report["at"],
        run_id=report["run_id"],
        alarms=int(alarms.get("known", 0)),
        checked=covered["checked"],
        expected=covered["expected"],
        oldest_good=(covered.get("oldest_good") or {}).get("last_good", ""),
    )
