"""A retry finds the child run that it started before; there is never a second one."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DagRunState
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
    ErrorType,
    TaskDeferred,
)
from airflow.sdk.execution_time.comms import ErrorResponse

from triplane.rollout.children import ChildRunOperator


class Children:
    """The child DAG's runs, and what was asked of Airflow."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.started: list[Any] = []
        self.paused = False

    def get_dag(self, dag_id: str) -> Any:
        return SimpleNamespace(is_paused=self.paused)

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
    assert parked.value.trigger.until > time.time() + 11 * 3600  # type: ignore[attr-defined]


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


def resume(children: Any, state: str = "ended", until: float = 9e9) -> Any:
    operator = ChildRunOperator(
        task_id="aws", child_dag_id="deploy_aws", child_run_id="x", conf={}, wait_limit=60.0
    )
    return operator.execute_complete({"task_instance": children}, {"state": state, "until": until})  # type: ignore[typeddict-item]


def test_a_child_that_failed_fails_the_task_and_says_what_to_do() -> None:
    with pytest.raises(AirflowFailException, match="clear this task to run this cloud alone again"):
        resume(Children(x="failed"))


def test_a_child_that_was_deleted_is_told_from_one_that_failed() -> None:
    with pytest.raises(AirflowFailException, match="x was deleted; clear this task to start it again"):
        resume(Children())


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_child_that_a_person_has_cleared_meanwhile_is_waited_for_on(state: str) -> None:
    with pytest.raises(TaskDeferred) as parked:
        resume(Children(x=state), until=123.0)
    assert parked.value.trigger.until == 123.0, "the limit is that of the first wait"  # type: ignore[attr-defined]


def test_a_limit_that_is_over_ends_the_wait_for_good_and_says_what_the_child_does() -> None:
    with pytest.raises(
        AirflowFailException,
        match=r"did not end within 60 s .*What it applies now ends, and it begins nothing else",
    ):
        resume(Children(x="running"), "limit")


def test_a_child_that_ended_just_at_the_limit_has_ended_well() -> None:
    assert resume(Children(x="success"), "limit") == {"dag_id": "deploy_aws", "run_id": "x"}


def test_a_paused_dag_is_reported_before_anything_is_started(run: Any) -> None:
    children = Children()
    children.paused = True
    with pytest.raises(AirflowFailException, match="airflow dags unpause deploy_aws"):
        run(children)
    assert children.started == []


def test_a_dag_that_is_paused_later_is_reported_while_it_is_waited_for() -> None:
    children = Children(x="running")
    children.paused = True
    with pytest.raises(AirflowFailException, match="deploy_aws is paused"):
        resume(children, "look")


def test_a_missing_dag_is_reported(run: Any) -> None:
    children = Children()

    def missing(dag_id: str) -> Any:
        raise AirflowRuntimeError(
            ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 404})
        )

    children.get_dag = missing  # type: ignore[method-assign]
    with pytest.raises(AirflowFailException, match="there is no DAG deploy_aws"):
        run(children)


def test_an_api_server_that_fails_is_not_taken_for_a_missing_dag(run: Any) -> None:
    children = Children()

    def broken(dag_id: str) -> Any:
        raise AirflowRuntimeError(
            ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 503})
        )

    children.get_dag = broken  # type: ignore[method-assign]
    with pytest.raises(AirflowRuntimeError):
        run(children)


def test_planning_only_starts_nothing(run: Any) -> None:
    children = Children()
    with pytest.raises(AirflowSkipException):
        run(children, skip="True")
    assert children.started == []
