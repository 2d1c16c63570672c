"""What an Airflow was at when a test failed: its log folder is gone by the time that somebody reads of it."""

from __future__ import annotations

from collections.abc import Iterator

from triplane.sandbox.airflow import AirflowApi

STATES = ("failed", "up_for_retry", "running", "queued", "deferred", "scheduled")
MOST_TASKS = 12
MOST_LINES = 25


def tell(api: AirflowApi) -> str:
    """The latest tasks that failed or have not ended, and the ends of their logs."""
    return "\n".join(_lines(api))


def _lines(api: AirflowApi) -> Iterator[str]:
    found = api.get("/dags/~/dagRuns/~/taskInstances", state=STATES, order_by="-start_date", limit=MOST_TASKS)
    for task in found["task_instances"]:
        dag_id, run_id, task_id = task["dag_id"], task["dag_run_id"], task["task_id"]
        yield f"{dag_id} {run_id} {task_id}: {task['state']}, try {task['try_number']}, since {task['start_date']}"
        if task["start_date"]:
            log = api.logs(dag_id, run_id, task_id, task["try_number"], task["map_index"])
            yield from (f"    {line[:500]}" for line in log.splitlines()[-MOST_LINES:])
