"""Schedules: one syntax, and the same moments in each cloud's own."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from triplane.core import cron_services as services
from triplane.core.cron import parse, parse_zone
from triplane.core.errors import InputError
from triplane.core.windows_zones import ZONES, windows_zone

BEGIN = datetime(2026, 2, 27)
"""A window with the end of a short month."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 fields"),
        ("0 6 * *", "4 fields"),
        ("0 0 6 * * *", "6 fields"),
        ("60 * * * *", "'60' is no minute; it goes from 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no weekday"),
        ("* * * * MONDAY", "it goes from 0 to 7, or SUN"),
        ("5-1 * * * *", "goes backwards"),
        ("*/0 * * * *", "step"),
        ("*-5 * * * *", "no end"),
        ("1;2 * * * *", "'1;2' is no minute"),
        ("0 0 31 FEB *", "never comes true: none of its months has a day 31"),
        ("0 0 31 4,6 *", "never comes true"),
        ("0 6 ? * MON", "no day"),
        ("0 6 L * *", "no day"),
        ("0 0 */2 * MON", "write the days as a list"),
        ("²  * * * *", "no minute"),
    ],
)
def test_what_is_no_cron(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parse(text)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "../etc/passwd", "CET+1", "", "Local"])
def test_what_is_no_zone(zone: str) -> None:
    with pytest.raises(InputError, match="no time zone"):
        parse_zone(zone)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 6 * * MON-FRI", "cron(0 6 ? * 2-6 *)"),
        ("0 6 * * 5-7", "cron(0 6 ? * 1,6-7 *)"),
        ("0 6 * * SUN", "cron(0 6 ? * 1 *)"),
        ("*/15 * * * *", "cron(0,15,30,45 * * * ? *)"),
        ("0 0 1 1 *", "cron(0 0 1 1 ? *)"),
        ("30 2 1-31 * MON", "cron(30 2 * * ? *)"),
        ("* * * * *", "cron(* * * * ? *)"),
    ],
)
def test_eventbridge(text: str, expected: str) -> None:
    assert services.eventbridge(text, None) == expected


@pytest.mark.parametrize(
    ("seconds", "eventbridge", "scheduler", "azure"),
    [
        (60, "rate(1 minute)", "* * * * *", ("Minute", 1)),
        (900, "rate(15 minutes)", "*/15 * * * *", ("Minute", 15)),
        (3600, "rate(1 hour)", "0 * * * *", ("Hour", 1)),
        (7200, "rate(2 hours)", "0 */2 * * *", ("Hour", 2)),
        (86400, "rate(1 day)", "0 0 * * *", ("Day", 1)),
    ],
)
def test_every(seconds: float, eventbridge: str, scheduler: str, azure: tuple[str, int]) -> None:
    assert services.eventbridge(None, seconds) == eventbridge
    assert services.cloud_scheduler(None, seconds) == scheduler
    found = services.logic_apps(None, seconds)
    assert (found["frequency"], found["interval"]) == azure


@pytest.mark.parametrize(
    ("service", "cron", "every", "message"),
    [
        ("eventbridge", "0 6 1 * MON", None, "EventBridge Scheduler cannot say that: write two schedules"),
        ("logic_apps", "0 6 1 * MON", None, "cannot say that"),
        ("logic_apps", "0 6 1 * *", None, "no days of the month; let it run every day ('0 6 * * *')"),
        ("logic_apps", "0 6 * JAN *", None, "knows no months"),
        ("cloud_scheduler", None, 420, "7 minutes divide neither an hour nor a day"),
        ("cloud_scheduler", None, 172800, "divide neither"),
        ("eventbridge", None, 30, "whole minutes"),
        ("eventbridge", None, 90, "whole minutes"),
        ("eventbridge", "* * * * *", 60, "exactly one"),
        ("eventbridge", None, None, "exactly one"),
    ],
)
def test_what_a_service_cannot_say(service: str, cron: str | None, every: float | None, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        services.check(service, cron=cron, every=every)


def _field(low: int, high: int, *, star: bool = True) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    # croniter takes 0-0 for the whole week.
    pairs = st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1])
    ranges = pairs.map(lambda pair: f"{min(pair)}-{max(pair)}")
    lists = st.lists(numbers, min_size=1, max_size=3).map(lambda values: ",".join(map(str, values)))
    return st.one_of(*([st.just("*"), st.just(f"*/{2 + low}")] if star else []), lists, ranges)


