"""The parent DAG ``deploy``: plan everywhere, ask once, apply stage by stage, compare, settle, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from triplane.approval.decision import DecisionOperator
from triplane.approval.sensors import ApprovalSensor
from triplane.core.runs import apply_run_id, plan_run_id, settle_run_id
from triplane.factories.cloud import ASK, freeze_task, queue_task, reminder, rollback_of
from triplane.factories.components import ENVIRONMENT, parity, task_ids
from triplane.factories.context import Build, releases, retries, spec, with_params
from triplane.factories.forge import source_params, tell_source
from triplane.factories.gates import checks_in, terms
from triplane.factories.images import build_image, built_digests, registry_parity
from triplane.factories.notify import routes_of
from triplane.factories.testing import tasks_of_tests
from triplane.factories.values import PerEnvironment
from triplane.gates.sensors import GateSensor
from triplane.rollout.children import ChildRunOperator
from triplane.rollout.parent import CollectOperator, ReportOperator
from triplane.rollout.settle import SettleOperator

RUN_ID = "{{ run_id }}"
NOTHING_APPLIED = "params.action == 'plan' or params.dry_run"
PLANNED_ONLY = f"{{{{ {NOTHING_APPLIED} }}}}"


def parent_dag(platform: str | None = None, prefix: str = "") -> DAG:
    """The DAG that deploys to all clouds of the platform.

    :param platform: path of the platform spec, by default ``[triplane] platform``
    :param prefix: as for :func:`triplane.factories.cloud.cloud_dag`
    """
    build = spec(platform, prefix)
    with DAG(
        dag_id=build.dag_id("deploy"),
        description=f"Deploy {build.platform.name} to {', '.join(build.platform.used_clouds())}",
        schedule=None,
        catchup=False,
        max_active_runs=4,
        tags=["triplane"],
        doc_md=__doc__,
    ) as dag:
        _tasks(build)
    return with_params(dag, _params(build))


def _params(build: Build) -> dict[str, Param]:
    return {**build.action_params("deploy", "plan", "rollback", "destroy"), **source_params(build)}


def _tasks(build: Build) -> None:
    clouds = list(build.platform.used_clouds())
    queue = queue_task(
        build,
        *(build.dag_id("deploy", cloud) for cloud in clouds),
        deploys=f"{{{{ not ({NOTHING_APPLIED}) }}}}",
    )
    frozen = freeze_task(build, rollback_of=rollback_of(*clouds))
    queue >> frozen
    with TaskGroup("images"):
        built = {name: build_image(build, name, frozen) for name in build.platform.images}
        pushed = registry_parity(build, built)
    with TaskGroup("tests"):
        tested = tasks_of_tests(build, frozen, built)
    known = {
        "images": built_digests(build, built),
        "tests": {name: task.output for name, task in tested.items()},
    }
    with TaskGroup("plan"):
        planned = {cloud: _plan(build, cloud, frozen, known) for cloud in clouds}
    change_sets = CollectOperator(
        task_id="change_sets",
        children={cloud: task.output for cloud, task in planned.items()},
        frozen=frozen.output,
        environment="{{ params.environment }}",
        ask=ASK,
        **retries(),
    )
    approval: Any = ApprovalSensor.partial(
        task_id="approval", notify=routes_of(build), **retries()
    ).expand_kwargs(change_sets.output)
    reminded = reminder(build, change_sets)
    decision = DecisionOperator(
        task_id="decision", decisions=approval.output, trigger_rule="none_failed", **retries()
    )
    with TaskGroup("apply"):
        applied = {cloud: _apply(build, cloud, change_sets) for cloud in clouds}
    gates = _gates(build, applied)
    settle = _settle(build, change_sets, gates)
    with TaskGroup("parity"):
        compared = parity(build)
    report = ReportOperator(
        task_id="report",
        clouds={cloud: _outcome(build, cloud) for cloud in clouds},
        planned_only=PLANNED_ONLY,
        held="{{ (ti.xcom_pull(task_ids='decision') or {}).get('held', {}) | tojson }}",
        notify=routes_of(build),
        trigger_rule="all_done",
        **retries(),
    )
    tell_source(build, frozen, change_sets, report)
    tasks = list(applied.values())
    decision >> tasks
    if pushed:
        list(planned.values()) >> pushed >> tasks
    for task in (*tasks, *gates):
        task >> settle
    for task in tasks:
        task >> compared
    for task in (settle, *compared, *reminded):
        task >> report


def _gates(build: Build, applied: Mapping[str, Any]) -> list[GateSensor]:
    """Between two stages, so that the later one begins only where the earlier one is good."""
    gates = []
    for earlier, later in pairwise(build.platform.release_stages()):
        gate = GateSensor(
            task_id=f"gate.{'_'.join(earlier)}",
            checks=_in_each(build, lambda names: checks_in(build.platform, names)),
            ask=_in_each(build, lambda names: terms(build, names)),
            scopes=[f"{ENVIRONMENT}/{cloud}" for cloud in later],
            before="{{ dag_run.start_date }}",
            skip=f"{{{{ {NOTHING_APPLIED} or params.action == 'destroy' }}}}",
            trigger_rule="none_failed",
            **retries(),
        )
        [applied[cloud] for cloud in earlier] >> gate >> [applied[cloud] for cloud in later]
        gates.append(gate)
    return gates


def _in_each(build: Build, of: Callable[[tuple[str, ...]], PerEnvironment | None]) -> PerEnvironment:
    """What the gates of each environment's release say there."""
    named = {name: build.platform.release_of(name).gate for name in build.platform.environments}
    found = {name: of(gates) for name, gates in named.items()}
    return PerEnvironment({name: value and value.of(name) for name, value in found.items()})


