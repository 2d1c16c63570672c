"""Schedules of EventBridge Scheduler through the operators, against the sandbox."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests import event_sources
from tests.e2e import aws_event_steps as steps
from tests.e2e.aws_event_steps import ACCOUNT, BREAKS, FAULTS, REGION, client_of, persist
from tests.event_sources import Tasks

UPDATE: dict[str, Any] = {"payload": {"full": True}, "retries": 3}


@pytest.fixture
def tasks(cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Tasks:
    event_sources.store(monkeypatch, tmp_path)
    steps.quickly(monkeypatch)
    options = {"function": "hook", "cron": "0 6 * * MON-FRI", "timezone": "Europe/Berlin"}
    role = steps.role("schedule-caller", "scheduler", ["lambda:InvokeFunction"])
    name = f"nightly-{uuid.uuid4().hex[:8]}"
    return Tasks("eventbridge", name, {**options, "role": role}, {"region": REGION})


def schedule(name: str) -> dict[str, Any]:
    found: dict[str, Any] = client_of("scheduler").get_schedule(Name=name)
    return {key: value for key, value in found.items() if "Date" not in key and key != "ResponseMetadata"}


def schedules(name: str) -> list[str]:
    found = client_of("scheduler").list_schedules(NamePrefix=name)["Schedules"]
    return [each["Name"] for each in found]


def by_hand(name: str, **changes: Any) -> None:
    there = {key: value for key, value in schedule(name).items() if key != "Arn" and value is not None}
    client_of("scheduler").update_schedule(**{**there, **changes})


def test_life(tasks: Tasks) -> None:
    def change() -> None:
        assert schedule(tasks.name)["ScheduleExpression"] == "cron(0 6 ? * 2-6 *)"
        window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}
        by_hand(tasks.name, ScheduleExpression="rate(5 minutes)", Description="x", FlexibleTimeWindow=window)

    dead = f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"
    update = {**UPDATE, "timezone": "Asia/Tokyo", "dead_letter": dead}
    event_sources.life(tasks, update=update, by_hand=change, seen=["schedule", "other", "window"])
    assert schedules(tasks.name) == []


def test_what_hands_change_after_the_plan(tasks: Tasks) -> None:
    tasks.deploy()
    off = tasks.plan(enabled=False)
    by_hand(tasks.name, ScheduleExpression="rate(5 minutes)")
    with pytest.raises(AirflowFailException, match="somebody has changed it"):
        tasks.apply(off, enabled=False)
    assert schedule(tasks.name)["ScheduleExpression"] == "rate(5 minutes)"
    again = tasks.plan()
    assert again["lines"] == ["schedule: rate(5 minutes) -> cron(0 6 ? * 2-6 *)"]
    assert tasks.deploy()["state"] == "deployed"


@pytest.mark.parametrize(
    ("refused", "said", "limit"),
    [
        ({"dead_letter": f"arn:aws:sns:{REGION}:{ACCOUNT}:topic"}, "pattern", 300.0),
        ({"role": f"arn:aws:iam::{ACCOUNT}:role/missing"}, "cannot assume the role", 0.1),
        ({"function": f"arn:aws:lambda:{'x' * 1600}"}, "not between 1 and 1600", 300.0),
    ],
)
def test_an_update_that_is_refused(tasks: Tasks, refused: dict[str, Any], said: str, limit: float) -> None:
    tasks.deploy(**UPDATE)
    by_hand(tasks.name, Description="kept by hand")
    before = schedule(tasks.name)
    tasks.place = {**tasks.place, "limit": limit}
    with pytest.raises(AirflowFailException, match=said):
        tasks.deploy(**{**UPDATE, **refused})
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert said in tasks.pushed[-1]["details"]["error"]
    assert schedule(tasks.name) == before


def test_a_first_one_that_is_refused(tasks: Tasks) -> None:
    with pytest.raises(AirflowFailException, match="pattern"):
        tasks.deploy(dead_letter=f"arn:aws:sns:{REGION}:{ACCOUNT}:topic")
    assert tasks.pushed[-1]["state"] == "failed"
    assert schedules(tasks.name) == []


def test_an_update_that_does_not_last_is_put_back(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    from triplane.serverless.aws.eventbridge import EventBridge

    tasks.deploy()
    by_hand(tasks.name, Description="kept by hand")
    before, send = schedule(tasks.name), EventBridge._send
    change = tasks.plan(**UPDATE)

    def interfering(self: Any, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(EventBridge, "_send", send)
        done = send(self, *args, **more)
        by_hand(tasks.name, ScheduleExpression="rate(5 minutes)")
        return done

    monkeypatch.setattr(EventBridge, "_send", interfering)
    with pytest.raises(AirflowFailException, match="schedule not as applied"):
        tasks.apply(change, **UPDATE)
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert schedule(tasks.name) == before
    assert tasks.apply(change, **UPDATE)["state"] == "deployed"
    assert tasks.plan(**UPDATE)["action"] == "none"


@pytest.mark.parametrize("how", BREAKS)
def test_cut_off_at_each_call(tasks: Tasks, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({}, UPDATE):
        breaking = steps.broken(monkeypatch, how)
        tasks.run_id = uuid.uuid4().hex
        change = persist(lambda given=options: tasks.plan(**given))
        done = persist(lambda given=options, change=change: tasks.apply(change, **given))
        assert done["state"] == "deployed"
        assert breaking.calls["CreateSchedule"] + breaking.calls["UpdateSchedule"] == 1
        assert schedules(tasks.name) == [tasks.name]
        assert persist(lambda given=options: tasks.plan(**given))["action"] == "none"
    breaking = steps.broken(monkeypatch, how)
    gone = persist(lambda: tasks.plan(intent="destroy"))
    assert persist(lambda: tasks.delete(gone))["state"] == "destroyed"
    assert breaking.broken["DeleteSchedule"] >= 1
    assert schedules(tasks.name) == []


@pytest.mark.parametrize("code", FAULTS)
def test_a_cloud_that_is_busy(tasks: Tasks, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({}, UPDATE):
        breaking = steps.broken(monkeypatch, code, FAULTS[code], times=2)
        change = persist(lambda given=options: tasks.plan(**given))
        done = persist(lambda given=options, change=change: tasks.apply(change, **given))
        assert done["state"] == "deployed"
        assert breaking.calls["CreateSchedule"] + breaking.calls["UpdateSchedule"] == 1
        assert persist(lambda given=options: tasks.plan(**given))["action"] == "none"
    steps.broken(monkeypatch, code, FAULTS[code])
    gone = persist(lambda: tasks.plan(intent="destroy"))
    assert persist(lambda: tasks.delete(gone))["state"] == "destroyed"


def test_credentials_that_nobody_knows(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    change = tasks.plan()
    steps.broken(monkeypatch, "UnrecognizedClientException", 403)
    with pytest.raises(AirflowFailException, match="UnrecognizedClientException"):
        tasks.apply(change)
    assert schedules(tasks.name) == []


def test_somebody_else_was_faster(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that appears between the look and the call stays as it is."""
    from triplane.serverless.aws.eventbridge import EventBridge

    change, send = tasks.plan(), EventBridge._send
    theirs = {"FlexibleTimeWindow": {"Mode": "OFF"}, "ScheduleExpression": "rate(1 day)"}
    called = {"Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:theirs", "RoleArn": tasks.options["role"]}

    def late(self: Any, *args: Any, **more: Any) -> Any:
        client_of("scheduler").create_schedule(Name=tasks.name, Target=called, **theirs)
        return send(self, *args, **more)

    monkeypatch.setattr(EventBridge, "_send", late)
    with pytest.raises(AirflowFailException, match="somebody else"):
        tasks.apply(change)
    assert schedule(tasks.name)["Target"]["Arn"] == called["Arn"]
