"""The end of a call does not disturb a timer that runs already."""

from __future__ import annotations

import signal
import time

import pytest

from triplane.notify.deadline import Late, deadline


def test_what_takes_too_long_ends_even_if_it_catches_errors() -> None:
    def stubborn() -> None:
        while True:
            try:
                time.sleep(60)
            except Exception:
                continue

    begin = time.monotonic()
    with pytest.raises(Late), deadline(0.1):
        stubborn()
    assert time.monotonic() - begin < 30


def test_a_ring_in_the_moment_in_which_the_body_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is too late to be an error, and whose timer it was is told of the next ring."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    real = signal.setitimer

    def late(which: int, seconds: float) -> object:
        if not seconds:
            signal.raise_signal(signal.SIGALRM)
        return real(which, seconds)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(signal, "setitimer", late)
            with deadline(50):
                pass
        assert rung == []
        signal.raise_signal(signal.SIGALRM)
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_another_timer_goes_on() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 20)
        with deadline(50):  # the other one ends first: it is left alone
            time.sleep(0.1)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 20
        signal.setitimer(signal.ITIMER_REAL, 2)
        with pytest.raises(Late), deadline(0.1):
            time.sleep(60)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1.9
        until = time.monotonic() + 30
        while not rung and time.monotonic() < until:
            time.sleep(0.05)
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
