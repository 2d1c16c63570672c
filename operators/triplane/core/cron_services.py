"""The one syntax of schedules in the words of each cloud's service. Pure.

All three read the wall clock of a time zone. What a service cannot say is an ``InputError`` with a way out.
"""

from __future__ import annotations

from typing import Any

from triplane.core.cron import Cron, compact, parse, parse_zone
from triplane.core.errors import InputError

DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
EVENTBRIDGE_LENGTH = 256


def check(service: str, *, cron: str | None, every: float | None, zone: str = "UTC") -> None:
    """:raises InputError: the service, one of ``TRANSLATIONS``, cannot say this"""
    if (cron is None) == (every is None):
        raise InputError("a schedule needs exactly one of 'cron' and 'every'")
    parse_zone(zone)
    TRANSLATIONS[service](cron, every, zone)


def eventbridge(cron: str | None, every: float | None, zone: str = "UTC") -> str:
    """``cron(0 6 ? * 2-6 *)`` with Sunday as 1, or ``rate(15 minutes)``. ``every`` in seconds."""
    if every is not None:
        minutes = _minutes(every)
        for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
            if minutes % size == 0:
                count = minutes // size
                return f"rate({count} {unit}{'s' if count > 1 else ''})"
    found = parse(cron or "")
    day, weekday = _day_or_weekday(found, "EventBridge Scheduler")
    weekdays = compact(frozenset(number + 1 for number in found.weekdays)) if weekday else "?"
    fields = (
        _star(found.minutes, 60),
        _star(found.hours, 24),
        "?" if weekday else _star(found.days, 31) if day else "*",
        _star(found.months, 12),
        weekdays,
    )
    text = f"cron({' '.join(fields)} *)"
    if len(text) > EVENTBRIDGE_LENGTH:
        raise InputError(f"cron {cron!r} is too long for EventBridge Scheduler; write two schedules")
    return text


def eventbridge_rules(cron: str | None, every: float | None, zone: str = "UTC") -> str:
    """As :func:`eventbridge`, by the clock of UTC."""
    if zone not in ("UTC", "Etc/UTC"):
        raise InputError(
            f"rules of EventBridge go by UTC and know no time zone {zone}; take the target 'eventbridge', or write "
            "the times in UTC"
        )
    return eventbridge(cron, every, zone)


def cloud_scheduler(cron: str | None, every: float | None, zone: str = "UTC") -> str:
    """Unix cron, as it was written. ``every`` must divide an hour or a day: it goes by the clock here."""
    if every is None:
        return parse(cron or "").text
    minutes = _minutes(every)
    hours = minutes // 60
    if minutes == 1:
        return "* * * * *"
    if minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *"
    if minutes % 60 == 0 and 24 % hours == 0:
        return "0 * * * *" if hours == 1 else "0 0 * * *" if hours == 24 else f"0 */{hours} * * *"
    raise InputError(
        f"Cloud Scheduler goes by the clock, and {minutes} minutes divide neither an hour nor a day; "
        "write 'cron', or an 'every' such as 15m, 2h or 1d"
    )


def logic_apps(cron: str | None, every: float | None, zone: str = "UTC") -> dict[str, Any]:
    """The ``recurrence`` of a trigger, with the time zone as Windows calls it."""
    from triplane.core.windows_zones import windows_zone

    named = windows_zone(zone)
    if every is not None:
        minutes = _minutes(every)
        for frequency, size in (("Day", 1440), ("Hour", 60), ("Minute", 1)):
            if minutes % size == 0:
                return {"frequency": frequency, "interval": minutes // size, "timeZone": named}
    found = parse(cron or "")
    if len(found.months) < 12:
        raise InputError(
            f"cron {cron!r}: a recurrence of Logic Apps knows no months; let it run in all months and have the "
            "function look at the date"
        )
    _, weekday = _day_or_weekday(found, "a recurrence of Logic Apps")
    if not found.all_days and not found.every_day:
        raise InputError(
            f"cron {cron!r}: a recurrence of Logic Apps knows no days of the month; let it run every day "
            f"('{cron_without_days(found)}') and have the function look at the date"
        )
    times: dict[str, Any] = {"hours": sorted(found.hours), "minutes": sorted(found.minutes)}
    if weekday:
        days = [DAYS[number] for number in sorted(found.weekdays)]
        return {
            "frequency": "Week",
            "interval": 1,
            "timeZone": named,
            "schedule": times | {"weekDays": days},
        }
    if len(found.hours) == 24 and len(found.minutes) == 60:
        return {"frequency": "Minute", "interval": 1, "timeZone": named}
    return {"frequency": "Day", "interval": 1, "timeZone": named, "schedule": times}


TRANSLATIONS = {
    "eventbridge": eventbridge,
    "eventbridge_rules": eventbridge_rules,
    "cloud_scheduler": cloud_scheduler,
    "logic_apps": logic_apps,
}


def cron_without_days(cron: Cron) -> str:
    """The same times, every day."""
    return f"{_star(cron.minutes, 60)} {_star(cron.hours, 24)} * * *"


def _day_or_weekday(cron: Cron, service: str) -> tuple[bool, bool]:
    """Whether days of the month, and whether days of the week, leave any out; a service takes one of the two."""
    if cron.every_day:
        return False, False
    day, weekday = not cron.all_days, not cron.all_weekdays
    if day and weekday:
        raise InputError(
            f"cron {cron.text!r} names days of the month and weekdays, of which either is enough; {service} cannot say that: "
            "write two schedules, one with each, or have the function look at the date"
        )
    return day, weekday


def _star(values: frozenset[int], count: int) -> str:
    return "*" if len(values) == count else compact(values)


def _minutes(seconds: float) -> int:
    if seconds < 60 or seconds % 60:
        raise InputError(f"every {seconds:g} s: the clouds count in whole minutes; write 1m or more")
    return int(seconds // 60)
