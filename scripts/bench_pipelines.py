"""How well a triggerer keeps to the polling of many native pipelines."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import bench_waiting
from bench_waiting import EVERY, LASTING, MANY

from triplane.pipelines.triggers import PipelineTrigger

CONNECTION = "bench_gitlab"


def polling() -> float:
    """See :func:`bench_waiting.polling`: all of them ask a GitLab, for the pipeline and then for its jobs."""
    os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = '{"conn_type": "http", "password": "of-the-bench"}'
    return bench_waiting.polling(_gitlab, _watch)


async def _watch(url: str) -> None:
    options = {"project": "acme/shop", "ref": "main", "url": url, "conn_id": CONNECTION}

    async def one(number: int) -> None:
        trigger = PipelineTrigger(
            system="gitlab", options=options, run=str(number), deadline=time.time() + 3600, interval=EVERY
        )
        await anext(aiter(trigger.run()))

    waiting = [asyncio.create_task(one(number)) for number in range(MANY)]
    ended, _ = await asyncio.wait(waiting, timeout=LASTING, return_when=asyncio.FIRST_COMPLETED)
    assert not ended, [task.result() for task in ended]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _gitlab(path: str, body: str) -> tuple[str, Any]:
    """A pipeline that goes on and on."""
    _, _, run = path.partition("/pipelines/")
    if not run.isdigit():
        return "", []
    return run, {"id": int(run), "ref": "main", "sha": "0" * 40, "status": "running", "web_url": "https://x"}
