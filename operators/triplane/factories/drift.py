"""The DAG ``drift_check``: has anybody changed what was deployed? And one that starts it for each scheduled environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from airflow.sdk import DAG, TaskGroup

from triplane.drift.operators import DriftReportOperator, DriftVerdictOperator
from triplane.factories.cloud import freeze_task
from triplane.factories.components import ENVIRONMENT, cluster_options, function_options, stack_options
from triplane.factories.context import Build, retries, spec, with_params
from triplane.factories.events import KINDS, event_options, event_specs
from triplane.factories.machines import machine_options
from triplane.factories.manifests import manifest_options
from triplane.factories.notify import routes_of
from triplane.factories.pipelines import pipeline_components
from triplane.factories.secrets import secret_components
from triplane.kubernetes.drift_operators import KubernetesDriftBatchOperator
from triplane.machines.drift_operators import AnsibleDriftBatchOperator
from triplane.pipelines.drift_operators import PipelineDriftBatchOperator
from triplane.rollout.children import ChildRunOperator
from triplane.secrets.drift_operators import SecretDriftBatchOperator
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.events.drift_operators import EventSourceDriftBatchOperator
from triplane.terraform.operators import TerraformDriftBatchOperator

DAILY = "0 6 * * *"
SLOTS = 4
"""Worker slots that a check of everything holds at most."""


def drift_dag(platform: str | None = None, schedule: str | None = DAILY, prefix: str = "") -> DAG:
    """The DAG that compares what was deployed with what is really there.

    Each environment whose spec has a ``drift.schedule`` gets a DAG ``drift_check_<environment>`` beside it, which starts it
    for this environment; Airflow finds these without a variable of their own.

    :param platform: path of the platform spec, by default ``[triplane] platform``
    :param schedule: when it runs by itself, for the first environment of the spec; not where environments have
        schedules of their own
    :param prefix: as for :func:`triplane.factories.cloud.cloud_dag`
    """
    build = spec(platform, prefix)
    own = {
        name: environment.drift.schedule
        for name, environment in build.platform.environments.items()
        if environment.drift.schedule
    }
    for environment, each in own.items():
        _scheduled(build, environment, each)
    with DAG(
        dag_id=build.dag_id("drift_check"),
        description=f"Look for changes to {build.platform.name} made behind its back",
        schedule=None if own else schedule,
        catchup=False,
        max_active_runs=1,
        max_active_tasks=SLOTS,
        tags=["triplane"],
        doc_md=__doc__,
    ) as dag:
        _tasks(build)
    return with_params(dag, build.common_params())


def _scheduled(build: Build, environment: str, schedule: str) -> None:
    """One task, which holds no worker slot while the check runs."""
    with DAG(
        dag_id=build.dag_id("drift_check", environment),
        description=f"Look for drift in {environment}",
        schedule=schedule,
        catchup=False,
        max_active_runs=1,
        tags=["triplane"],
    ):
        ChildRunOperator(
            task_id="check",
            child_dag_id=build.dag_id("drift_check"),
            child_run_id=f"{environment}__{{{{ run_id }}}}",
            conf={"environment": environment},
            poll_interval=10,
            **retries(),
        )


def _tasks(build: Build) -> None:
    frozen = freeze_task(build)
    found: list[Checking] = []
    for cloud in build.platform.used_clouds():
        with TaskGroup(cloud):
            found += _checks(build, cloud, frozen)
    checks = {task.task_id: addresses for task, addresses in found}
    report = DriftReportOperator(
        task_id="report",
        checks=checks,
        images=_images(build),
        platform=build.platform.name,
        environment=ENVIRONMENT,
        revision="{{ (ti.xcom_pull(task_ids='freeze') or {}).get('revision') or params.revision }}",
        policies={
            name: body.drift.asdict("alarm_after", "on_drift")
            for name, body in build.platform.environments.items()
        },
        deploy_dag_id=build.dag_id("deploy"),
        notify=routes_of(build),
        trigger_rule="all_done",
        **retries(),
    )
    verdict = DriftVerdictOperator(task_id="verdict", report=report.output, **retries())
    [task for task, _ in found] >> report >> verdict


def _images(build: Build) -> dict[str, list[str]]:
    """Address of each image -> addresses of the components that run it."""
    found: dict[str, list[str]] = {}
    for cloud, part in build.platform.used_clouds().items():
        users: list[tuple[str, str]] = []
        for name, manifests in part.manifests.items():
            users += [(image, f"{cloud}/manifests/{name}") for image in manifests.images.values()]
        for name, chart in part.charts.items():
            users += [(image, f"{cloud}/chart/{name}") for image in chart.images.values()]
        for name, function in part.functions.items():
            users += [(function.image, f"{cloud}/function/{name}")] if function.image else []
        for image, user in dict.fromkeys(users):
            found.setdefault(f"{cloud}/image/{image}", []).append(user)
    return found


Checking = tuple[Any, list[str]]
"""A task, and the addresses that it answers for."""
Options = Callable[[Build, str, str], dict[str, Any]]


def _checks(build: Build, cloud: str, frozen: Any) -> Iterator[Checking]:
    """One task for each sort of components that the cloud has."""
    part, each = build.platform.cloud(cloud), _Components(build, cloud, frozen)
    stacks = {name: part.stacks[name] for name in build.platform.stack_order(cloud)}
    functions = each.of_source("function", part.functions, function_options)
    found: tuple[tuple[Any, str, list[dict[str, Any]]], ...] = (
        (TerraformDriftBatchOperator, "stacks", each.of_source("stack", stacks, stack_options)),
        (KubernetesDriftBatchOperator, "cluster", each.in_cluster()),
        (
            AnsibleDriftBatchOperator,
            "machines",
            each.of_source("machines", part.machines, machine_options),
        ),
        (ServerlessDriftBatchOperator, "functions", functions),
        (EventSourceDriftBatchOperator, "event_sources", each.event_sources()),
        (PipelineDriftBatchOperator, "pipelines", pipeline_components(build, cloud)),
        (SecretDriftBatchOperator, "secrets", secret_components(build, cloud)),
    )
    for operator, task_id, components in found:
        if components:
            task = operator(task_id=task_id, components=components, **retries())
            yield task, [str(component["address"]) for component in components]


class _Components(NamedTuple):
    """The components of a cloud, as the checks take them."""

    build: Build
    cloud: str
    frozen: Any

    def of_source(self, kind: str, bodies: Mapping[str, Any], options: Options) -> list[dict[str, Any]]:
        """Those whose source is compared too."""
        return [
            {
                "address": f"{self.cloud}/{kind}/{name}",
                "source": self.frozen.output["source"],
                "ignore": [rule.asdict() for rule in body.drift.ignore],
                **options(self.build, self.cloud, name),
            }
            for name, body in bodies.items()
        ]

    def in_cluster(self) -> list[dict[str, Any]]:
        """Manifests, and releases, which Helm knows without their source."""
        part = self.build.platform.cloud(self.cloud)
        releases = [
            {
                "address": f"{self.cloud}/chart/{name}",
                "release": name,
                "namespace": chart.namespace,
                "scope": f"{ENVIRONMENT}/{self.cloud}",
                "ignore": [rule.asdict() for rule in chart.drift.ignore],
                **cluster_options(self.build, self.cloud),
            }
            for name, chart in part.charts.items()
        ]
        return [*self.of_source("manifests", part.manifests, manifest_options), *releases]

    def event_sources(self) -> list[dict[str, Any]]:
        """Streams and schedules."""
        return [
            {
                "address": f"{self.cloud}/{kind}/{name}",
                "ignore": [rule.asdict() for rule in spec.drift.ignore],
                **event_options(self.build, self.cloud, kind, name),
            }
            for kind in KINDS
            for name, spec in event_specs(self.build, self.cloud, kind).items()
        ]
