"""Where in Airflow's UI the log of a question is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from triplane.notify.links import run_link


def log_link(run: Any, task_id: str, map_index: int | None) -> str:
    """The page with the log of a task; empty where ``[api] base_url`` is not set."""
    link = run_link(run.dag_id, run.run_id)
    mapped = "" if map_index is None or map_index < 0 else f"/mapped/{map_index}"
    return f"{link}/tasks/{quote(task_id, safe='')}{mapped}" if link else ""
