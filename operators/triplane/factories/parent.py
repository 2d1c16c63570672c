"""The parent DAG ``deploy``: plan everywhere, ask once, apply everywhere, compare, report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from triplane.approval.decision import DecisionOperator
from triplane.approval.sensors import ApprovalSensor
from triplane.core.runs import apply_run_id
from triplane.factories.cloud import ASK, freeze_task, rollback_of
from triplane.factories.components import parity, task_ids
from triplane.factories.context import Build, retries, spec, with_params
from triplane.factories.forge import source_params, tell_source
from triplane.factories.images import build_image, built_digests, registry_parity
from triplane.factories.notify import routes_of
from triplane.factories.testing import tasks_of_tests
from triplane.rollout.parent import ChildRunOperator, CollectOperator, ReportOperator

RUN_ID = "{{ run_id }}"
PLANNED_ONLY = "{{ params.action == 'plan' or params.dry_run }}"


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
    frozen = freeze_task(build, rollback_of=rollback_of(*clouds))
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
    decision = DecisionOperator(
        task_id="decision", decisions=approval.output, trigger_rule="none_failed", **retries()
    )
    with TaskGroup("apply"):
        applied = [_apply(build, cloud, change_sets) for cloud in clouds]
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
    decision >> applied
    if pushed:
        list(planned.values()) >> pushed >> applied
    for task in applied:
        task >> [*compared, report]
    for task in compared:
        task >> report


def _plan(build: Build, cloud: str, frozen: Any, known: Mapping[str, Any]) -> ChildRunOperator:
    return ChildRunOperator(
        task_id=cloud,
        child_dag_id=build.dag_id("deploy", cloud),
        child_run_id=f"{RUN_ID}.{cloud}.plan",
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
        skip=f"{{{{ params.action == 'plan' or params.dry_run or {_held(cloud)} }}}}",
        trigger_rule="none_failed",
        **retries(),
    )


def _held(cloud: str) -> str:
    """Whether somebody holds this cloud back, as a Jinja expression."""
    return f"'{cloud}' in (ti.xcom_pull(task_ids='decision') or {{}}).get('held', {{}})"


def _outcome(build: Build, cloud: str) -> dict[str, Any]:
    return {
        "dag_id": build.dag_id("deploy", cloud),
        "plan_run_id": f"{RUN_ID}.{cloud}.plan",
        "run_id": apply_run_id(RUN_ID, cloud),
        "tasks": task_ids(build, cloud),
    }
