"""When something runs again and again: the five fields of Unix cron, or ``every: 15m``. Pure.

``minute hour day month weekday``; each is ``*``, a value, a range, a list, with ``/step``. Months and weekdays may be
named (``JAN``, ``MON``), Sunday is 0 or 7. Where both day and weekday are given, either of them is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from triplane.core.errors import InputError

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = {
    "month": {name: index for index, name in enumerate(MONTHS, 1)},
    "weekday": {name: index for index, name in enumerate(WEEKDAYS)},
}
_LIMITS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
_LONGEST = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}
_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")


@dataclass(frozen=True, kw_only=True)
class Cron:
    """Which minutes match, as sets of numbers; weekdays from 0, Sunday. ``text`` is what was written.

    ``any_day`` and ``any_weekday``: the field begins with ``*``, and so does not widen the other one.
    """

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    @property
    def all_days(self) -> bool:
        """No day of the month is left out."""
        return self.days == frozenset(range(1, 32))

    @property
    def all_weekdays(self) -> bool:
        """No day of the week is left out."""
        return len(self.weekdays) == 7

    @property
    def every_day(self) -> bool:
        """All days match: one of the two is all, and the other does not narrow it."""
        if self.any_day or self.any_weekday:
            return self.all_days and self.all_weekdays
        return self.all_days or self.all_weekdays

    def matches(self, local: datetime) -> bool:
        """Whether it runs in this minute of the wall clock."""
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        both = self.any_day or self.any_weekday
        return (day and weekday) if both else (day or weekday)

    def moments(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """The minutes of the wall clock from ``begin`` until before ``end``, both without a zone."""
        at = begin.replace(second=0, microsecond=0)
        while at < end:
            if self.matches(at):
                yield at
            at += timedelta(minutes=1)


def parse(text: str) -> Cron:
    """:raises InputError: it is no cron expression, or one that never comes true"""
    fields = text.split()
    if len(fields) != 5:
        raise InputError(
            f"cron {text!r} has {len(fields)} fields; write five: minute hour day month weekday, such as "
            "'0 6 * * MON-FRI'"
        )
    values = [_field(name, field) for name, field in zip(_LIMITS, fields, strict=True)]
    minutes, hours, days, months, weekdays = values
    found = Cron(
        text=" ".join(fields),
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        any_day=fields[2].startswith("*"),
        any_weekday=fields[4].startswith("*"),
    )
    if (found.any_day or found.any_weekday) and not (found.all_days or found.all_weekdays):
        raise InputError(
            f"cron {text!r}: some crons take a step over * with the other kind of day as 'both', some as 'either'; "
            "write the days as a list"
        )
    if (found.any_day or found.any_weekday) and min(days) > max(_LONGEST[month] for month in months):
        raise InputError(f"cron {text!r} never comes true: none of its months has a day {min(days)}")
    return found


def parse_zone(name: str) -> str:
    """:raises InputError: there is no such IANA time zone"""
    from zoneinfo import ZoneInfo

    if name != "UTC" and not re.fullmatch(r"[A-Za-z]+(/[A-Za-z0-9_+-]+){1,2}", name):
        raise InputError(f"{name!r} is no time zone; write one of the IANA's, such as Europe/Berlin or UTC")
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{name!r} is no time zone; write one of the IANA's, such as Europe/Berlin or UTC"
        ) from error
    return name


def _field(name: str, text: str) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _part(name, part))


def _part(name: str, text: str) -> range:
    low, high = _LIMITS[name]
    match = _PART.fullmatch(text)
    if match is None:
        raise InputError(f"cron: {text!r} is no {name}; write {low}-{high}, *, a range, a list or a step")
    step = int(match["step"] or 1)
    if match["first"] == "*":
        if match["last"]:
            raise InputError(f"cron: {text!r} is no {name}: * has no end")
        first, last = low, high if name != "weekday" else 6
    else:
        first = _value(name, match["first"])
        last = _value(name, match["last"]) if match["last"] else high if match["step"] else first
    if name == "weekday" and match["last"] and last == 0 and first > 0:
        last = 7
    if first > last:
        raise InputError(f"cron: {text!r} goes backwards in the {name}; write it as a list")
    if not 1 <= step <= high:
        raise InputError(f"cron: the step of {text!r} is not possible for a {name}")
    return range(first, last + 1, step)


def _value(name: str, text: str) -> int:
    low, high = _LIMITS[name]
    value = _NAMES.get(name, {}).get(text.upper())
    if value is None:
        value = int(text) if text.isdecimal() and text.isascii() else -1
    if not low <= value <= high:
        names = f", or {', '.join(_NAMES[name])}" if name in _NAMES else ""
        raise InputError(f"cron: {text!r} is no {name}; it goes from {low} to {high}{names}")
    return value


@cache
def compact(values: frozenset[int]) -> str:
    """``{1, 2, 3, 7}`` -> ``1-3,7``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts = (str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return ",".join(texts)
