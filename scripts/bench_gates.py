"""How well a triggerer keeps to the polling of many gates."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import parse_qs

import bench_waiting
from bench_waiting import EVERY, LASTING, MANY

from triplane.gates.triggers import GateTrigger


def polling() -> float:
    """See :func:`bench_waiting.polling`: all of them ask a Prometheus."""
    return bench_waiting.polling(_prometheus, _watch)


async def _watch(url: str) -> None:
    async def one(number: int) -> Any:
        check = {
            "source": "prometheus",
            "query": {"query": f"gate_{number}", "url": url},
            "at_most": 1.0,
            "lasting": LASTING,
            "every": EVERY,
        }
        return (await anext(GateTrigger(checks=[check], begun=time.time()).run())).payload

    verdicts = await asyncio.gather(*(one(number) for number in range(MANY)))
    assert all(verdict["state"] == "pass" for verdict in verdicts), verdicts[0]


def _prometheus(path: str, body: str) -> tuple[str, Any]:
    data = {"resultType": "vector", "result": [{"metric": {}, "value": [0, "0"]}]}
    return parse_qs(body)["query"][0], {"status": "success", "data": data}
