"""Where in Airflow's UI a question is read and answered."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote


def base_url() -> str:
    """The address of Airflow's UI: ``[api] base_url``, empty where it is not set."""
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback=None) or "").rstrip("/")


def run_link(run: Any) -> str:
    """The page of a run with everything that it waits for people to answer."""
    return _run(run) and f"{_run(run)}/required_actions"


def log_link(run: Any, task_id: str, map_index: int | None) -> str:
    """The page with the log of a task."""
    mapped = "" if map_index is None or map_index < 0 else f"/mapped/{map_index}"
    return _run(run) and f"{_run(run)}/tasks/{quote(task_id)}{mapped}"


def _run(run: Any) -> str:
    address = base_url()
    return address and f"{address}/dags/{quote(run.dag_id)}/runs/{quote(run.run_id)}"
