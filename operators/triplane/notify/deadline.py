"""An end for calls into libraries that have timeouts of their own, or none."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Late(BaseException):
    """The time is over. Not an ``Exception``: libraries that try again after any of those must not catch it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise :class:`Late` in the body after ``seconds``.

    A timer that runs already (Airflow's ``execution_timeout``) goes on. Outside of the main thread, where
    Python has no timer, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    over = False

    def ring(number: int, frame: Any) -> None:
        if not over:
            raise Late(f"it took more than {seconds:g} s")

    begin = time.monotonic()
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    if left and left <= seconds:
        yield
        return
    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            over = True
    finally:  # also of a ring between the end of the body and ``over``
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begin), 0.001))
