"""Looks at what a gate asks, again and again, until it is decided."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Protocol

from triplane.core.errors import InputError, TerminalError, TransientError, TriplaneError
from triplane.gates.check import Check, Reading, Sample, judge
from triplane.gates.verdict import Verdict, Watch

SHORTEST = 0.02
"""Seconds between two looks, at least."""


class Source(Protocol):
    """Where values come from; made anew for each watch, used by one thread at a time."""

    def read(self, at: float) -> Reading:
        """What is known of a moment, in seconds since 1970.

        :raises TransientError: nothing can be observed now
        :raises TerminalError: nothing ever will be
        """


def source(name: str, query: Mapping[str, Any]) -> Source:
    """A source of :data:`triplane.gates.check.SOURCES`, ready to be asked ``query``. :raises InputError: it cannot be"""
    try:
        made: Source = import_module(f"triplane.gates.{name}").Source(query)
    except TriplaneError:
        raise
    except (
        Exception
    ) as error:  # such as a connection that is missing, which Airflow has errors of its own for
        raise InputError(f"{name} cannot be asked: {error}") from error
    return made


class Looker:
    """One check, being watched.

    :param begun: when the watch began, in seconds since 1970; it may have begun in another process
    :param before: the moment that is compared with, for a check against the value before
    """

    def __init__(self, check: Check, *, begun: float, before: float | None = None) -> None:
        self._check = check
        self._begun = begun
        self._before = begun if before is None else before
        self._watch = Watch(check, begun)
        self._source: Source | None = None
        self._baseline: Source | None = None
        self._reference: Reading | None = None

    def look(self) -> tuple[Sample, Verdict | None]:
        """One look, and the verdict where it decides. What can never be observed decides at once, as ``no_data``."""
        try:
            sample = self._sample(time.time())
        except TransientError as error:
            sample = Sample(_now(), None, str(error), self._check.name)
        except TerminalError as error:
            sample = Sample(_now(), None, str(error), self._check.name)
            self._watch.add(sample, time.time())
            return sample, self._watch.verdict("no_data", str(error))
        except Exception as error:  # a gate that breaks would leave a canary as it is: it observed nothing
            sample = Sample(_now(), None, f"an answer that nobody expected: {error!r}", self._check.name)
        return sample, self._watch.add(sample, time.time())

    def left(self) -> float:
        """Seconds until it can pass, or is given up."""
        return max(SHORTEST, self._watch.left(time.time()))

    def _sample(self, now: float) -> Sample:
        if self._source is None:
            self._source = source(self._check.source, self._check.query)
        reading = self._source.read(now)
        return judge(self._check, reading, self._compared(now), at=now, begun=self._begun)

    def _compared(self, now: float) -> Reading | None:
        if self._check.against == "nothing":
            return None
        if self._check.against == "before":
            if self._reference is None:
                assert self._source is not None
                found = self._source.read(self._before)
                self._reference = None if found.silent else found
                return found
            return self._reference
        if self._baseline is None:
            assert self._check.baseline is not None
            self._baseline = source(self._check.source, self._check.baseline)
        return self._baseline.read(now)


def said(sample: Sample) -> str:
    """A sample for the log."""
    word = {True: "good", False: "bad", None: "no data"}[sample.good]
    return f"{sample.check}: {word}: {sample.text}" if sample.check else f"{word}: {sample.text}"


def moment(value: Any) -> float | None:
    """Seconds since 1970 from a number, or ISO 8601 with a zone; None for nothing. :raises InputError: it is neither"""
    if value in (None, "", "None"):
        return None
    try:
        return float(value)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise InputError(
            f"{value!r} is no moment; write seconds since 1970, or ISO 8601 with a zone"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
