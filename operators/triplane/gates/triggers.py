"""Watches a gate without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from triplane.gates.http import look
from triplane.gates.verdict import Sample, judge


class HttpGateTrigger(BaseTrigger):
    """Looks at a URL for a while, and fires a :class:`triplane.gates.verdict.Verdict` as plain values.

    A triggerer that takes over begins the time anew.

    :param url: what must answer
    :param status: with this status
    :param contains: and this text
    :param lasting: seconds for which it must be good without a break
    :param every: seconds between two looks
    """

    def __init__(
        self, *, url: str, status: int = 200, contains: str = "", lasting: float = 60.0, every: float = 5.0
    ) -> None:
        super().__init__()
        self.url = url
        self.status = status
        self.contains = contains
        self.lasting = lasting
        self.every = every

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        names = ("url", "status", "contains", "lasting", "every")
        return f"{__name__}.HttpGateTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: at the first bad answer, else at the end of the time."""
        samples: list[Sample] = []
        end = time.monotonic() + self.lasting
        while True:
            sample = await asyncio.to_thread(look, self.url, status=self.status, contains=self.contains)
            samples.append(sample)
            self.log.info("%s", sample.text)
            left = end - time.monotonic()
            if sample.good is False or left <= 0:
                yield TriggerEvent(judge(samples).to_json())
                return
            await asyncio.sleep(min(self.every, left))
