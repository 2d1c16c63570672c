"""Routes in anybody's DAG: a callback, and a task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from triplane.notify.message import Message
from triplane.notify.notifier import TriplaneNotifier
from triplane.notify.operators import NotifyOperator

ROUTES = [{"name": "ops", "channel": "webhook"}]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    found: list[Message] = []
    monkeypatch.setattr("triplane.notify.send.notify", lambda routes, message: found.append(message))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/")
    return found


def context(**more: Any) -> Any:
    run = SimpleNamespace(dag_id="nightly", run_id="scheduled__2026-11-27T00:00:00+00:00")
    return {"dag_run": run, "task_instance": SimpleNamespace(task_id="load"), "params": {}, **more}


def test_a_callback_tells_which_task_failed_and_why(sent: list[Message]) -> None:
    TriplaneNotifier(routes=ROUTES, environment="prod")(context(exception=ValueError("{{ no template }}")))
    (message,) = sent
    assert (message.event, message.environment) == ("failed", "prod")
    assert message.subject == "nightly: load failed"
    assert message.text.endswith(": {{ no template }}")
    assert message.link == (
        "https://airflow.example.com/dags/nightly/runs/scheduled__2026-11-27T00%3A00%3A00%2B00%3A00"
    )


def test_runs_of_two_dags_with_one_id_are_two_threads(sent: list[Message]) -> None:
    notifier = TriplaneNotifier(routes=ROUTES, environment="prod", subject="{{ dag_run.dag_id }} broke")
    notifier(context())
    other = context()
    other["dag_run"].dag_id = "hourly"
    TriplaneNotifier(routes=ROUTES, environment="prod")(other)
    assert sent[0].subject == "nightly broke"
    assert sent[0].identity != sent[1].identity


def test_a_task(sent: list[Message]) -> None:
    with DAG("nightly"):
        task = NotifyOperator(
            task_id="tell", routes=ROUTES, event="deployed", environment="prod", subject="done", key="2"
        )
    task.execute(context())
    assert (sent[0].subject, sent[0].key) == ("done", "2")
    assert sent[0].link.startswith("https://airflow.example.com/dags/nightly/runs/")
