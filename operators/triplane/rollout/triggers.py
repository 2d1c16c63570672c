"""Waits for runs without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseTrigger, TriggerEvent


class RunsTrigger(BaseTrigger):
    """Fires when none of some runs is in one of some states, with ``{"state": "ended", "until": ...}``.

    Earlier it fires with ``look``, for what only a task can see (whether a DAG is paused), and with ``limit``.

    :param runs: ``[dag_id, run_id]`` of each
    :param states: ``queued``, ``running``
    :param until: when it is given up, in seconds since 1970; None: never
    :param look: seconds after which a task shall look; None: never
    :param poll: seconds between two looks of its own
    """

    def __init__(
        self,
        *,
        runs: Sequence[Sequence[str]],
        states: Sequence[str],
        until: float | None = None,
        look: float | None = None,
        poll: float = 2.0,
    ) -> None:
        super().__init__()
        self.runs = [list(run) for run in runs]
        self.states = list(states)
        self.until = until
        self.look = look
        self.poll = poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        names = ("runs", "states", "until", "look", "poll")
        return f"{__name__}.RunsTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event. An API server that does not answer is asked again."""
        from asgiref.sync import sync_to_async

        began = time.monotonic()
        while True:
            try:
                if not await sync_to_async(self._waiting)():
                    yield self._event("ended")
                    return
            except AirflowRuntimeError as error:
                self.log.warning("the runs cannot be seen now: %s", error)
            if self.until is not None and time.time() >= self.until:
                yield self._event("limit")
                return
            if self.look is not None and time.monotonic() - began >= self.look:
                yield self._event("look")
                return
            await asyncio.sleep(self.poll)

    def _waiting(self) -> bool:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        return any(
            RuntimeTaskInstance.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=self.states)
            for dag_id, run_id in self.runs
        )

    def _event(self, state: str) -> TriggerEvent:
        return TriggerEvent({"state": state, "until": self.until})
