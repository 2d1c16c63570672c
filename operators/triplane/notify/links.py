"""Where in Airflow's UI people act or read on."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk.configuration import conf


def run_link(dag_id: str, run_id: str) -> str:
    """The page of a run; empty where ``[api] base_url`` is not set."""
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}" if base else ""


def decision_link(context: Any) -> str:
    """Where the questions of this run are answered, all of them; empty where ``[api] base_url`` is not set."""
    run = context["dag_run"]
    link = run_link(run.dag_id, run.run_id)
    return f"{link}/required_actions" if link else ""
