"""What has left the spec is found at the cloud and deleted, but not what another component has by now."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests import event_sources
from tests.e2e import aws_event_steps as steps
from tests.e2e.aws_event_steps import ACCOUNT, REGION, client_of
from triplane import settings
from triplane.core.change import ChangeSet, ComponentChange
from triplane.serverless.events.operators import (
    EventSourceApplyOperator,
    EventSourceLeftoversDeleteOperator,
    EventSourceLeftoversPlanOperator,
    EventSourcePlanOperator,
)

SCOPE = "staging/aws"
POLICY = {
    "votes": {"low": 0, "medium": 0, "high": 0, "critical": 0},
    "expires": 3600,
    "plan_max_age": 3600,
    "requester_may_approve": True,
    "approvers": [],
}
CONTEXT: Any = {
    "dag_run": SimpleNamespace(dag_id="deploy_aws", run_id="r"),
    "ti": SimpleNamespace(xcom_push=lambda key, value: None),
}
FUNCTION = "leftover-reader"


@pytest.fixture
def name(cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> str:
    event_sources.store(monkeypatch, tmp_path)
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 43)
    steps.quickly(monkeypatch)
    code = "def handler(event, context):\n    return {}\n"
    steps.function(FUNCTION, code, steps.role(FUNCTION, "lambda", ["kinesis:*"]))
    return f"left-{uuid.uuid4().hex[:8]}"


def approved(change: dict[str, Any]) -> dict[str, Any]:
    found = ChangeSet(
        platform="shop", environment="staging", cloud="aws", asked="HEAD", revision="c", source="s", spec="d",
        policy=POLICY, planned_at=datetime.now(UTC).isoformat(), changes=(ComponentChange.from_json(change),),
    )  # fmt: skip
    return {"change_set": settings.put_change_set(found), "authorization": {"decisions": []}}


def component(kind: str, key: str, target: str, options: dict[str, Any]) -> dict[str, Any]:
    place = {"conn_id": "aws_default", "region": REGION, "scope": SCOPE}
    return {"address": f"aws/{kind}/{key}", "target": target, "name": key, "options": options, **place}


def deploy(one: dict[str, Any]) -> None:
    change = EventSourcePlanOperator(task_id="p", **one).execute(CONTEXT)
    result = EventSourceApplyOperator(task_id="a", **one, **approved(change)).execute(CONTEXT)
    assert result["state"] in ("deployed", "unchanged")


def left(*components: dict[str, Any]) -> list[dict[str, Any]]:
    task = EventSourceLeftoversPlanOperator(task_id="l", scope=SCOPE, components=components)
    return task.execute(CONTEXT)


def delete(change: dict[str, Any]) -> dict[str, Any]:
    task = EventSourceLeftoversDeleteOperator(task_id="d", scope=SCOPE, **approved(change))
    (result,) = task.execute(CONTEXT)
    return dict(result)


def test_schedule(name: str) -> None:
    role = steps.role("leftover-caller", "scheduler", ["lambda:InvokeFunction"])
    one = component("schedule", name, "eventbridge", {"function": FUNCTION, "every": 3600, "role": role})
    deploy(one)
    assert left(one) == []
    (change,) = left()
    assert (change["address"], change["risk"]) == (f"aws/leftover/schedule.{name}@{REGION}", "high")
    assert delete(change)["state"] == "destroyed"
    client = client_of("scheduler")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_schedule(Name=name)
    assert left() == []


def test_stream_under_another_key(name: str) -> None:
    """AWS knows a mapping by function and stream: another key in the spec is the same mapping."""
    client_of("kinesis").create_stream(StreamName=name, ShardCount=1)
    options = {"function": FUNCTION, "stream": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"}
    one = component("stream", name, "kinesis", options)
    deploy(one)
    other = component("stream", f"{name}-b", "kinesis", options)
    deploy(other)
    assert left(other) == []

    def mappings() -> list[Any]:
        pages = client_of("lambda").get_paginator("list_event_source_mappings").paginate()
        return [
            each for page in pages for each in page["EventSourceMappings"] if name in each["EventSourceArn"]
        ]

    assert len(mappings()) == 1
    (change, *_) = left()
    assert delete(change)["state"] == "destroyed"
    steps.until(lambda: not mappings())
    assert left() == []
