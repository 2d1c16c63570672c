"""When an environment may be changed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.core.calendar import Calendar, Freeze, Window

BERLIN = "Europe/Berlin"
OFFICE = Window((0, 1, 2, 3), time(9), time(16), BERLIN)
NIGHT = Window((4,), time(22), time(2), BERLIN)
CHRISTMAS = Freeze(date(2026, 12, 20), date(2027, 1, 2), "holidays", BERLIN)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "now", "opens"),
    [
        (Calendar(), "2026-11-24T03:00", "2026-11-24T03:00"),
        (Calendar((OFFICE,)), "2026-11-24T08:00", "2026-11-24T08:00"),
        (Calendar((OFFICE,)), "2026-11-24T07:59", "2026-11-24T08:00"),
        (Calendar((OFFICE,)), "2026-11-24T14:59", "2026-11-24T14:59"),
        (Calendar((OFFICE,)), "2026-11-24T15:00", "2026-11-25T08:00"),
        (Calendar((OFFICE,)), "2026-11-26T15:00", "2026-11-30T08:00"),
        (Calendar((OFFICE,)), "2026-07-07T06:30", "2026-07-07T07:00"),
        (Calendar((NIGHT,)), "2026-11-27T21:00", "2026-11-27T21:00"),
        (Calendar((NIGHT,)), "2026-11-28T00:59", "2026-11-28T00:59"),
        (Calendar((NIGHT,)), "2026-11-28T01:00", "2026-12-04T21:00"),
        (Calendar((OFFICE, NIGHT)), "2026-11-26T16:00", "2026-11-27T21:00"),
        (Calendar((), (CHRISTMAS,)), "2026-12-19T22:59", "2026-12-19T22:59"),
        (Calendar((), (CHRISTMAS,)), "2026-12-19T23:00", "2027-01-02T23:00"),
        (Calendar((OFFICE,), (CHRISTMAS,)), "2026-12-24T10:00", "2027-01-04T08:00"),
    ],
)
def test_the_next_moment_at_which_it_may_be_changed(calendar: Calendar, now: str, opens: str) -> None:
    assert calendar.opens(at(now)) == at(opens)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 3), ("2026-10-25", 5), ("2026-11-01", 4)])
def test_a_window_over_the_change_of_clocks_keeps_to_the_clock(day: str, hours: int) -> None:
    window = Window((6,), time(0), time(4), BERLIN)
    ((begin, end),) = window.spans(date.fromisoformat(day))
    assert end - begin == timedelta(hours=hours)


def test_a_freeze_without_end_in_sight_never_opens() -> None:
    forever = Freeze(date(2026, 1, 1), date(2099, 1, 1), "the platform is retired")
    assert Calendar((OFFICE,), (forever,)).opens(at("2026-11-24T10:00")) is None


def test_it_says_why_it_is_closed() -> None:
    calendar = Calendar((OFFICE,), (CHRISTMAS,))
    assert calendar.closed(at("2026-12-24T10:00")) == "frozen from 2026-12-20 to 2027-01-02: holidays"
    assert calendar.closed(at("2026-11-27T10:00")) == (
        "outside of its deployment windows (mon, tue, wed, thu 09:00-16:00 Europe/Berlin)"
    )
    assert calendar.closed(at("2026-11-24T10:00")) == ""


@given(minutes=st.integers(0, 60 * 24 * 400))
def test_it_is_open_when_it_opens_and_closed_until_then(minutes: int) -> None:
    calendar = Calendar((OFFICE, NIGHT), (CHRISTMAS,))
    now = at("2026-11-01T00:00") + timedelta(minutes=minutes)
    opens = calendar.opens(now)
    assert opens
    assert calendar.closed(opens) == ""
    assert bool(calendar.closed(now)) == (opens > now)
    if opens > now:
        assert calendar.closed(opens - timedelta(seconds=1)) != ""


def test_it_can_be_written_down() -> None:
    calendar = Calendar((OFFICE, NIGHT), (CHRISTMAS,))
    assert Calendar.from_json(json.loads(json.dumps(calendar.to_json()))) == calendar
