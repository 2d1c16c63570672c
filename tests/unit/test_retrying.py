"""Which failures are worth another try, and when."""

from __future__ import annotations

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from hypothesis import given
from hypothesis import strategies as st

from triplane.core.errors import InputError, RefusedError, StaleError, ToolError, TransientError
from triplane.retrying import TransientOnly


@pytest.mark.parametrize("error", [InputError("x"), RefusedError("x"), StaleError("x")])
def test_what_a_retry_cannot_help_fails_at_once(error: Exception) -> None:
    decision = TransientOnly().evaluate(error, 1, 3)
    assert decision.action is RetryAction.FAIL
    assert decision.reason == f"{type(error).__name__}: a retry cannot help"


@pytest.mark.parametrize(
    "error", [TransientError("x"), ToolError(["helm"], 1, ""), OSError("x"), KeyError("x")]
)
def test_everything_else_may_pass(error: Exception) -> None:
    assert TransientOnly().evaluate(error, 1, 3).action is RetryAction.RETRY


@given(tries=st.integers(1, 50))
def test_each_try_waits_longer_up_to_a_limit_and_never_all_at_once(tries: int) -> None:
    policy = TransientOnly(first=5, longest=120)
    whole = min(5 * 2 ** (tries - 1), 120)
    delays = [policy.evaluate(TransientError("x"), tries, 60).retry_delay for _ in range(20)]
    seconds = [delay.total_seconds() for delay in delays if delay]
    assert len(seconds) == 20
    assert all(whole / 2 <= each <= whole for each in seconds)
    assert len(set(seconds)) > 1


def test_it_can_be_written_down() -> None:
    policy = TransientOnly.deserialize(TransientOnly(first=1, longest=2).serialize())
    assert (policy.first, policy.longest) == (1, 2)
