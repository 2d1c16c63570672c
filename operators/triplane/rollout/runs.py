"""Starting runs of other DAGs, and what can be seen of them."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowException, ErrorType

from triplane.rollout.parent import run_state as run_state

UNDER_WAY = ("queued", "running")


def start_run(dag_id: str, run_id: str, conf: Any, *, again: bool) -> None:
    """Start a run; ``again`` starts one that has failed anew. One that is there already is left as it is."""
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer: Any = SUPERVISOR_COMMS.send(
        TriggerDagRun(dag_id=dag_id, run_id=run_id, conf=conf, reset_dag_run=again)
    )
    if isinstance(answer, ErrorResponse) and answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
        raise AirflowException(f"{dag_id} cannot be started ({answer.error.value})")
