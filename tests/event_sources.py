"""What the tests of event sources share: one of them with its operators as tasks, its life, and calls that break."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane.core.errors import TransientError
from triplane.serverless.events.drift_operators import EventSourceDriftBatchOperator
from triplane.serverless.events.operators import (
    EventSourceApplyOperator,
    EventSourceDeleteOperator,
    EventSourcePlanOperator,
)


class Killed(BaseException):
    """The process was killed."""


@dataclass
class Tasks:
    """The tasks of one event source.

    ``place`` are the operators' arguments beside target, name and options; ``pushed`` what tasks that failed said.
    """

    target: str
    name: str
    options: Mapping[str, Any]
    place: Mapping[str, Any]
    run_id: str = ""
    pushed: list[Any] = field(default_factory=list)

    def plan(self, *, intent: str = "deploy", **options: Any) -> dict[str, Any]:
        return self._run(EventSourcePlanOperator, options, intent=intent)

    def apply(self, change: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        return self._run(EventSourceApplyOperator, options, change=dict(change))

    def deploy(self, **options: Any) -> dict[str, Any]:
        self.run_id = uuid.uuid4().hex
        return self.apply(self.plan(**options), **options)

    def delete(self, change: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What ``change`` says, by default a new plan; a retry does it again."""
        change = change or self.plan(intent="destroy")
        return self._run(EventSourceDeleteOperator, {}, change=dict(change))

    def drift(self, **options: Any) -> dict[str, Any]:
        given = {**self._arguments(options)}
        batch = EventSourceDriftBatchOperator(task_id="drift", components=[given])
        found: list[dict[str, Any]] = batch.execute(self._context())
        return found[0]

    def _arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        both = {**self.options, **options}
        return {"target": self.target, "name": self.name, "options": both, "scope": "staging/x", **self.place}

    def _run(self, operator: Any, options: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        task = operator(task_id="t", **self._arguments(options), **more)
        found: dict[str, Any] = task.execute(self._context())
        return found

    def _context(self) -> Any:
        run = SimpleNamespace(dag_id="d", run_id=self.run_id)
        return {"dag_run": run, "ti": SimpleNamespace(xcom_push=self._push)}

    def _push(self, key: str, value: Any) -> None:
        if key == "return_value":
            self.pushed.append(value)


def store(monkeypatch: pytest.MonkeyPatch, folder: Any) -> None:
    """An artifact store of the test's own."""
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{folder}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())


def life(tasks: Tasks, *, update: Mapping[str, Any], by_hand: Callable[[], None], seen: list[str]) -> None:
    """Deploy, nothing to do, update, disable and enable, drift by hand that is shown and mended, delete.

    ``by_hand`` changes what the drift check and the next plan must call ``seen``.
    """
    first = tasks.plan()
    assert (first["action"], first["risk"]) == ("create", "low")
    assert tasks.apply(first)["state"] == "deployed"
    again = tasks.plan()
    assert (again["action"], again["lines"]) == ("none", [])
    assert tasks.apply(again)["state"] == "unchanged"
    assert tasks.drift()["state"] == "in_sync"

    changed = tasks.plan(**update)
    assert changed["action"] == "update"
    assert {line.partition(":")[0] for line in changed["lines"]} == set(update)
    assert tasks.deploy(**update)["state"] == "deployed"
    off = tasks.plan(**update, enabled=False)
    assert off["lines"] == ["enabled: True -> False"]
    assert tasks.deploy(**update, enabled=False)["state"] == "deployed"
    assert tasks.plan(**update, enabled=False)["action"] == "none"
    assert tasks.deploy()["state"] == "deployed"

    by_hand()
    drifted = tasks.drift()
    assert drifted["state"] == "drifted", drifted
    assert sorted(item["name"] for item in drifted["resources"][0]["attributes"]) == sorted(seen)
    shown = tasks.plan()
    assert {line.partition(":")[0] for line in shown["lines"]} == set(seen)
    assert tasks.deploy()["state"] == "deployed"
    assert tasks.drift()["state"] == "in_sync"

    gone = tasks.plan(intent="destroy")
    assert (gone["action"], gone["risk"]) == ("destroy", "high")
    assert tasks.delete()["state"] == "destroyed"
    assert tasks.delete()["state"] == "unchanged"
    assert tasks.plan()["action"] == "create"


class BreakingApi:
    """A :class:`triplane.serverless.rest.Api` whose calls break once each: ``killed before``, ``killed after`` or
    ``answer lost``. ``done`` counts what reached the cloud, by verb and path.
    """

    def __init__(self, api: Any, how: str) -> None:
        self._api, self._how = api, how
        self.broken: Counter[str] = Counter()
        self.done: Counter[str] = Counter()

    def get(self, path: str, **query: str) -> Any:
        return self._api.get(path, **query)

    def call(self, verb: str, path: str, *args: Any, **options: Any) -> Any:
        key = f"{verb} {path}"
        self.broken[key] += 1
        first = verb != "GET" and self.broken[key] == 1
        if first and self._how == "killed before":
            raise Killed(key)
        self.done[key] += verb != "GET"
        answer = self._api.call(verb, path, *args, **options)
        if first and self._how == "killed after":
            raise Killed(key)
        if first and self._how == "answer lost":
            raise TransientError(f"{key}: the answer is lost")
        return answer