CRONS = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)).map(" ".join)


def moments(matches: Any, days: int = 9) -> list[datetime]:
    minutes = (BEGIN + timedelta(minutes=n) for n in range(days * 1440))
    return [at for at in minutes if matches(at)]


@given(CRONS)
@effort(max_examples=40)
def test_the_moments_are_those_that_croniter_knows(text: str) -> None:
    try:
        found = parse(text)
    except InputError:
        assume(False)
    expected = croniter(text, BEGIN - timedelta(minutes=1))
    for at in list(found.moments(BEGIN, BEGIN + timedelta(days=9)))[:50]:
        assert expected.get_next(datetime) == at


@given(CRONS)
@effort(max_examples=30)
def test_translations_mean_the_same_moments(text: str) -> None:
    try:
        wanted = moments(parse(text).matches)
    except InputError:
        assume(False)
    for service, meaning in (("eventbridge", aws_matches), ("logic_apps", azure_matches)):
        try:
            said = services.TRANSLATIONS[service](text, None, "Europe/Berlin")  # type: ignore[operator]
        except InputError:
            continue
        assert moments(lambda at: meaning(said, at)) == wanted  # noqa: B023


def aws_matches(expression: str, at: datetime) -> bool:
    """What ``cron(...)`` means, by EventBridge's rules: exactly one ``?``, weekdays from 1, Sunday."""
    minute, hour, day, month, weekday, year = expression.removeprefix("cron(").removesuffix(")").split()
    assert year == "*"
    assert (day == "?") != (weekday == "?")
    numbers = (at.minute, at.hour, at.day, at.month, at.isoweekday() % 7 + 1)
    return all(
        _in(field, number) for field, number in zip((minute, hour, day, month, weekday), numbers, strict=True)
    )


def _in(field: str, number: int) -> bool:
    if field in ("*", "?"):
        return True
    parts = [part.partition("-") for part in field.split(",")]
    return any(int(first) <= number <= int(last or first) for first, _, last in parts)


def azure_matches(recurrence: dict[str, Any], at: datetime) -> bool:
    """What a recurrence of one minute, day or week means."""
    assert recurrence["interval"] == 1
    schedule = recurrence.get("schedule", {})
    days = schedule.get("weekDays")
    assert bool(days) == (recurrence["frequency"] == "Week")
    if recurrence["frequency"] == "Minute":
        return True
    return (
        at.hour in schedule["hours"]
        and at.minute in schedule["minutes"]
        and (not days or at.strftime("%A") in days)
    )


def _hours(zone: str) -> list[timedelta | None]:
    begin, place = datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    return [(begin + timedelta(hours=6 * n)).astimezone(place).utcoffset() for n in range(1460)]


@pytest.mark.parametrize("windows", sorted(ZONES))
def test_the_zones_under_one_windows_name_keep_the_same_time(windows: str) -> None:
    """So a schedule comes at the same moments on both sides of daylight saving."""
    main, *others = ZONES[windows].split()
    expected = _hours(main)
    differing = [name for name in others if _hours(name) != expected]
    assert differing == []


def test_windows_names() -> None:
    assert windows_zone("Europe/Berlin") == "W. Europe Standard Time"
    assert windows_zone("UTC") == windows_zone("Etc/UTC") == "UTC"
    assert windows_zone("Asia/Calcutta") == windows_zone("Asia/Kolkata") == "India Standard Time"
    with pytest.raises(InputError, match="Windows, which has no name for 'Antarctica/Troll'"):
        windows_zone("Antarctica/Troll")


def test_daylight_saving_is_the_zones_affair() -> None:
    """06:00 in Berlin is 05:00 UTC in winter and 04:00 in summer, with one and the same expression."""
    zone, found = ZoneInfo("Europe/Berlin"), parse("0 6 * * *")
    days = found.moments(datetime(2026, 3, 28), datetime(2026, 3, 31))
    assert [at.replace(tzinfo=zone).astimezone(UTC).hour for at in days] == [5, 4, 4]


def test_rules_of_eventbridge_know_only_utc() -> None:
    assert services.eventbridge_rules("0 6 * * *", None, "Etc/UTC") == "cron(0 6 * * ? *)"
    with pytest.raises(InputError, match="take the target 'eventbridge'"):
        services.check("eventbridge_rules", cron="0 6 * * *", every=None, zone="Europe/Berlin")
