"""A retry finds the child run that it started before; there is never a second one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DagRunState
from airflow.sdk.exceptions import AirflowException, AirflowSkipException, TaskDeferred

from triplane.rollout.parent import ChildRunOperator


class Children:
    """The child DAG's runs, and what was asked of Airflow."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.started: list[Any] = []

    def get_dr_count(self, dag_id: str, run_ids: list[str]) -> int:
        return sum(run_id in self.states for run_id in run_ids)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> DagRunState:
        return DagRunState(self.states[run_id])

    def send(self, message: Any) -> Any:
        self.started.append(message)
        return SimpleNamespace(ok=True)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def execute(children: Children, **options: Any) -> Any:
        from airflow.sdk.execution_time import task_runner

        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", children, raising=False)
        operator = ChildRunOperator(
            task_id="aws",
            child_dag_id="deploy_aws",
            child_run_id="r1_aws_apply",
            conf={"action": "apply"},
            **options,
        )
        return operator.execute({"task_instance": children})  # type: ignore[typeddict-item]

    return execute


def test_it_starts_one_run_and_parks(run: Any) -> None:
    children = Children()
    with pytest.raises(TaskDeferred) as parked:
        run(children)
    (message,) = children.started
    assert (message.dag_id, message.run_id, message.reset_dag_run) == ("deploy_aws", "r1_aws_apply", False)
    assert parked.value.timeout is not None


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_retry_waits_on_for_a_run_that_is_under_way(run: Any, state: str) -> None:
    children = Children(r1_aws_apply=state)
    with pytest.raises(TaskDeferred):
        run(children)
    assert children.started == []


def test_a_retry_takes_the_result_of_a_run_that_ended_well(run: Any) -> None:
    children = Children(r1_aws_apply="success")
    assert run(children) == {"dag_id": "deploy_aws", "run_id": "r1_aws_apply"}
    assert children.started == []


def test_a_failed_run_is_started_again_under_its_own_id(run: Any) -> None:
    children = Children(r1_aws_apply="failed")
    with pytest.raises(TaskDeferred):
        run(children)
    (message,) = children.started
    assert (message.run_id, message.reset_dag_run) == ("r1_aws_apply", True)


def test_a_child_that_failed_fails_the_task_and_says_what_to_do(run: Any) -> None:
    operator = ChildRunOperator(task_id="aws", child_dag_id="deploy_aws", child_run_id="x", conf={})
    with pytest.raises(AirflowException, match="clear this task to run this cloud alone again"):
        operator.execute_complete({"task_instance": Children(x="failed")})  # type: ignore[typeddict-item]


def test_planning_only_starts_nothing(run: Any) -> None:
    children = Children()
    with pytest.raises(AirflowSkipException):
        run(children, skip="True")
    assert children.started == []
