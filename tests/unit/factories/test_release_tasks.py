"""The tasks of a release: in which order they run, and what they are given, rendered as Airflow does it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG

from triplane.factories.cloud import cloud_dag
from triplane.factories.parent import parent_dag

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "shop",
    "environments": {
        "staging": {},
        "prod": {"release": {"policy": "quorum", "quorum": 2, "wait_limit": "1h", "supersede": True}},
    },
    "release": {
        "order": ["aws", ["gcp", "azure"]],
        "policy": "all_or_nothing",
        "gate": "answers",
    },
    "gates": {"answers": {"http": {"url": "http://status.example/${environment}"}, "for": "30s"}},
    "clouds": {
        "aws": {"region": "r", "state": {"bucket": "b"}, "stacks": {"main": {"path": "infra"}}},
        "gcp": {"project": "p", "region": "r"},
        "azure": {"resource_group": "g", "location": "l"},
    },
}


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT, sort_keys=False))
    return str(file)


def rendered(dag: DAG, task_id: str, field: str, *, run_id: str = "r1", **params: Any) -> Any:
    task: Any = dag.get_task(task_id)
    defaults = {"environment": "prod", "action": "deploy", "dry_run": False, "frozen": None, "undo": None}
    instance = SimpleNamespace(xcom_pull=lambda **_: None)
    context = {"params": {**defaults, **params}, "run_id": run_id, "dag": dag, "ti": instance}
    return task.render_template(getattr(task, field), context)


def aws(spec: str) -> DAG:
    dag = cloud_dag("aws", spec)
    assert dag is not None
    return dag


def test_stages_follow_each_other_with_a_gate_between(spec: str) -> None:
    dag = parent_dag(spec)
    assert dag.get_task("gate.aws").upstream_task_ids == {"apply.aws"}
    assert dag.get_task("gate.aws").downstream_task_ids == {"apply.gcp", "apply.azure", "settle"}
    assert {"gate.aws", "apply.aws", "apply.gcp", "apply.azure"} <= dag.get_task("settle").upstream_task_ids
    assert "report" in dag.get_task("settle").downstream_task_ids
    assert dag.get_task("settle").trigger_rule == dag.get_task("report").trigger_rule == "all_done"


@pytest.mark.parametrize("kind", ["parent", "cloud"])
def test_every_run_begins_with_its_turn(spec: str, kind: str) -> None:
    dag = parent_dag(spec) if kind == "parent" else aws(spec)
    assert dag.get_task("queue").upstream_task_ids == set()
    assert "queue" in dag.get_task("freeze").upstream_task_ids


def test_what_a_release_means_is_the_environment_s(spec: str) -> None:
    dag = parent_dag(spec)
    assert rendered(dag, "settle", "release") == {"policy": "quorum", "quorum": 2}
    assert rendered(dag, "settle", "release", environment="staging") == {"policy": "all_or_nothing"}
    assert rendered(dag, "apply.gcp", "wait_limit") == 3600.0
    assert rendered(dag, "apply.gcp", "wait_limit", environment="staging") == 12 * 3600.0
    assert rendered(dag, "queue", "supersede") is True
    assert rendered(dag, "gate.aws", "checks") == []
    (check,) = rendered(dag, "gate.aws", "checks", environment="staging")
    assert (check["lasting"], check["query"]["url"]) == (30.0, "http://status.example/staging")


def test_the_settlement_knows_its_runs(spec: str) -> None:
    found = rendered(parent_dag(spec), "settle", "clouds")
    assert found["gcp"] == {
        "dag_id": "deploy_gcp",
        "run_id": "r1.gcp.apply",
        "settle_run_id": "r1.gcp.settle",
    }


@pytest.mark.parametrize(
    ("params", "skipped"),
    [
        ({}, {"settle": "False", "gate.aws": "False"}),
        ({"dry_run": True}, {"settle": "True", "gate.aws": "True"}),
        ({"action": "plan"}, {"settle": "True", "gate.aws": "True"}),
        ({"action": "rollback"}, {"settle": "True", "gate.aws": "False"}),
        ({"action": "destroy"}, {"settle": "True", "gate.aws": "True"}),
    ],
)
def test_what_is_settled_and_judged(spec: str, params: dict[str, Any], skipped: dict[str, str]) -> None:
    dag = parent_dag(spec)
    assert {task: rendered(dag, task, "skip", **params) for task in skipped} == skipped


@pytest.mark.parametrize(
    ("params", "run_id", "turn"),
    [
        ({}, "r1", "True"),
        ({"action": "destroy"}, "r1", "True"),
        ({"action": "plan"}, "r1", "False"),
        ({"dry_run": True}, "r1.aws.plan", "False"),
        ({"action": "apply"}, "r1.aws.apply", "False"),
        ({"action": "rollback"}, "r1", "True"),
        ({"action": "rollback", "undo": {"run_id": "r1"}}, "r1.aws.settle", "False"),
        ({"action": "rollback", "undo": {"run_id": "r1"}}, "by hand", "True"),
        ({"action": "rollback", "undo": {"run_id": "r1"}}, "r1.gcp.settle", "True"),
    ],
)
def test_which_runs_of_a_cloud_take_a_turn(spec: str, params: dict[str, Any], run_id: str, turn: str) -> None:
    assert rendered(aws(spec), "queue", "deploys", run_id=run_id, **params) == turn


def test_only_what_a_parent_plans_is_part_of_a_release(spec: str) -> None:
    dag = aws(spec)
    assert rendered(dag, "change_set", "release") == {"policy": "quorum", "quorum": 2}
    assert rendered(dag, "change_set", "in_release") == "False"
    assert rendered(dag, "change_set", "in_release", frozen={"source": "s"}, dry_run=True) == "True"
    assert rendered(dag, "change_set", "undo") == "null"
    assert rendered(dag, "change_set", "undo", undo={"run_id": "r1"}) == '{"run_id": "r1"}'


def test_a_version_to_go_back_to_is_handed_on(spec: str) -> None:
    assert rendered(aws(spec), "freeze", "to", to="v1.4") == "v1.4"
    assert rendered(aws(spec), "freeze", "to", to=None) == ""
