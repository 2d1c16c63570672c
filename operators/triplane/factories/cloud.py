"""One builder, three clouds: the DAG ``deploy_<cloud>``."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from triplane.approval.sensors import ApprovalSensor
from triplane.factories import components
from triplane.factories.components import Component
from triplane.factories.context import Build, policies, spec
from triplane.rollout.operators import AuthorizeOperator, ChangeSetOperator, RecordOperator
from triplane.source.operators import FreezeOperator

ACTIONS = ["plan", "deploy", "apply"]


def cloud_dag(cloud: str, platform: str | None = None) -> DAG | None:
    """The DAG that plans, asks and applies in one cloud; None if the platform does not use it.

    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param platform: path of the platform spec, by default ``[triplane] platform``
    """
    build = spec(platform)
    if cloud not in build.platform.used_clouds():
        return None
    with DAG(
        dag_id=f"deploy_{cloud}",
        description=f"Deploy {build.platform.name} to {cloud}",
        schedule=None,
        catchup=False,
        max_active_runs=16,
        tags=["triplane", cloud],
        params=_params(build),
        doc_md=__doc__,
    ) as dag:
        _tasks(build, cloud)
    return dag


def freeze_task(build: Build, **conf: str) -> FreezeOperator:
    """The first task of every DAG: what is deployed, as one immutable archive."""
    return FreezeOperator(
        task_id="freeze",
        folder=str(build.folder),
        spec_file=build.file.name,
        spec=build.digest,
        multiple_outputs=True,
        revision="{{ params.revision }}",
        **conf,
    )


def _params(build: Build) -> dict[str, Param]:
    return {
        **build.common_params(),
        "action": Param(
            "deploy",
            enum=ACTIONS,
            title="Action",
            description="plan: show what would change. deploy: plan, ask, apply. "
            "apply: apply what another run planned and people approved there.",
        ),
        "source": Param(None, type=["null", "string"], title="Digest of a source that was frozen before"),
        "approved": Param(
            None,
            type=["null", "object"],
            title="For apply: change_set, dag_id and run_id of the approved change set",
        ),
    }


def _tasks(build: Build, cloud: str) -> None:
    frozen = freeze_task(
        build,
        source="{{ params.source or '' }}",
        source_revision="{{ params.revision }}",
        skip="{{ params.action == 'apply' }}",
    )
    groups = {name: TaskGroup(name) for name in ("images", *components.STAGES.values())}
    planned = _plan(build, cloud, frozen, groups)
    change_set = ChangeSetOperator(
        task_id="change_set",
        platform=build.platform.name,
        cloud=cloud,
        environment=components.ENVIRONMENT,
        frozen=frozen.output,
        plans=[component.plan.output for component in planned],
        policies=policies(build.platform),
        ask="{{ params.action == 'deploy' }}",
    )
    approval: Any = ApprovalSensor.partial(task_id="approval", retries=0).expand_kwargs(change_set.output)
    authorize = AuthorizeOperator(
        task_id="authorize",
        cloud=cloud,
        environment=components.ENVIRONMENT,
        action="{{ params.action }}",
        change_sets="{{ ti.xcom_pull(task_ids='change_set', key='change_sets') | tojson }}",
        approved="{{ params.approved | tojson }}",
        multiple_outputs=True,
        trigger_rule="none_failed",
    )
    [change_set, approval] >> authorize
    RecordOperator(
        task_id="record",
        cloud=cloud,
        environment=components.ENVIRONMENT,
        change_set=authorize.output["change_set"],
        results=_apply(planned, authorize, groups),
    )


def _plan(build: Build, cloud: str, frozen: Any, groups: components.Groups) -> list[Component]:
    with groups["images"]:
        pushed = components.pushed_images(build, cloud, frozen)
    with groups["infrastructure"]:
        stacks = components.stacks(build, cloud, frozen)
    with groups["applications"]:
        charts = components.charts(build, cloud, frozen, pushed)
    with groups["functions"]:
        functions = components.functions(build, cloud, frozen, pushed)
    return [*stacks, *charts, *functions]


def _apply(planned: list[Component], authorize: Any, groups: components.Groups) -> list[Any]:
    """Stacks wave by wave, then charts, then functions; returns their results."""
    tasks: dict[str, Any] = {}
    stages: dict[str, list[Any]] = {}
    for component in planned:
        task = component.apply(authorize, groups)
        for address in component.after:
            tasks[address] >> task
        tasks[component.address] = task
        stages.setdefault(component.kind, []).append(task)
    for earlier, later in pairwise(stages.values()):
        for task in earlier:
            task >> later
    return [task.output for task in tasks.values()]
