"""Scheduled rules of EventBridge through the operators, against the sandbox."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests import event_sources
from tests.e2e import aws_event_steps as steps
from tests.e2e.aws_event_steps import ACCOUNT, BREAKS, FAULTS, REGION, client_of, persist
from tests.event_sources import Tasks

FUNCTION = "rule-called"
CODE = "def handler(event, context):\n    return 1\n"
UPDATE: dict[str, Any] = {"payload": {"full": True}, "retries": 3}


@pytest.fixture
def tasks(cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Tasks:
    event_sources.store(monkeypatch, tmp_path)
    steps.quickly(monkeypatch)
    steps.function(FUNCTION, CODE, steps.role(FUNCTION, "lambda", []))
    options = {"function": FUNCTION, "cron": "0 6 * * MON-FRI"}
    return Tasks("eventbridge_rules", f"nightly-{uuid.uuid4().hex[:8]}", options, {"region": REGION})


def rules(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client_of("events").list_rules(NamePrefix=name)["Rules"]
    return found


def targets(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client_of("events").list_targets_by_rule(Rule=name)["Targets"]
    return found


def permissions(name: str) -> list[str]:
    """The statements that let a rule call."""
    client = client_of("lambda")
    try:
        policy = client.get_policy(FunctionName=FUNCTION, Qualifier="live")["Policy"]
    except client.exceptions.ResourceNotFoundException:
        return []
    return [each["Sid"] for each in json.loads(policy)["Statement"] if name in json.dumps(each)]


def test_life(tasks: Tasks) -> None:
    def by_hand() -> None:
        events, extra = client_of("events"), {"Id": "extra", "Arn": targets(tasks.name)[0]["Arn"]}
        assert rules(tasks.name)[0]["ScheduleExpression"] == "cron(0 6 ? * 2-6 *)"
        events.put_rule(Name=tasks.name, ScheduleExpression="rate(5 minutes)", Description="x")
        events.put_targets(Rule=tasks.name, Targets=[extra])
        (sid,) = permissions(tasks.name)
        client_of("lambda").remove_permission(FunctionName=FUNCTION, Qualifier="live", StatementId=sid)

    seen = ["schedule", "other", "permission"]
    event_sources.life(tasks, update=UPDATE, by_hand=by_hand, seen=seen)
    assert (rules(tasks.name), permissions(tasks.name)) == ([], [])


def test_an_update_that_is_refused(tasks: Tasks) -> None:
    tasks.deploy(**UPDATE)
    client_of("events").put_rule(Name=tasks.name, ScheduleExpression="rate(2 hours)", Description="by hand")
    before = (rules(tasks.name), targets(tasks.name), permissions(tasks.name))
    with pytest.raises(AirflowFailException, match="ResourceNotFound"):
        tasks.deploy(
            function=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:missing:live", every=120, cron=None
        )
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert (rules(tasks.name), targets(tasks.name), permissions(tasks.name)) == before


def test_what_rules_cannot_do(tasks: Tasks) -> None:
    with pytest.raises(AirflowFailException, match="take the target 'eventbridge'"):
        tasks.plan(timezone="Europe/Berlin")
    with pytest.raises(AirflowFailException, match="calls is not known yet"):
        tasks.deploy(function="not-there-yet")
    assert rules(tasks.name) == []


@pytest.mark.parametrize("how", BREAKS)
def test_cut_off_at_each_call(tasks: Tasks, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({}, UPDATE):
        breaking = steps.broken(monkeypatch, how)
        tasks.run_id = uuid.uuid4().hex
        change = persist(lambda given=options: tasks.plan(**given))
        done = persist(lambda given=options, change=change: tasks.apply(change, **given))
        assert done["state"] == "deployed"
        assert breaking.broken["PutTargets"] >= 1
        assert (len(rules(tasks.name)), len(targets(tasks.name)), len(permissions(tasks.name))) == (1, 1, 1)
        assert persist(lambda given=options: tasks.plan(**given))["action"] == "none"
    breaking = steps.broken(monkeypatch, how)
    gone = persist(lambda: tasks.plan(intent="destroy"))
    assert persist(lambda: tasks.delete(gone))["state"] == "destroyed"
    assert (rules(tasks.name), permissions(tasks.name)) == ([], [])


@pytest.mark.parametrize("code", FAULTS)
def test_a_cloud_that_is_busy(tasks: Tasks, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.broken(monkeypatch, code, FAULTS[code])
    change = persist(tasks.plan)
    assert persist(lambda: tasks.apply(change))["state"] == "deployed"
    assert persist(tasks.plan)["action"] == "none"
    steps.broken(monkeypatch, code, FAULTS[code])
    gone = persist(lambda: tasks.plan(intent="destroy"))
    assert persist(lambda: tasks.delete(gone))["state"] == "destroyed"
    assert (rules(tasks.name), permissions(tasks.name)) == ([], [])
