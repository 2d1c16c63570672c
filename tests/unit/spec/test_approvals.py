"""Who must agree, and when an environment may be changed."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest
from pydantic import ValidationError

from triplane.core.approval import Policy
from triplane.core.calendar import Calendar, Freeze, Window
from triplane.core.change import Risk
from triplane.spec.approvals import Approval, DeploymentFreeze, DeploymentWindow

GROUPS = {"leads": ("bob", "carol"), "security": ("carol", "dora"), "board": ("erin",)}


@pytest.mark.parametrize(
    ("days", "numbers"),
    [
        ("mon-thu", (0, 1, 2, 3)),
        ("sat", (5,)),
        ("fri-mon", (0, 4, 5, 6)),
        (["sat", "sun"], (5, 6)),
        (["mon-tue", "tue", "fri"], (0, 1, 4)),
        ("mon-sun", (0, 1, 2, 3, 4, 5, 6)),
    ],
)
def test_days_of_a_window(days: Any, numbers: tuple[int, ...]) -> None:
    window = DeploymentWindow.model_validate({"days": days, "from": "09:00", "to": "16:00"})
    assert (window.days, window.start, window.end, window.timezone) == (numbers, time(9), time(16), "UTC")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": "monday"}, "'monday' is not a day"),
        ({"days": "mon-"}, "'mon-' is not a day"),
        ({"days": []}, "at least 1"),
        ({"from": 540}, "540 is not a time of the day: write it in quotes"),
        ({"from": "9:00"}, "is not a time of the day"),
        ({"to": "24:00"}, "is not a time of the day"),
        ({"to": "09:00:30"}, "is not a time of the day"),
        ({"to": "09:00+02:00"}, "is not a time of the day"),
        ({"timezone": "Berlin"}, "'Berlin' is not a time zone"),
        ({"timezone": "../etc/passwd"}, "is not a time zone"),
    ],
)
def test_windows_that_are_none(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DeploymentWindow.model_validate({"from": "09:00", "to": "16:00", **change})


@pytest.mark.parametrize(
    ("last", "reason", "message"),
    [
        ("2026-12-19", "holidays", "ends on the day it begins, or later"),
        ("9999-12-31", "retired", "before the year 9999"),
        ("2027-01-02", "", "at least 1 character"),
        ("soon", "holidays", "date"),
    ],
)
def test_freezes_that_are_none(last: str, reason: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DeploymentFreeze.model_validate({"from": "2026-12-20", "to": last, "reason": reason})


@pytest.mark.parametrize(
    ("approval", "problems"),
    [
        ({}, []),
        ({"approvers": ["leads"], "critical": 2}, []),
        ({"approvers": ["leads"], "critical": 3}, ["3 approvals are needed, but only 2 may give one"]),
        ({"approvers": ["leads", "security", "erin"], "critical": 4}, []),
        ({"approvers": ["bob"], "emergency": 2}, ["an emergency needs 2 approvals, but only 1 may give one"]),
        ({"approvers": ["bob"]}, []),
        (
            {"approvers": ["leads"], "required": {"high": ["board"]}},
            ["a change of high risk needs somebody of board, but none of them is among the approvers"],
        ),
        ({"low": 0, "required": {"low": ["leads"]}}, ["a change of low risk asks nobody (low: 0)"]),
        ({"required": {"critical": ["leads", "security"]}}, []),
        (
            {"required": {"critical": ["leads", "board"]}},
            [
                "a change of critical risk asks 1 people, but it takes 2 to have somebody of each of leads, board"
            ],
        ),
        ({"critical": 2, "required": {"critical": ["leads", "security", "board"]}}, []),
        (
            {"approvers": ["bob", "dora"], "required": {"critical": ["leads", "security"]}},
            ["a change of critical risk asks 1 people, but it takes 2"],
        ),
    ],
)
def test_approvals_that_nobody_could_give(approval: dict[str, Any], problems: list[str]) -> None:
    found = list(Approval.model_validate(approval).problems(GROUPS))
    assert len(found) == len(problems), found
    for text, begin in zip(found, problems, strict=True):
        assert text.startswith(begin)


def test_the_policy_of_a_change_set_names_users_not_groups() -> None:
    approval = Approval.model_validate(
        {
            "approvers": ["leads", "dora"],
            "required": {"critical": ["security"]},
            "remind": "2h",
            "critical": 2,
        }
    )
    window = DeploymentWindow.model_validate({"days": "sat", "from": "22:00", "to": "02:00"})
    freeze = DeploymentFreeze.model_validate({"from": "2026-12-20", "to": "2027-01-02", "reason": "holidays"})
    policy = Policy.from_json(approval.policy(GROUPS, [window], [freeze]))
    assert policy.approvers == ("bob", "carol", "dora")
    assert policy.groups(Risk.CRITICAL) == {"security": ["carol", "dora"]}
    assert policy.groups(Risk.HIGH) == {}
    assert (policy.remind, policy.emergency, policy.reason_from) == (7200, 2, "high")
    assert (policy.needed(Risk.LOW), policy.needed(Risk.CRITICAL)) == (1, 2)
    calendar = Calendar(
        (Window((5,), time(22), time(2), "UTC"),),
        (Freeze(date(2026, 12, 20), date(2027, 1, 2), "holidays"),),
    )
    assert policy.calendar == calendar.to_json()
    assert Calendar.from_json(policy.calendar) == calendar
