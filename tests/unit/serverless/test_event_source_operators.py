"""An apply that is refused or cut off between two calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from cryptography.fernet import Fernet
from tests.unit.serverless.test_schedules import gcp

from triplane.core.errors import StaleError, TransientError
from triplane.serverless.events import operators, targets
from triplane.serverless.events.source import Done, Found, Wanted
from triplane.serverless.target import DeployFailed, Waiting


@pytest.mark.parametrize("error", [DeployFailed("refused"), TransientError("503")])
def test_an_apply_that_stops_half_way(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    target: Any = gcp()
    monkeypatch.setitem(targets.TARGETS, "cloud_scheduler", lambda place: target)
    pushed: list[Any] = []
    context: Any = {
        "dag_run": SimpleNamespace(dag_id="d", run_id="r"),
        "ti": SimpleNamespace(
            xcom_push=lambda key, value: pushed.append(value) if key == "return_value" else None
        ),
    }

    def run(operator: Any, **more: Any) -> Any:
        options = {"function": "hook", "cron": more.pop("cron"), "enabled": more.pop("enabled", True)}
        task = operator(
            task_id="t",
            target="cloud_scheduler",
            name="n",
            project="p",
            scope="s/gcp",
            options=options,
            **more,
        )
        return task.execute(context)

    change = run(operators.EventSourcePlanOperator, cron="0 6 * * *")
    run(operators.EventSourceApplyOperator, cron="0 6 * * *", change=change)
    change = run(operators.EventSourcePlanOperator, cron="0 7 * * *", enabled=False)
    call, path = target._api.call, "v1/projects/p/locations/r/jobs/n"

    def fail(verb: str, *args: Any, **options: Any) -> Any:
        if verb == "PATCH":
            target._api.call = call
            raise error
        return call(verb, *args, **options)

    target._api.call = fail
    apply: dict[str, Any] = {"cron": "0 7 * * *", "enabled": False, "change": change}
    if isinstance(error, DeployFailed):
        with pytest.raises(AirflowFailException, match="refused"):
            run(operators.EventSourceApplyOperator, **apply)
        assert pushed[-1]["state"] == "rolled_back"
        job = target._api.things[path]
        assert (job["schedule"], job["state"]) == ("0 6 * * *", "ENABLED")
        return
    with pytest.raises(AirflowException, match="503"):
        run(operators.EventSourceApplyOperator, **apply)
    assert target._api.things[path]["state"] == "PAUSED"
    assert run(operators.EventSourceApplyOperator, **apply)["state"] == "deployed"
    assert target._api.things[path]["schedule"] == "0 7 * * *"


class Lost(BaseException):
    """The process was killed."""


class Slow:
    """A target whose apply fails, and whose restore is cut off or takes its time."""

    options = frozenset({"size"})
    fixed: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.size: Any = 1
        self.applied = 0
        self.steps: list[Any] = []

    def settings(self, name: str, options: Any) -> dict[str, Any]:
        return dict(options)

    def observe(self, wanted: Wanted) -> Found | None:
        return Found(settings={"size": self.size})

    def apply(self, wanted: Wanted, found: Any, log: Any) -> Any:
        self.applied += 1
        self.size = wanted.settings["size"]
        raise DeployFailed("refused")

    def restore(self, wanted: Wanted, previous: Any, log: Any) -> Any:
        step = self.steps.pop(0) if self.steps else Done()
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, Done):
            self.size = previous.settings["size"]
        return step


@pytest.mark.parametrize("step", [Lost(), Waiting(why="not yet", seconds=3600.0), TransientError("503")])
def test_the_way_back_is_gone_to_its_end(step: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Also by another process: it does not try the change that failed again, and ends with the same reason."""
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    target, pushed = Slow(), []
    target.steps = [step]
    monkeypatch.setitem(targets.TARGETS, "slow", lambda place: target)
    context: Any = {
        "dag_run": SimpleNamespace(dag_id="d", run_id="r"),
        "ti": SimpleNamespace(
            xcom_push=lambda key, value: pushed.append(value) if key == "return_value" else None
        ),
    }
    given: dict[str, Any] = {
        "task_id": "t",
        "target": "slow",
        "name": "n",
        "scope": "s",
        "options": {"size": 2},
    }
    change = operators.EventSourcePlanOperator(**given).execute(context)
    task = operators.EventSourceApplyOperator(**given, change=change)
    with pytest.raises((Lost, TaskDeferred, AirflowException)) as caught:
        task.execute(context)
    assert not isinstance(caught.value, AirflowFailException)
    assert pushed == []
    again = operators.EventSourceApplyOperator(**given, change=change)
    with pytest.raises(AirflowFailException, match="refused"):
        again.resume(context) if isinstance(caught.value, TaskDeferred) else again.execute(context)
    assert (target.applied, target.size, pushed[-1]["state"]) == (1, 1, "rolled_back")
    change = operators.EventSourcePlanOperator(**given).execute(context)
    with pytest.raises(AirflowFailException, match="refused"):
        operators.EventSourceApplyOperator(**given, change=change).execute(context)
    assert target.applied == 2


def test_what_somebody_else_changes_meanwhile_is_not_put_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    target = Slow()

    def changed(wanted: Wanted, found: Any, log: Any) -> Any:
        target.size = 7
        raise StaleError("412")

    monkeypatch.setattr(target, "apply", changed)
    monkeypatch.setitem(targets.TARGETS, "slow", lambda place: target)
    run = SimpleNamespace(dag_id="d", run_id="r")
    context: Any = {"dag_run": run, "ti": SimpleNamespace(xcom_push=lambda **_: None)}
    given: dict[str, Any] = {
        "task_id": "t",
        "target": "slow",
        "name": "n",
        "scope": "s",
        "options": {"size": 2},
    }
    change = operators.EventSourcePlanOperator(**given).execute(context)
    with pytest.raises(AirflowFailException, match="412"):
        operators.EventSourceApplyOperator(**given, change=change).execute(context)
    assert target.size == 7


def test_a_way_back_without_end_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """However often the task lets go of its worker on it."""
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    target, now, pushed = Slow(), [1_000_000.0], []
    target.steps = [Waiting(why="not yet", seconds=60.0)] * 99
    monkeypatch.setitem(targets.TARGETS, "slow", lambda place: target)
    clock = SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0], sleep=lambda seconds: None)
    for module in (operators.base, operators.apply):
        monkeypatch.setattr(module, "time", clock)
    context: Any = {
        "dag_run": SimpleNamespace(dag_id="d", run_id="r"),
        "ti": SimpleNamespace(xcom_push=lambda key, value: pushed.append(value)),
    }
    given: dict[str, Any] = {
        "task_id": "t",
        "target": "slow",
        "name": "n",
        "scope": "s",
        "options": {"size": 2},
    }
    change = operators.EventSourcePlanOperator(**given).execute(context)
    task = operators.EventSourceApplyOperator(**given, change=change, limit=300.0)
    with pytest.raises(TaskDeferred):
        task.execute(context)
    for _ in range(5):
        now[0] += 60
        with pytest.raises(TaskDeferred):
            task.resume(context)
    now[0] += 60
    with pytest.raises(
        AirflowFailException, match="refused; and what was there before could not be put back"
    ):
        task.resume(context)
    assert pushed[-1]["state"] == "failed"
