"""Starting runs of other DAGs, and what can be seen of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import DagRunState
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRuntimeError, ErrorType

if TYPE_CHECKING:
    from airflow.sdk import Context

ENDED_WELL = "success"
ENDED_BADLY = "failed"
UNDER_WAY = ("queued", "running")
LOOK_SECONDS = 60.0
"""How often a task that waits for runs looks whether their DAGs are paused."""


def run_state(context: Context, dag_id: str, run_id: str) -> str | None:
    """``queued``, ``running``, ``success`` or ``failed``; None if there is no such run."""
    instance: Any = context["task_instance"]
    if not instance.get_dr_count(dag_id=dag_id, run_ids=[run_id]):
        return None
    return str(DagRunState(instance.get_dagrun_state(dag_id=dag_id, run_id=run_id)).value)


def task_states(context: Context, *task_ids: str) -> dict[str, str]:
    """The states of tasks of this run; those that have none are left out."""
    run: Any = context["dag_run"]
    instance: Any = context["task_instance"]
    found = instance.get_task_states(dag_id=run.dag_id, run_ids=[run.run_id], task_ids=list(task_ids))
    states = found.get(run.run_id, {})
    return {task: str(getattr(state, "value", state)) for task, state in states.items() if state}


def check_ready(context: Context, dag_id: str) -> None:
    """:raises AirflowFailException: the DAG is missing or paused, so that a run of it would wait for ever"""
    instance: Any = context["task_instance"]
    try:
        paused = instance.get_dag(dag_id).is_paused
    except AirflowRuntimeError as error:
        if "404" not in str(error) and "not found" not in str(error).lower():
            raise
        raise AirflowFailException(
            f"there is no DAG {dag_id}: put its file into the DAGs folder, see that it has no import error, "
            "then clear this task"
        ) from error
    if paused:
        raise AirflowFailException(
            f"{dag_id} is paused, so its runs do not go on: unpause it (`airflow dags unpause {dag_id}`), "
            "then clear this task"
        )


def start_run(dag_id: str, run_id: str, conf: Any, *, again: bool) -> None:
    """Start a run; ``again`` starts one that has failed anew. One that is there already is left as it is."""
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer: Any = SUPERVISOR_COMMS.send(
        TriggerDagRun(dag_id=dag_id, run_id=run_id, conf=conf, reset_dag_run=again)
    )
    if isinstance(answer, ErrorResponse) and answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
        raise AirflowException(f"{dag_id} cannot be started ({answer.error.value})")
