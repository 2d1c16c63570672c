"""What a run and the runs that it started look like now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from triplane.cli.api import Api
from triplane.cli.exits import Exit
from triplane.cli.text import clean
from triplane.core.asked import ASKS
from triplane.core.stages import cloud_of, shown

ENDED = ("success", "failed")
SENSOR = re.compile(r"(?:^|\.)approval$")
REASONS = 6


class Observation(NamedTuple):
    """A run, the tasks of it and of its children, and what they ask people."""

    run: Mapping[str, Any]
    tasks: Sequence[Mapping[str, Any]]
    questions: Sequence[Mapping[str, Any]]

    @property
    def state(self) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.run["state"])

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more, if nobody clears anything."""
        return self.state in ENDED

    @property
    def only_waits(self) -> bool:
        """Whether nothing but the answer of a person can move it."""
        moving = ("running", "queued", "scheduled", "up_for_retry", "restarting", "up_for_reschedule")
        busy = [task for task in self.shown if task["state"] in moving]
        waiting = {cloud_of(question["task_instance"]) for question in self.questions}
        deferred = [
            task for task in self.shown if task["state"] == "deferred" and cloud_of(task) not in waiting
        ]
        return bool(self.questions) and not busy and not deferred

    @property
    def shown(self) -> list[Mapping[str, Any]]:
        """The tasks without those that only wait for the runs of the clouds, once these are there."""
        return shown(self.tasks, lambda task: task)

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The tasks that failed by themselves, without the report that sums them up where there is any other."""
        found = [task for task in self.shown if task["state"] == "failed"]
        return [task for task in found if task["task_id"] != "report"] or found

    @property
    def exit_code(self) -> Exit:
        """How it went."""
        if not self.ended:
            return Exit.WAITING
        if self.state == "success":
            return Exit.DONE
        refused = any(SENSOR.search(task["task_id"]) for task in self.failed)
        return Exit.NOT_APPROVED if refused else Exit.FAILED


def observe(api: Api, dag_id: str, run_id: str) -> Observation:
    """Look at a run. The children are those whose ids begin with its own."""
    run = api.run(dag_id, run_id)
    found = api.pages("/dags/~/dagRuns/~/taskInstances", "task_instances", run_id_prefix_pattern=run_id)
    tasks = sorted(
        (task for task in found if _belongs(task, dag_id, run_id)),
        key=lambda task: (
            task.get("start_date") or "~",
            task["dag_run_id"],
            task["task_id"],
            task["map_index"],
        ),
    )
    asking = {(task["dag_id"], task["dag_run_id"]) for task in tasks if task["state"] == ASKS}
    questions = [question for place in sorted(asking) for question in open_questions(api, *place)]
    return Observation(run, tasks, questions)


def open_questions(api: Api, dag_id: str, run_id: str) -> Iterator[dict[str, Any]]:
    """What a run asks and nobody has answered."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/hitlDetails"
    for question in api.pages(path, "hitl_details", response_received=False):
        if question["task_instance"]["state"] == ASKS:
            yield question


def reasons(api: Api, task: Mapping[str, Any]) -> list[str]:
    """Why a task failed: the errors in its log, else the last lines of it."""
    content = api.log(task, full=True).get("content") or []
    errors = [
        f"{error.get('exc_type')}: {error.get('exc_value')}"
        for line in content
        if isinstance(line, Mapping)
        for error in line.get("error_detail") or ()
    ]
    lines = [clean(line) for text in errors for line in text.splitlines() if line.strip()]
    lines = lines or [text for line in content if (text := log_line(line))]
    return lines[-REASONS:]


def log_line(line: Any) -> str:
    """One line of a log; empty for what only groups lines."""
    if not isinstance(line, Mapping):
        return clean(line, None)
    text = str(line.get("event", ""))
    if text.startswith("::"):
        return ""
    level = str(line.get("level") or "")
    details = [
        f"{error.get('exc_type')}: {error.get('exc_value')}" for error in line.get("error_detail") or ()
    ]
    return clean(
        " ".join([*([level.upper()] if level in ("warning", "error", "critical") else []), text, *details]),
        None,
    )


def _belongs(task: Mapping[str, Any], dag_id: str, run_id: str) -> bool:
    mine = (task["dag_id"], task["dag_run_id"]) == (dag_id, run_id)
    child = str(task["dag_run_id"]).startswith(f"{run_id}.")
    return mine or (child and str(task["dag_id"]).startswith(f"{dag_id}_"))
