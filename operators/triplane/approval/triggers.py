"""Waits for people to answer, without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


def still_open(states: Mapping[str, str | None]) -> int:
    """How many approval tasks of these states wait for an answer; none once one of them has failed."""
    if "failed" in states.values():
        return 0
    return sum(state not in ENDED for state in states.values())


class AnsweredTrigger(BaseTrigger):
    """Looks whether the approval tasks of a run are answered, until a moment.

    Its event is ``{"open": n}``: 0 as soon as everybody has answered or somebody's answer ended the matter, else how
    many are open at that moment. A look that fails is logged, and done again.

    :param task_id: the approval tasks
    :param until: Unix time
    :param interval: seconds before each look; an event at once could overtake the end of the task that waits for it
    """

    def __init__(
        self, *, dag_id: str, run_id: str, task_id: str, until: float, interval: float = 5.0
    ) -> None:
        super().__init__()
        self.dag_id = dag_id
        self.run_id = run_id
        self.task_id = task_id
        self.until = until
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments."""
        names = ("dag_id", "run_id", "task_id", "until", "interval")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when everybody has answered or it is time for a reminder."""
        while True:
            await asyncio.sleep(self.interval)
            try:
                waiting = still_open(await self.look())
            except Exception as error:
                self.log.warning("Cannot see the approvals of %s %s: %s", self.dag_id, self.run_id, error)
                continue
            if waiting == 0 or time.time() >= self.until:
                yield TriggerEvent({"open": waiting})
                return

    async def look(self) -> Mapping[str, str | None]:
        """Task, with its map index -> its state."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=self.dag_id, task_ids=[self.task_id], run_ids=[self.run_id]
        )
        return dict(states.get(self.run_id, {}))
