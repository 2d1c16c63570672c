"""Watches gates without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from triplane.gates.check import Check
from triplane.gates.verdict import Verdict, combine
from triplane.gates.watch import Looker, said

T = TypeVar("T")
THREADS = 128
"""Looks that a triggerer has under way at the same time; they wait for answers most of it."""


class GateTrigger(BaseTrigger):
    """Watches all checks at once, and fires a :class:`triplane.gates.verdict.Verdict` as plain values.

    The first check that does not pass decides, but one without data that asks a person waits for the others: they may
    fail. A triggerer that takes over collects its samples anew, so that nothing
    unseen is taken for good, and gives up at the same moment.

    :param checks: of :class:`triplane.gates.check.Check`, as plain values
    :param begun: when the gate began, in seconds since 1970
    :param before: the moment that checks against the value before compare with; default is ``begun``
    """

    def __init__(
        self, *, checks: Sequence[Mapping[str, Any]], begun: float, before: float | None = None
    ) -> None:
        super().__init__()
        self.checks = [dict(check) for check in checks]
        self.begun = begun
        self.before = before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        names = ("checks", "begun", "before")
        return f"{__name__}.GateTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event."""
        yield TriggerEvent((await self.verdict()).to_json())

    async def verdict(self) -> Verdict:
        """What the event tells; a worker that does not defer waits for it itself."""
        waiting = {asyncio.create_task(self._one(Check.from_json(check))) for check in self.checks}
        found: list[Verdict] = []
        try:
            while waiting and all(verdict.passed or verdict.asks for verdict in found):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                found += [task.result() for task in done]
        finally:
            for task in waiting:
                task.cancel()
        return combine({str(number): verdict for number, verdict in enumerate(found)})

    async def _one(self, check: Check) -> Verdict:
        looker = Looker(check, begun=self.begun, before=self.before)
        due = time.monotonic()
        while True:
            sample, verdict = await in_thread(looker.look)
            self.log.info("%s", said(sample))
            if verdict is not None:
                return verdict
            due = max(due + check.every, time.monotonic())
            await asyncio.sleep(max(0.0, min(due - time.monotonic(), looker.left())))


async def in_thread(work: Callable[[], T]) -> T:
    """Do what blocks in a thread of the gates' own: the event loop's few are for others."""
    from asgiref.sync import sync_to_async

    return await sync_to_async(work, thread_sensitive=False, executor=_pool())()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="gate")
