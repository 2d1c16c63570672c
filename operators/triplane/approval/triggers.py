"""Waits for people to answer, without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from airflow.triggers.base import BaseTrigger, TriggerEvent

FAILED = ("failed",)
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


class Votes(NamedTuple):
    """The approval tasks of a run by number: all, those that have ended, and of these those that failed."""

    asked: int
    ended: int
    failed: int

    @property
    def open(self) -> int:
        """How many wait for an answer; none once one of them has failed."""
        return 0 if self.failed else self.asked - self.ended


class AnsweredTrigger(BaseTrigger):
    """Looks whether the approval tasks of a run are answered, until a moment.

    Its event is ``{"open": n}``: 0 as soon as everybody has answered or somebody's answer ended the matter, else how
    many are open at that moment. A look that fails is logged, and done again.

    :param dag_id: the DAG
    :param run_id: its run
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
                waiting = (await self.look()).open
            except Exception as error:
                self.log.warning("Cannot see the approvals of %s %s: %s", self.dag_id, self.run_id, error)
                continue
            if waiting == 0 or time.time() >= self.until:
                yield TriggerEvent({"open": waiting})
                return

    async def look(self) -> Votes:
        """Counts, since the database makes them anew: a task instance that a triggerer has seen once keeps its state there."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        async def count(states: tuple[str, ...] | None) -> int:
            return await sync_to_async(RuntimeTaskInstance.get_ti_count)(
                dag_id=self.dag_id,
                task_ids=[self.task_id],
                run_ids=[self.run_id],
                states=list(states) if states else None,
            )

        ended, failed = await count(ENDED), await count(FAILED)
        return Votes(await count(None), ended, failed)
