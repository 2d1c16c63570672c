"""What the demo shows while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from triplane.rollout import report
from triplane.sandbox.airflow import AirflowApi

START = time.monotonic()
QUIET = (None, "none", "scheduled", "queued", "skipped", "deferred")
ENDED = ("success", "failed")
CLOUDS = ("aws", "gcp", "azure")


def say(text: str) -> None:
    """One line, with the seconds since the start."""
    print(f"[{time.monotonic() - START:5.0f} s] {text}", flush=True)


def table(rows: Sequence[dict[str, Any]]) -> None:
    """The report of a deployment."""
    print("\n".join(["", *report.table(rows), ""]), flush=True)


def follow(
    api: AirflowApi,
    dag_id: str,
    run_id: str,
    on_question: Callable[[list[dict[str, Any]]], None] | None = None,
    limit: float = 900,
) -> str:
    """Show each task of a run and of its children as it changes, until the run ends; returns its state."""
    seen: dict[tuple[str, str], str] = {}
    asked: set[tuple[str, int]] = set()
    end = time.monotonic() + limit
    while True:
        state = api.run_state(dag_id, run_id)
        _show(api, dag_id, run_id, seen)
        if on_question and (questions := _new_questions(api, dag_id, run_id, asked)):
            on_question(questions)
        if state in ENDED:
            return state
        if time.monotonic() > end:
            return f"still {state} after {limit:g} s"
        time.sleep(1.5)


def _new_questions(
    api: AirflowApi, dag_id: str, run_id: str, asked: set[tuple[str, int]]
) -> list[dict[str, Any]]:
    found = []
    for question in api.questions(dag_id, run_id):
        task = question["task_instance"]
        key = (task["task_id"], task["map_index"])
        if key not in asked:
            asked.add(key)
            found.append(question)
    return found


def _show(api: AirflowApi, dag_id: str, run_id: str, seen: dict[tuple[str, str], str]) -> None:
    runs = [(dag_id, run_id)]
    for task in api.tasks(dag_id, run_id):
        group, _, cloud = task["task_id"].partition(".")
        if (
            group in ("plan", "apply")
            and cloud in CLOUDS
            and task["state"] not in (None, "scheduled", "queued")
        ):
            runs.append((f"deploy_{cloud}", f"{run_id}.{cloud}.{group}"))
    for child_dag, child_run in runs:
        if api.request("GET", f"/dags/{child_dag}/dagRuns/{child_run}").status_code != 200:
            continue
        for task in api.tasks(child_dag, child_run):
            _show_task(api, child_dag, child_run, task, seen)


def _show_task(
    api: AirflowApi, dag: str, run: str, task: dict[str, Any], seen: dict[tuple[str, str], str]
) -> None:
    name, state = task["task_id"], task["state"]
    key = (run, f"{name}[{task['map_index']}]")
    if state in QUIET or seen.get(key) == state:
        return
    seen[key] = state
    took = f" in {task['duration']:.1f} s" if state in ENDED and task.get("duration") else ""
    say(f"  {dag:13} {name}: {state.replace('_', ' ')}{took}")
    if state in ("failed", "up_for_retry"):
        for reason in reasons(api.logs(dag, run, name, task["try_number"], task["map_index"])):
            say(f"      {reason}")


def reasons(log: str) -> list[str]:
    """The errors in a task's log: exceptions with their message."""
    found = []
    for line in log.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        found += [f"{e['exc_type']}: {e['exc_value']}" for e in event.get("error_detail") or []]
    return found
