"""Where a task stands in a deployment: which stage it belongs to, and which cloud it is about.

Tasks are mappings as Airflow's REST API has them: ``dag_id``, ``dag_run_id``, ``task_id`` and ``map_index``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from triplane.core.words import CLOUDS

T = TypeVar("T")
EVERYWHERE = "all"
ORDER = (
    "queue",
    "check",
    "images",
    "tests",
    "plan",
    "approval",
    "infrastructure",
    "machines",
    "manifests",
    "applications",
    "functions",
    "streams",
    "schedules",
    "pipelines",
    "leftovers",
    "destroy",
    "settle",
    "parity",
    "record",
    "report",
)
"""The stages as they follow each other."""
CHILD = re.compile(rf"\.({'|'.join(CLOUDS)})\.(\w+)$")
"""The end of the id of a run that another run has started: the cloud, and ``plan``, ``apply`` or ``settle``."""
_ALONE = re.compile(rf"_({'|'.join(CLOUDS)})$")
_PLANS = ("freeze", "change_set", "change_sets", "leftovers.plan")


def cloud_of(task: Mapping[str, Any]) -> str:
    """The cloud that a task is about, ``all`` if it is about none alone."""
    match = CHILD.search(task["dag_run_id"]) or _ALONE.search(task["dag_id"])
    named = [part for part in str(task["task_id"]).split(".") if part in CLOUDS]
    return match[1] if match else named[0] if named else EVERYWHERE


def stage_of(task: Mapping[str, Any]) -> str:
    """The stage that a task belongs to: ``plan``, ``approval``, ``infrastructure``, ``check``, ..."""
    task_id = str(task["task_id"])
    child = CHILD.search(task["dag_run_id"])
    first = task_id.split(".")[0]
    if (child and child[2] == "plan") or task_id in _PLANS or task_id.endswith(".plan"):
        return "plan"
    if first in ("approval", "decision", "authorize"):
        return "approval"
    return "check" if first in CLOUDS else first


def name_of(task: Mapping[str, Any]) -> str:
    """A task in one word: ``infrastructure.main.apply``, ``approval[1]``."""
    return f"{task['task_id']}[{task['map_index']}]" if task["map_index"] >= 0 else str(task["task_id"])


def shown(rows: Iterable[T], task_of: Callable[[T], Mapping[str, Any]]) -> list[T]:
    """Those without the tasks that only wait for the runs of the clouds, once these are there."""
    tasks = [(row, task_of(row)) for row in rows]
    children = {(match[2], match[1]) for _, task in tasks if (match := CHILD.search(task["dag_run_id"]))}
    return [
        row
        for row, task in tasks
        if CHILD.search(task["dag_run_id"]) or tuple(str(task["task_id"]).split(".")) not in children
    ]


def rank(stage: str) -> tuple[int, str]:
    """What to sort stages by; those that are not in :data:`ORDER` come last."""
    return (ORDER.index(stage) if stage in ORDER else len(ORDER), stage)
