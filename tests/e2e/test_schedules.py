"""Schedules through the operators, against the sandbox."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from triplane.serverless.events.drift_operators import EventSourceDriftBatchOperator
from triplane.serverless.events.operators import (
    EventSourceApplyOperator,
    EventSourceDeleteOperator,
    EventSourcePlanOperator,
)

ROLE = "arn:aws:iam::000000000000:role/scheduler"


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, cloud_env: dict[str, str]) -> Any:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    run = SimpleNamespace(dag_id="d", run_id=uuid.uuid4().hex)
    return {"dag_run": run, "ti": SimpleNamespace(xcom_push=lambda **_: None)}


def test_eventbridge(context: Any) -> None:
    from triplane.clouds import aws

    client = aws.client("scheduler", "aws_default", "eu-west-1")
    name = f"nightly-{uuid.uuid4().hex[:8]}"

    def run(operator: Any, change: Any = None, **options: Any) -> Any:
        given = {"function": "hook", "cron": "0 6 * * MON-FRI", "timezone": "Europe/Berlin", "role": ROLE}
        extra = {} if change is None else {"change": change}
        if intent := options.pop("intent", None):
            extra["intent"] = intent
        task = operator(
            task_id="t",
            target="eventbridge",
            name=name,
            region="eu-west-1",
            options={**given, **options},
            scope="staging/aws",
            **extra,
        )
        return task.execute(context)

    first = run(EventSourcePlanOperator)
    assert (first["action"], first["risk"]) == ("create", "low")
    assert run(EventSourceApplyOperator, first)["state"] == "deployed"
    assert client.get_schedule(Name=name)["ScheduleExpression"] == "cron(0 6 ? * 2-6 *)"
    assert run(EventSourcePlanOperator)["action"] == "none"

    off = run(EventSourcePlanOperator, enabled=False)
    assert off["lines"] == ["enabled: True -> False"]
    made = client.get_schedule(Name=name)
    kept = ("Name", "FlexibleTimeWindow", "Target", "ScheduleExpressionTimezone")
    client.update_schedule(ScheduleExpression="rate(5 minutes)", **{key: made[key] for key in kept})
    with pytest.raises(AirflowFailException, match="somebody has changed it"):
        run(EventSourceApplyOperator, off, enabled=False)
    given = {"function": "hook", "cron": "0 6 * * MON-FRI", "timezone": "Europe/Berlin", "role": ROLE}
    one = {"target": "eventbridge", "name": name, "region": "eu-west-1", "options": given}
    batch = EventSourceDriftBatchOperator(task_id="drift", components=[{**one, "scope": "staging/aws"}])
    (drifted,) = batch.execute(context)
    assert drifted["state"] == "drifted"
    assert [item["name"] for item in drifted["resources"][0]["attributes"]] == ["schedule"]
    again = run(EventSourcePlanOperator)
    assert again["lines"] == ["schedule: rate(5 minutes) -> cron(0 6 ? * 2-6 *)"]
    assert run(EventSourceApplyOperator, again)["state"] == "deployed"

    gone = run(EventSourcePlanOperator, intent="destroy")
    assert gone["risk"] == "high"
    assert run(EventSourceDeleteOperator, gone)["state"] == "destroyed"
    assert run(EventSourcePlanOperator)["action"] == "create"
