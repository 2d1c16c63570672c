"""When a task that failed is worth another try."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from triplane.core.errors import TerminalError


class TransientOnly(RetryPolicy):
    """What a retry cannot help fails at once; everything else is tried again, later each time, and not all at once.

    :param first: seconds before the first retry
    :param longest: seconds before any retry, at most
    """

    def __init__(self, first: float = 5.0, longest: float = 120.0) -> None:
        self.first = first
        self.longest = longest

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        """Terminal errors fail; the delay before other tries doubles, and is between half of that and all of it."""
        if isinstance(exception, TerminalError):
            return RetryDecision.fail(f"{type(exception).__name__}: a retry cannot help")
        whole = min(self.first * 2 ** (try_number - 1), self.longest)
        seconds = whole * random.uniform(0.5, 1.0)
        return RetryDecision.retry(timedelta(seconds=seconds), f"{type(exception).__name__} may pass")

    def serialize(self) -> dict[str, Any]:
        """Its arguments."""
        return {"first": self.first, "longest": self.longest}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> TransientOnly:
        """The inverse of :meth:`serialize`."""
        return cls(**data)
