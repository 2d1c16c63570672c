"""People are told of what changed and of what failed, once, and of nothing else."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from triplane.notify.message import Message
from triplane.rollout import telling
from triplane.rollout.parent import ReportOperator

ROUTES = [
    {"name": "all", "channel": "webhook", "events": []},
    {"name": "failures", "channel": "webhook", "events": ["failed", "rolled_back"]},
    {"name": "undone", "channel": "webhook", "events": ["rolled_back"]},
]
Sent = list[tuple[list[str], Message]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    found: Sent = []
    monkeypatch.setattr(
        "triplane.notify.send.notify",
        lambda routes, message: found.append(([route["name"] for route in routes], message)),
    )
    return found


def context(action: str = "deploy", **params: Any) -> Any:
    states = {"r1": {"approval_0": "failed", "report": "running"}}
    return {
        "params": {"environment": "prod", "action": action, **params},
        "dag_run": SimpleNamespace(dag_id="deploy", run_id="r1"),
        "task_instance": SimpleNamespace(task_id="apply", get_task_states=lambda **_: states),
        "exception": "it broke",
    }


def row(state: str, cloud: str = "aws", component: str = "stack/main") -> dict[str, Any]:
    return {"cloud": cloud, "component": component, "version": "v1", "state": state, "seconds": 1.0}


def test_a_deployment_is_told_with_its_components(sent: Sent) -> None:
    telling.tell(context(), ROUTES, [row("unchanged"), row("deployed", "gcp")], [])
    ((names, message),) = sent
    assert names == ["all", "failures", "undone"]
    assert (message.event, message.thread) == ("deployed", "r1")
    assert message.subject == "Deployed to prod (AWS, Google Cloud)"
    assert message.text.splitlines()[2].split() == ["gcp", "stack/main", "v1", "deployed", "1.0"]


def test_a_rollback_that_was_asked_for(sent: Sent) -> None:
    telling.tell(context("rollback"), ROUTES, [row("deployed")], [])
    assert (sent[0][1].event, sent[0][1].subject) == ("rolled_back", "Rolled back in prod (AWS)")


def test_a_failure_that_was_rolled_back_reaches_everybody_once(sent: Sent) -> None:
    telling.tell(context(), ROUTES, [row("rolled_back")], ["aws: stack/main rolled_back"])
    (all_routes, failed), (others, rolled_back) = sent
    assert (len(all_routes), failed.event) == (3, "failed")
    assert (others, rolled_back.event) == (["undone"], "rolled_back")
    assert failed.text.startswith("- aws: stack/main rolled_back\n- failed tasks: approval_0\n")


def test_a_failure_with_other_problems_is_another_message(sent: Sent) -> None:
    for problem in ("a", "a", "b"):
        telling.tell(context(), ROUTES, [row("failed")], [problem])
    first, second, third = (message.identity for _, message in sent)
    assert first == second != third


def test_nothing_is_told_where_nothing_changed_or_nobody_listens(sent: Sent) -> None:
    telling.tell(context(), ROUTES, [row("unchanged")], [])
    telling.tell(context(), [], [row("failed")], ["a"])
    assert sent == []


def test_a_thousand_components_are_counted() -> None:
    rows = [row("deployed", component=f"stack/s{number}") for number in range(1000)] + [row("failed")]
    lines = telling.text(rows, ["a problem"]).splitlines()
    assert lines[:3] == ["- a problem", "", "```"]
    assert "failed" in lines[4]
    assert lines[-2] == "... and 961 more"


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, 1),
        ({"action": "plan"}, 0),
        ({"dry_run": True}, 0),
        ({"frozen": {"source": "x"}}, 0),
        ({"action": "apply", "approved": {"change_set": "x"}}, 0),
    ],
)
def test_failures_of_runs_that_nobody_else_reports_on(params: dict[str, Any], told: int, sent: Sent) -> None:
    telling.FailureNotifier(routes=ROUTES).notify(context(**params))
    assert [message.text for _, message in sent] == ["`apply`: it broke"] * told


@pytest.mark.parametrize(("run", "event"), [("success", "deployed"), ("failed", "failed")])
def test_the_report_tells_before_it_fails(run: str, event: str, sent: Sent) -> None:
    result = {"address": "aws/stack/main", "version": "v1", "state": "deployed", "seconds": 1.0}
    instance = SimpleNamespace(
        get_dr_count=lambda **_: 1,
        get_dagrun_state=lambda **_: run,
        get_task_states=lambda dag_id, run_ids: {run_ids[0]: {"apply": "success"}},
        xcom_pull=lambda **_: result,
        xcom_push=lambda **_: None,
    )
    child = {
        "dag_id": "deploy_aws",
        "plan_run_id": "p",
        "run_id": "a",
        "tasks": {"aws/stack/main": ["apply"]},
    }
    report = ReportOperator(task_id="report", clouds={"aws": child}, notify=ROUTES)
    failing = pytest.raises(AirflowFailException) if run == "failed" else nullcontext()
    with failing:
        report.execute(context() | {"task_instance": instance})
    ((_, message),) = sent
    assert message.event == event
    assert "stack/main" in message.text
