"""Airflow's side of a question that a task asks: it keeps the first text, and hands back an answer."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskAwaitingInput

KEY = "k" * 40


class Questions:
    """What was asked; ``stored`` is the first text of each task, as Airflow keeps it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow.sdk.execution_time import task_runner

        self.asked: list[Any] = []
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=self._send), raising=False)
        monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)

    def _send(self, message: Any) -> Any:
        if message.type != "CreateHITLDetailPayload":
            return None
        self.asked.append(message)
        return SimpleNamespace(subject=self.asked[0].subject, body=self.asked[0].body)

    def answer(self, by: str = "bob", option: str = "Approve", **form: Any) -> dict[str, Any]:
        """The event of an answer to the last question."""
        digest = self.asked[-1].params["digest"]["value"]
        return {
            "chosen_options": [option],
            "params_input": {"digest": digest, **form},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": by, "name": by} if by else None,
        }


def context(**more: Any) -> Any:
    """Of a task whose run alice asked for; ``pushed`` of the instance is what it returns beside."""
    pushed: dict[str, Any] = {}
    instance = SimpleNamespace(
        id="00000000-0000-0000-0000-000000000001", task_id="gate", map_index=-1, try_number=1, max_tries=1,
        pushed=pushed, xcom_push=lambda key, value: pushed.__setitem__(key, value),
    )  # fmt: skip
    run = SimpleNamespace(dag_id="deploy", run_id="r1", triggering_user_name="alice")
    return {"ti": instance, "task_instance": instance, "dag_run": run, **more}


def parked(step: Any) -> TaskAwaitingInput:
    """How ``step`` parks."""
    with pytest.raises(TaskAwaitingInput) as found:
        step()
    return found.value