def _settle(build: Build, change_sets: Any, gates: Sequence[GateSensor]) -> SettleOperator:
    clouds = build.platform.used_clouds()
    return SettleOperator(
        task_id="settle",
        clouds={
            cloud: {
                "dag_id": build.dag_id("deploy", cloud),
                "run_id": apply_run_id(RUN_ID, cloud),
                "settle_run_id": settle_run_id(RUN_ID, cloud),
            }
            for cloud in clouds
        },
        stages=build.platform.release_stages(),
        gates=[gate.task_id for gate in gates],
        environment="{{ params.environment }}",
        release=releases(build.platform, lambda release: {"policy": "best_effort", **release.promise()}),
        change_sets=change_sets.output["change_sets"],
        wait_limit=_wait_limit(build),
        skip=f"{{{{ {NOTHING_APPLIED} or params.action != 'deploy' }}}}",
        trigger_rule="all_done",
        **retries(),
    )


def _wait_limit(build: Build) -> PerEnvironment:
    return releases(build.platform, lambda release: release.wait_limit.total_seconds())


def _plan(build: Build, cloud: str, frozen: Any, known: Mapping[str, Any]) -> ChildRunOperator:
    return ChildRunOperator(
        task_id=cloud,
        child_dag_id=build.dag_id("deploy", cloud),
        child_run_id=plan_run_id(RUN_ID, cloud),
        conf={
            "action": "{{ params.action }}",
            "dry_run": True,
            "environment": "{{ params.environment }}",
            "emergency": "{{ params.emergency or '' }}",
            "revision": frozen.output["revision"],
            "frozen": {
                **{name: frozen.output[name] for name in ("source", "revision", "asked")},
                **known,
            },
        },
        wait_limit=_wait_limit(build),
        trigger_rule="none_failed_min_one_success",
        **retries(),
    )


def _apply(build: Build, cloud: str, change_sets: Any) -> ChildRunOperator:
    """A cloud that failed is not begun again by itself: a person looks at it, then clears this task to retry it alone."""
    return ChildRunOperator(
        task_id=cloud,
        child_dag_id=build.dag_id("deploy", cloud),
        child_run_id=apply_run_id(RUN_ID, cloud),
        conf={
            "action": "apply",
            "environment": "{{ params.environment }}",
            "approved": {
                "change_set": change_sets.output["change_sets"],
                "dag_id": "{{ dag.dag_id }}",
                "run_id": RUN_ID,
            },
        },
        skip=f"{{{{ {NOTHING_APPLIED} or {_held(cloud)} }}}}",
        wait_limit=_wait_limit(build),
        trigger_rule="none_failed",
        **retries(),
    )


def _held(cloud: str) -> str:
    """Whether somebody holds this cloud back, as a Jinja expression."""
    return f"'{cloud}' in (ti.xcom_pull(task_ids='decision') or {{}}).get('held', {{}})"


def _outcome(build: Build, cloud: str) -> dict[str, Any]:
    return {
        "dag_id": build.dag_id("deploy", cloud),
        "plan_run_id": plan_run_id(RUN_ID, cloud),
        "run_id": apply_run_id(RUN_ID, cloud),
        "settle_run_id": settle_run_id(RUN_ID, cloud),
        "tasks": task_ids(build, cloud),
    }
