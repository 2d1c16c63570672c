"""The parts of :mod:`triplane.core.calls` that no client's own tests reach; see ``tests/unit/serverless/test_rest.py``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from triplane.core.calls import Repeats
from triplane.core.errors import TransientError

TWICE = Repeats(tries=3, first=1.0, longest=10.0)


def answers(*statuses: int, **headers: str) -> Any:
    waiting = [SimpleNamespace(status_code=status, headers=headers) for status in statuses]
    return lambda: waiting.pop(0)


def test_an_answer_of_its_own_can_turn_a_call_away() -> None:
    waits: list[float] = []
    pause = lambda answer: 3.0 if answer.status_code == 403 else None  # noqa: E731
    found = TWICE.call(answers(403, 403, 200), safe=False, pause=pause, sleep=waits.append)
    assert (found.status_code, waits) == (200, [3.0, 3.0])
    found = TWICE.call(answers(403, 200), safe=True, pause=lambda answer: 11.0, sleep=waits.append)
    assert (found.status_code, len(waits)) == (403, 2), "longer than this caller waits"


def test_a_401_at_the_last_try_is_the_answer() -> None:
    found = TWICE.call(answers(503, 503, 401), safe=True, renews=True, sleep=lambda seconds: None)
    assert found.status_code == 401


def test_no_answer_is_no_answer() -> None:
    tried: list[int] = []

    def send() -> Any:
        tried.append(1)
        raise TransientError("reset")

    for safe, count in ((True, 3), (False, 1)):
        tried.clear()
        with pytest.raises(TransientError):
            TWICE.call(send, safe=safe, sleep=lambda seconds: None)
        assert len(tried) == count
