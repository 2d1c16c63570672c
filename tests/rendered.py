"""DAGs of a spec, and what their tasks are given when Airflow renders them."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from triplane.factories.cloud import cloud_dag


def aws(spec: str) -> DAG:
    """The DAG of AWS."""
    dag = cloud_dag("aws", spec)
    assert dag is not None
    return dag


def rendered(dag: DAG, task_id: str, field: str, environment: str = "prod") -> Any:
    """A templated argument of a task in a run for ``environment``."""
    task: Any = dag.get_task(task_id)
    return task.render_template(getattr(task, field), {"params": {"environment": environment}})
