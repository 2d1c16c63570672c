"""Which pod the Kubernetes executor runs the tasks of a cloud in."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.factories.cloud import cloud_dag

SPEC = str(Path(__file__).parents[3] / "examples" / "streaming-platform" / "platform.yaml")


def test_the_tasks_of_a_cloud_run_in_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__POD_TEMPLATES", "/opt/pods")
    dag = cloud_dag("gcp", SPEC)
    assert dag is not None
    assert all(task.executor_config == {"pod_template_file": "/opt/pods/gcp.yaml"} for task in dag.tasks)


def test_without_templates_of_ours_the_executor_takes_its_own() -> None:
    dag = cloud_dag("gcp", SPEC)
    assert dag is not None
    assert not any(task.executor_config for task in dag.tasks)
