"""When an environment may be changed: windows of the week, and freezes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
AHEAD = 400
"""So many days are looked ahead for a moment at which an environment may be changed."""


@dataclass(frozen=True)
class Window:
    """On these days of the week, from one time of the day to another; past midnight where the end is not later.

    ``days`` are numbers from 0 for Monday. Times are those of ``timezone``, a name of the IANA database.
    """

    days: tuple[int, ...]
    start: time
    end: time
    timezone: str

    def spans(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """Begin and end, in UTC, of the window that begins on ``day``, if one does."""
        if day.weekday() in self.days:
            zone = ZoneInfo(self.timezone)
            last = day if self.end > self.start else day + timedelta(days=1)
            begin, end = datetime.combine(day, self.start, zone), datetime.combine(last, self.end, zone)
            yield begin.astimezone(UTC), end.astimezone(UTC)

    def __str__(self) -> str:
        days = ", ".join(DAYS[day] for day in self.days)
        return f"{days} {self.start:%H:%M}-{self.end:%H:%M} {self.timezone}"


@dataclass(frozen=True)
class Freeze:
    """Nothing is changed from the beginning of one day to the end of another, in ``timezone``."""

    first: date
    last: date
    reason: str
    timezone: str = "UTC"

    def span(self) -> tuple[datetime, datetime]:
        """Begin and end in UTC."""
        zone = ZoneInfo(self.timezone)
        begin = datetime.combine(self.first, time(), zone)
        end = datetime.combine(self.last + timedelta(days=1), time(), zone)
        return begin.astimezone(UTC), end.astimezone(UTC)

    def __str__(self) -> str:
        return f"frozen from {self.first.isoformat()} to {self.last.isoformat()}: {self.reason}"


@dataclass(frozen=True)
class Calendar:
    """An environment may be changed in any of its ``windows``, at any time if it has none, and never in a freeze."""

    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    def opens(self, now: datetime) -> datetime | None:
        """The first moment from ``now`` on at which it may be changed; None if there is none for more than a year."""
        moments = sorted({now, *(moment for moment in self._moments(now) if moment > now)})
        return next((moment for moment in moments if self._open(moment)), None)

    def closed(self, now: datetime) -> str:
        """Why it may not be changed at ``now``; empty if it may."""
        for freeze in self.freezes:
            begin, end = freeze.span()
            if begin <= now < end:
                return str(freeze)
        if self.windows and not any(begin <= now < end for begin, end in self._spans(now)):
            return f"outside of its deployment windows ({'; '.join(map(str, self.windows))})"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Plain values: they are part of a change set, and so of what is approved."""
        return {
            "windows": [
                {
                    "days": list(window.days),
                    "start": window.start.isoformat("minutes"),
                    "end": window.end.isoformat("minutes"),
                    "timezone": window.timezone,
                }
                for window in self.windows
            ],
            "freezes": [
                {
                    "first": freeze.first.isoformat(),
                    "last": freeze.last.isoformat(),
                    "reason": freeze.reason,
                    "timezone": freeze.timezone,
                }
                for freeze in self.freezes
            ],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calendar:
        """The inverse of :meth:`to_json`."""
        windows = tuple(
            Window(
                tuple(item["days"]),
                time.fromisoformat(item["start"]),
                time.fromisoformat(item["end"]),
                item["timezone"],
            )
            for item in value.get("windows", ())
        )
        freezes = tuple(
            Freeze(
                date.fromisoformat(item["first"]),
                date.fromisoformat(item["last"]),
                item["reason"],
                item["timezone"],
            )
            for item in value.get("freezes", ())
        )
        return cls(windows, freezes)

    def _open(self, moment: datetime) -> bool:
        return not self.closed(moment)

    def _spans(
        self, now: datetime, days: Sequence[int] = (-2, -1, 0, 1)
    ) -> Iterator[tuple[datetime, datetime]]:
        for window in self.windows:
            for day in days:
                yield from window.spans(now.date() + timedelta(days=day))

    def _moments(self, now: datetime) -> Iterator[datetime]:
        yield from (begin for begin, _ in self._spans(now, range(-1, AHEAD)))
        yield from (freeze.span()[1] for freeze in self.freezes)
