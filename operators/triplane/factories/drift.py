"""The DAG ``drift_check``: has anybody changed what was deployed?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.sdk import DAG, TaskGroup

from triplane.drift.operators import DriftReportOperator
from triplane.factories.cloud import freeze_task
from triplane.factories.components import ENVIRONMENT, cluster_options, function_options, stack_options
from triplane.factories.context import Build, retries, spec, with_params
from triplane.factories.events import KINDS, event_options, event_specs
from triplane.factories.manifests import manifest_options
from triplane.factories.notify import routes_of
from triplane.kubernetes.drift_operators import KubernetesDriftBatchOperator
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.events.drift_operators import EventSourceDriftBatchOperator
from triplane.terraform.operators import TerraformDriftBatchOperator

DAILY = "0 6 * * *"


def drift_dag(platform: str | None = None, schedule: str | None = DAILY, prefix: str = "") -> DAG:
    """The DAG that compares what was deployed with what is really there.

    :param platform: path of the platform spec, by default ``[triplane] platform``
    :param schedule: when it runs by itself, for the first environment of the spec
    :param prefix: as for :func:`triplane.factories.cloud.cloud_dag`
    """
    build = spec(platform, prefix)
    with DAG(
        dag_id=build.dag_id("drift_check"),
        description=f"Look for changes to {build.platform.name} made behind its back",
        schedule=schedule,
        catchup=False,
        max_active_runs=1,
        tags=["triplane"],
        doc_md=__doc__,
    ) as dag:
        _tasks(build)
    return with_params(dag, build.common_params())


def _tasks(build: Build) -> None:
    frozen = freeze_task(build)
    found = []
    for cloud in build.platform.used_clouds():
        with TaskGroup(cloud):
            found += [*_stacks(build, cloud, frozen), *_cluster(build, cloud, frozen)]
            found += [*_functions(build, cloud, frozen), *_event_sources(build, cloud)]
    checks = {task.task_id: addresses for task, addresses in found}
    report = DriftReportOperator(
        task_id="report", checks=checks, notify=routes_of(build), trigger_rule="all_done", **retries()
    )
    [task for task, _ in found] >> report


Checking = tuple[Any, list[str]]
"""A task, and the addresses that it answers for."""


def _stacks(build: Build, cloud: str, frozen: Any) -> Iterator[Checking]:
    part = build.platform.cloud(cloud)
    stacks = [
        {
            "address": f"{cloud}/stack/{name}",
            "source": frozen.output["source"],
            "ignore": [rule.plain() for rule in part.stacks[name].drift.ignore],
            **stack_options(build, cloud, name),
        }
        for name in build.platform.stack_order(cloud)
    ]
    if stacks:
        task = TerraformDriftBatchOperator(task_id="stacks", stacks=stacks, **retries())
        yield task, [str(stack["address"]) for stack in stacks]


def _cluster(build: Build, cloud: str, frozen: Any) -> Iterator[Checking]:
    part = build.platform.cloud(cloud)
    found: list[dict[str, Any]] = [
        {
            "address": f"{cloud}/manifests/{name}",
            "source": frozen.output["source"],
            "ignore": [rule.plain() for rule in body.drift.ignore],
            **manifest_options(build, cloud, name),
        }
        for name, body in part.manifests.items()
    ]
    found += [
        {
            "address": f"{cloud}/chart/{name}",
            "release": name,
            "namespace": chart.namespace,
            "scope": f"{ENVIRONMENT}/{cloud}",
            "ignore": [rule.plain() for rule in chart.drift.ignore],
            **cluster_options(build, cloud),
        }
        for name, chart in part.charts.items()
    ]
    if found:
        task = KubernetesDriftBatchOperator(task_id="cluster", components=found, **retries())
        yield task, [str(component["address"]) for component in found]


def _functions(build: Build, cloud: str, frozen: Any) -> Iterator[Checking]:
    found = [
        {
            "address": f"{cloud}/function/{name}",
            "source": frozen.output["source"],
            "ignore": [rule.plain() for rule in function.drift.ignore],
            **function_options(build, cloud, name),
        }
        for name, function in build.platform.cloud(cloud).functions.items()
    ]
    if found:
        task = ServerlessDriftBatchOperator(task_id="functions", functions=found, **retries())
        yield task, [str(function["address"]) for function in found]


def _event_sources(build: Build, cloud: str) -> Iterator[Checking]:
    found = [
        {
            "address": f"{cloud}/{kind}/{name}",
            "ignore": [rule.plain() for rule in spec.drift.ignore],
            **event_options(build, cloud, kind, name),
        }
        for kind in KINDS
        for name, spec in event_specs(build, cloud, kind).items()
    ]
    if found:
        task = EventSourceDriftBatchOperator(task_id="event_sources", components=found, **retries())
        yield task, [str(source["address"]) for source in found]
