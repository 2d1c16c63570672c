"""Where tasks stand, for all who show runs."""

from __future__ import annotations

import pytest

from triplane.core.stages import cloud_of, name_of, rank, stage_of


@pytest.mark.parametrize(
    ("dag_id", "run_id", "task_id", "cloud", "stage"),
    [
        ("deploy", "r", "queue", "all", "queue"),
        ("deploy", "r", "plan.aws", "aws", "plan"),
        ("deploy", "r", "apply.gcp", "gcp", "apply"),
        ("deploy", "r", "decision", "all", "approval"),
        ("deploy_aws", "r.aws.plan", "images.api.build", "aws", "plan"),
        ("deploy_aws", "r.aws.apply", "infrastructure.network.apply", "aws", "infrastructure"),
        ("shop_deploy_azure", "r", "applications.api.deploy", "azure", "applications"),
        ("drift_check", "r", "gcp.stacks", "gcp", "check"),
    ],
)
def test_cloud_and_stage(dag_id: str, run_id: str, task_id: str, cloud: str, stage: str) -> None:
    task = {"dag_id": dag_id, "dag_run_id": run_id, "task_id": task_id, "map_index": -1}
    assert (cloud_of(task), stage_of(task), name_of(task)) == (cloud, stage, task_id)
    assert name_of({**task, "map_index": 2}) == f"{task_id}[2]"


def test_stages_follow_each_other() -> None:
    found = sorted(["report", "other", "infrastructure", "approval", "plan"], key=rank)
    assert found == ["plan", "approval", "infrastructure", "report", "other"]
