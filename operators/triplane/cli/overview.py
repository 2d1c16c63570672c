"""``triplane status`` without a run: the last runs of each environment, and what waits for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.cli.api import PAGE, Api
from triplane.cli.text import one_line
from triplane.core.asked import ASKS
from triplane.core.words import CLOUDS

EACH = 3
DEFAULT = "(default)"


def last_runs(api: Api, prefix: str) -> dict[str, Any]:
    """``{"runs": [...], "questions": [...]}``: the newest first, at most three for each environment and DAG.

    Runs that other runs started are not among them.
    """
    dags = [f"{prefix}{name}" for name in ("deploy", *(f"deploy_{cloud}" for cloud in CLOUDS), "drift_check")]
    runs, counted = [], dict[tuple[str, str], int]()
    for dag_id in dags:
        found = api.get("/dags/~/dagRuns", dag_id_prefix_pattern=dag_id, order_by="-run_after", limit=PAGE)
        for run in found["dag_runs"]:
            if run["dag_id"] != dag_id or run["dag_run_id"].endswith((".plan", ".apply")):
                continue
            environment = str((run.get("conf") or {}).get("environment") or DEFAULT)
            counted[dag_id, environment] = counted.get((dag_id, environment), 0) + 1
            if counted[dag_id, environment] <= EACH:
                runs.append(_run(run, environment))
    waits = api.pages("/dags/~/dagRuns/~/hitlDetails", "hitl_details", response_received=False, state=ASKS)
    questions = [
        {
            "run_id": question["task_instance"]["dag_run_id"],
            "dag_id": question["task_instance"]["dag_id"],
            "subject": one_line(question["subject"]),
        }
        for question in waits
        if question["task_instance"]["dag_id"] in dags
    ]
    return {"runs": runs, "questions": questions}


def lines(document: Mapping[str, Any]) -> list[str]:
    """The overview for people."""
    columns = ("environment", "action", "state", "started", "by", "run_id")
    rows = [columns, *([str(run[name] or "") for name in columns] for run in document["runs"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    found = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    found += [
        f"waits for approval: {item['subject']} (triplane approve {item['run_id']})"
        for item in {(item["run_id"], item["subject"]): item for item in document["questions"]}.values()
    ]
    return found if document["runs"] else ["no runs yet"]


def _run(run: Mapping[str, Any], environment: str) -> dict[str, Any]:
    conf = run.get("conf") or {}
    drift = str(run["dag_id"]).endswith("drift_check")
    return {
        "run_id": run["dag_run_id"],
        "dag_id": run["dag_id"],
        "environment": one_line(environment),
        "action": one_line("drift" if drift else conf.get("action") or "deploy"),
        "state": run["state"],
        "started": str(run.get("start_date") or "")[:19],
        "by": one_line(run.get("triggering_user_name") or ""),
    }
