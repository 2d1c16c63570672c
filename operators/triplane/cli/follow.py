"""Stay with a run until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from triplane.cli.api import Api
from triplane.cli.exits import NotFoundError
from triplane.cli.observe import Observation, observe, reasons
from triplane.cli.view import Frame, View, key

POLL = 2.0
SHARE = 5.0
"""Looking takes no more than this part of the time: one fifth."""
TICK = 0.25
EXPLAINED = 10
"""So many failed tasks are explained; the others are counted in the table."""


def follow(
    api: Api,
    dag_id: str,
    run_id: str,
    view: View,
    *,
    timeout: float | None = None,
    stop_at_approval: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Frame:
    """Show a run until it ends, until ``timeout`` seconds have passed, or until only people can move it."""
    end = None if timeout is None else clock() + timeout
    why: dict[tuple[str, str, int], list[str]] = {}
    tried: dict[tuple[str, str, int], int] = {}
    while True:
        began = clock()
        seen = observe(api, dag_id, run_id)
        for task in seen.failed[:EXPLAINED]:
            if tried.get(key(task)) != task["try_number"]:
                tried[key(task)] = task["try_number"]
                why[key(task)] = _reasons(api, task)
        frame = Frame(seen, why, elapsed(seen))
        view.show(frame)
        late = end is not None and clock() >= end
        if seen.ended or late or (stop_at_approval and seen.only_waits):
            return frame
        pause = max(POLL, (clock() - began) * SHARE)
        until = clock() + (pause if end is None else min(pause, max(end - clock(), 0)))
        while (left := until - clock()) > 0:
            sleep(min(left, TICK))
            view.tick()


def elapsed(seen: Observation) -> float:
    """Seconds since the run began, until it ended."""
    began = _time(seen.run.get("start_date") or seen.run.get("queued_at"))
    ended = _time(seen.run.get("end_date")) if seen.ended else None
    return max(((ended or datetime.now(UTC)) - began).total_seconds(), 0.0) if began else 0.0


def _reasons(api: Api, task: object) -> list[str]:
    try:
        return reasons(api, task)  # type: ignore[arg-type]
    except NotFoundError:
        return ["there is no log of it"]


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
