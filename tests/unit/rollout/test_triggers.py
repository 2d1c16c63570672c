"""Waiting for runs without a worker."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from triplane.rollout.triggers import RunsTrigger


def fire(monkeypatch: pytest.MonkeyPatch, answers: list[Any], **options: Any) -> tuple[dict[str, Any], int]:
    """What the trigger fires with, and how often it looked; the last answer stays."""
    looked: list[Any] = []

    def count(dag_id: str, run_ids: list[str], states: list[str]) -> int:
        looked.append((dag_id, run_ids, states))
        answer = answers[min(len(looked), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", staticmethod(count))
    trigger = RunsTrigger(runs=[["deploy_aws", "r1"]], states=["running"], poll=0.01, **options)
    path, arguments = trigger.serialize()
    assert path == "triplane.rollout.triggers.RunsTrigger"

    async def first() -> Any:
        return await anext(RunsTrigger(**arguments).run())

    return asyncio.run(first()).payload, len(looked)


def test_it_fires_when_no_run_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fire(monkeypatch, [1, 1, 0]) == ({"state": "ended", "until": None}, 3)


def test_an_api_server_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    error = AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR, detail={}))
    assert fire(monkeypatch, [error, 1, error, 0])[0]["state"] == "ended"


def test_a_task_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    payload, looked = fire(monkeypatch, [1], look=0.05, until=time.time() + 60)
    assert payload["state"] == "look"
    assert payload["until"] > time.time()
    assert looked >= 1


def test_it_is_given_up_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fire(monkeypatch, [1], until=time.time() + 0.05)[0]["state"] == "limit"
