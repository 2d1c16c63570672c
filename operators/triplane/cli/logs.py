"""``triplane logs``: the logs of a run and of the runs it started, each line with its task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from triplane.cli.api import Api
from triplane.cli.exits import NotFoundError, RemoteError
from triplane.cli.observe import Observation, log_line, observe
from triplane.core.stages import EVERYWHERE, cloud_of, name_of

POLL = 1.5
HAVE_LOGS = ("running", "deferred", "awaiting_input", "up_for_retry", "success", "failed", "restarting")
OVER = ("success", "failed", "up_for_retry", "awaiting_input", "deferred")
Place = tuple[str, str, str, int, int]


class Reader:
    """Reads on where it stopped, in each log."""

    def __init__(self, api: Api, out: TextIO) -> None:
        self._api = api
        self._out = out
        self._tokens: dict[Place, str | None] = {}
        self._read: set[Place] = set()

    def read(self, task: Mapping[str, Any]) -> None:
        """Print what is new in the log of a task's last try."""
        place = _place(task)
        if place in self._read:
            return
        try:
            for line in self._new(task, place):
                cloud = cloud_of(task)
                name = name_of(task) if cloud == EVERYWHERE else f"{cloud} {name_of(task)}"
                self._out.writelines(f"{name} | {part}\n" for part in line.splitlines() if part.strip())
        except NotFoundError:
            pass
        self._out.flush()

    def _new(self, task: Mapping[str, Any], place: Place) -> Iterator[str]:
        while True:
            found = self._api.log(task, self._tokens.get(place))
            content = found.get("content") or []
            yield from filter(None, map(log_line, content))
            token = found.get("continuation_token")
            self._tokens[place] = token
            if not token or (not content and task["state"] in OVER):
                self._read.add(place)
            if not token or not content:
                return


def logs(
    api: Api,
    dag_id: str,
    run_id: str,
    out: TextIO,
    *,
    task: str = "",
    follow: bool = False,
    timeout: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Observation:
    """Print the logs; with ``follow`` until the run ends or ``timeout`` seconds have passed.

    :param task: only tasks of this name: ``aws``, ``infrastructure.main.apply`` or ``aws infrastructure.main.apply``
    """
    reader = Reader(api, out)
    end = None if timeout is None else clock() + timeout
    while True:
        seen = observe(api, dag_id, run_id)
        mine = [item for item in seen.tasks if item["state"] in HAVE_LOGS and _wanted(item, task)]
        for item in mine:
            reader.read(item)
        if not follow or seen.ended or (end is not None and clock() >= end):
            if task and not any(_wanted(item, task) for item in seen.tasks):
                raise RemoteError(f"{run_id} has no task {task}; it has {_some(seen.tasks)}")
            return seen
        sleep(POLL)


def _wanted(task: Mapping[str, Any], wanted: str) -> bool:
    name, cloud = str(task["task_id"]), cloud_of(task)
    return not wanted or wanted in (name, cloud, name_of(task), f"{cloud} {name}", f"{cloud} {name_of(task)}")


def _some(tasks: Sequence[Mapping[str, Any]]) -> str:
    names = sorted({str(task["task_id"]) for task in tasks})
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _place(task: Mapping[str, Any]) -> Place:
    return task["dag_id"], task["dag_run_id"], task["task_id"], task["map_index"], task["try_number"]
