"""The report of a drift check tells people, also where a check could not run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from triplane.drift.operators import DriftReportOperator
from triplane.notify.message import Message


def test_drift_is_told_though_another_check_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Message] = []
    monkeypatch.setattr("triplane.notify.send.notify", lambda routes, message: sent.append(message))
    drifted = {
        "address": "aws/stack/a",
        "state": "drifted",
        "resources": [{"address": "aws_vpc.main", "action": "update", "attributes": [{"name": "tags"}]}],
        "cured": ["aws_vpc.old"],
    }
    instance = SimpleNamespace(xcom_pull=lambda **_: [[drifted]], xcom_push=lambda **_: None)
    context: Any = {
        "task_instance": instance,
        "dag_run": SimpleNamespace(dag_id="drift_check", run_id="r1"),
        "params": {"environment": "prod"},
    }
    operator = DriftReportOperator(
        task_id="report", checks={"aws.stacks": ["aws/stack/a", "aws/stack/b"]}, notify=[{"name": "ops"}]
    )
    with pytest.raises(AirflowFailException, match="not checked: aws/stack/b"):
        operator.execute(context)
    assert [(message.event, message.thread) for message in sent] == [
        ("drift_found", "r1"),
        ("drift_cured", "r1"),
    ]
