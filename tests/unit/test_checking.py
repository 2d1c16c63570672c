"""A batch of checks: one that breaks does not keep the others from their answers."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tests.event_sources import Tasks, store
from tests.unit.serverless.test_schedules import gcp

from triplane import settings
from triplane.checking import CheckingOperator, Component, Seen, named
from triplane.core.drift import finding
from triplane.core.errors import InputError
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.events import targets
from triplane.serverless.events.drift_operators import EventSourceDriftBatchOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT: Any = {}
opened: list[str] = []


@contextmanager
def held(name: str) -> Iterator[None]:
    opened.append(name)
    yield
    opened.remove(name)


class Thing(Component):
    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> Any:
        self.how = arguments.pop("how", "")
        return SimpleNamespace(scope="staging/x", **arguments)

    def look_up(self, stack: ExitStack) -> None:
        stack.enter_context(held(self.operator.address))
        if self.how == "cannot be looked up":
            raise InputError("no connection")

    def look(self) -> Seen:
        assert self.operator.address in opened
        if self.how == "cannot be looked at":
            raise KeyError("a bug")
        update = finding("thing", "update", [{"name": "size", "before": "1", "after": "2"}])
        return Seen(
            [update] if self.how in ("drifted", "gone") else [],
            "changed" if self.how == "pending" else "never deployed" if not self.was_deployed else "",
            missing=self.how == "gone",
            images=[{"image": "api", "deployed": "sha256:a", "serving": ["sha256:a"]}],
        )


class Things(CheckingOperator):
    component = Thing


def check(*hows: str, run: str = "", **more: Any) -> list[dict[str, Any]]:
    things = [{"address": f"x/thing/{number}", "how": how, **more} for number, how in enumerate(hows)]
    known = {thing["address"]: {"version": "1"} for thing in things[:9]}
    settings.artifact_store().put_named("deployments/staging/x", json.dumps(known).encode())
    context: Any = {"dag_run": SimpleNamespace(run_id=run)} if run else CONTEXT
    found = Things(task_id="t", components=things).execute(context)
    assert not opened
    return found


@pytest.fixture(autouse=True)
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, tmp_path)


def test_each_has_its_answer() -> None:
    found = check("", "drifted", "pending", "cannot be looked up", "cannot be looked at")
    assert [one["state"] for one in found] == ["in_sync", "drifted", "pending", "unknown", "unknown"]
    assert [one["address"] for one in found] == [f"x/thing/{number}" for number in range(5)]
    assert [one["error"] for one in found[3:]] == ["no connection", "KeyError: 'a bug'"]


def test_what_was_seen_before_is_remembered() -> None:
    (first,) = check("drifted")
    (unknown,) = check("cannot be looked at")
    (again,) = check("drifted")
    assert unknown["last_good"] == first["checked_at"]
    assert again["resources"][0]["first_seen"] == first["resources"][0]["first_seen"]
    assert check("")[0]["cured"] == ["thing"]
    rule = {"resource": "thing", "reason": "known", "until": "2999-01-01"}
    assert check("drifted", ignore=[rule])[0]["state"] == "in_sync"


def test_checks_are_counted_by_run() -> None:
    counts = [check("drifted", run=run)[0]["resources"][0]["checks"] for run in ("1", "1", "2", "2", "3")]
    assert counts == [1, 1, 2, 2, 3]
    check("", run="4")
    assert check("drifted", run="5")[0]["resources"][0]["checks"] == 1


def test_what_is_gone_as_a_whole_is_missing_and_what_no_rollout_has_made_is_known() -> None:
    found = check("gone", *[""] * 9)
    assert [one["state"] for one in found] == ["missing", *["in_sync"] * 8, "pending"]
    assert found[1]["images"] == [{"image": "api", "deployed": "sha256:a", "serving": ["sha256:a"]}]


def test_a_kill_is_no_answer() -> None:
    batch = Things(task_id="t", components=[{"address": "x/thing/0"}])
    batch.on_kill()
    with pytest.raises(AirflowFailException, match="stopped"):
        batch.execute(CONTEXT)
    assert named("drift/staging/x/x/thing/0") is None, "nothing is remembered of what was not looked at"


def test_a_function_whose_cluster_was_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://key:secret@/?region_name=eu-west-1")
    function = {
        "target": "fargate",
        "name": "api",
        "image": "registry/api@sha256:" + "0" * 64,
        "options": {"cluster": "${cluster.name}"},
        "scope": "staging/aws",
    }
    (found,) = ServerlessDriftBatchOperator(task_id="t", components=[function]).execute(CONTEXT)
    assert (found["state"], found["pending"]) == ("pending", "it was never deployed")


def test_an_event_source_whose_function_was_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(targets.TARGETS, "cloud_scheduler", lambda place: gcp())
    one = {"target": "cloud_scheduler", "name": "n", "options": {"function": "${hook.name}"}, "scope": "s/g"}
    (found,) = EventSourceDriftBatchOperator(task_id="t", components=[one]).execute(CONTEXT)
    assert (found["state"], found["pending"]) == ("pending", "it was never deployed")


@pytest.mark.parametrize("kind", ["schedule", "stream"])
def test_an_event_source_is_called_what_it_is(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target: Any = gcp()
    monkeypatch.setitem(targets.TARGETS, "cloud_scheduler", lambda place: target)
    tasks = Tasks(
        "cloud_scheduler",
        "n",
        {"function": "hook", "cron": "0 6 * * *"},
        {"address": f"gcp/{kind}/nightly", "project": "p"},
    )
    assert tasks.deploy()["state"] == "deployed"
    target._api.things.clear()
    (gone,) = tasks.drift()["resources"]
    assert (gone["address"], gone["action"]) == (f"{kind} n", "delete")
