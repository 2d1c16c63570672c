"""The DAG ``drift_check``: has anybody changed what was deployed?"""

from __future__ import annotations

from airflow.sdk import DAG, TaskGroup

from triplane.drift.operators import DriftReportOperator
from triplane.factories.cloud import freeze_task
from triplane.factories.components import stack_options
from triplane.factories.context import Build, retries, spec
from triplane.terraform.operators import TerraformDriftOperator

DAILY = "0 6 * * *"


def drift_dag(platform: str | None = None, schedule: str | None = DAILY) -> DAG:
    """The DAG that compares every stack's state with the real resources.

    :param platform: path of the platform spec, by default ``[triplane] platform``
    :param schedule: when it runs by itself, for the first environment of the spec
    """
    build = spec(platform)
    with DAG(
        dag_id="drift_check",
        description=f"Look for changes to {build.platform.name} made behind Terraform's back",
        schedule=schedule,
        catchup=False,
        max_active_runs=1,
        tags=["triplane"],
        params=build.common_params(),
        doc_md=__doc__,
    ) as dag:
        _tasks(build)
    return dag


def _tasks(build: Build) -> None:
    frozen = freeze_task(build)
    checks = {}
    for cloud in build.platform.used_clouds():
        with TaskGroup(cloud):
            for name in build.platform.stack_order(cloud):
                checks[f"{cloud}/stack/{name}"] = TerraformDriftOperator(
                    task_id=name,
                    address=f"{cloud}/stack/{name}",
                    source=frozen.output["source"],
                    **stack_options(build, cloud, name),
                    **retries(),
                )
    report = DriftReportOperator(
        task_id="report",
        checks={address: task.task_id for address, task in checks.items()},
        trigger_rule="all_done",
    )
    for task in checks.values():
        task >> report
