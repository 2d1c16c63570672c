"""When a call over HTTP is made again, for all services whose APIs we speak ourselves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triplane.core.errors import TransientError

TURNED_AWAY = 429
PASSING = frozenset({408, 425, TURNED_AWAY, 500, 502, 503, 504})
"""What a service answers that may be well a moment later."""


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How patient a caller is. Waits begin with ``first`` seconds and double, give or take a fifth.

    ``longest`` is how many seconds a service may ask to wait; more than that is left to whoever calls.
    """

    tries: int
    first: float
    longest: float

    def call(
        self,
        send: Callable[[], Any],
        *,
        safe: bool,
        renews: bool = False,
        pause: Callable[[Any], float | None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Any:
        """The last answer that ``send`` gets; it may be one of an error.

        What may have been done is made again only if that is ``safe``. What was turned away was not done.

        :param renews: ``send`` authenticates anew, so that one 401 is no answer yet
        :param pause: how many seconds an answer that turns a call away asks to wait, None if it does not turn it away;
            by default 429 and what its header says
        :raises TransientError: no answer, also at the last try
        """
        renewed = not renews
        for number in range(self.tries):
            last = number == self.tries - 1
            try:
                answer = send()
            except TransientError:
                if last or not safe:
                    raise
                sleep(self._wait(number))
                continue
            if answer.status_code == 401 and not renewed and not last:
                renewed = True
                continue
            wait = self._until(answer, number, safe, pause)
            if last or wait is None:
                return answer
            sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _until(
        self, answer: Any, number: int, safe: bool, pause: Callable[[Any], float | None] | None
    ) -> float | None:
        """Seconds until the next try, None where there is none."""
        asked = pause(answer) if pause else None
        if asked is None:
            if answer.status_code not in PASSING or not (safe or answer.status_code == TURNED_AWAY):
                return None
            asked = retry_after(answer)
        if asked is None:
            return self._wait(number)
        return asked if asked <= self.longest else None

    def _wait(self, number: int) -> float:
        return float(self.first * 2**number * random.uniform(0.8, 1.2))


def retry_after(answer: Any) -> float | None:
    """How many seconds an answer asks to wait; a date is left to our own wait."""
    text = str(answer.headers.get("Retry-After") or "")
    return float(text) if text.isdigit() else None
