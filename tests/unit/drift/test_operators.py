"""The last tasks of a drift check, with a store and without an Airflow."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tests.event_sources import store

from triplane import settings
from triplane.core.drift import finding, judge, memory
from triplane.drift import kept, report
from triplane.drift.operators import DriftReportOperator, DriftVerdictOperator
from triplane.rollout import runs

ADDRESS = "aws/stack/network"


class Airflow:
    """What the tasks of one environment see of it, run after run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[tuple[str, str, Any]] = []
        self.states: dict[str, str] = {}
        self.told: list[Any] = []
        self.events: list[tuple[str, Any]] = []
        self.memory: Any = None
        monkeypatch.setattr(runs, "start_run", self.start)
        monkeypatch.setattr(runs, "run_state", lambda context, dag_id, run_id: self.states.get(run_id))
        notify = SimpleNamespace(notify=lambda routes, message: self.told.append(message))
        monkeypatch.setitem(sys.modules, "triplane.notify.send", notify)

    def start(self, dag_id: str, run_id: str, conf: Any, *, again: bool) -> None:
        self.started.append((dag_id, run_id, conf))
        self.states[run_id] = "running"

    def check(self, run: str, *names: str, blind: bool = False, **policy: Any) -> dict[str, Any]:
        """A check that finds these tags changed; ``blind``: its task has failed."""
        found = [
            finding("aws_vpc.main", "update", [{"name": name, "before": "a", "after": "b"}]) for name in names
        ]
        check = judge(ADDRESS, found, before=self.memory, run=run)
        if not blind:
            self.memory = memory(check, run)
        context: Any = {
            "dag_run": SimpleNamespace(dag_id="drift_check", run_id=run),
            "task_instance": SimpleNamespace(
                xcom_pull=lambda task_ids: [None if blind else [check.to_json()]],
                xcom_push=lambda key, value: None,
            ),
            "outlet_events": defaultdict(
                lambda: SimpleNamespace(add=lambda asset, extra: self.events.append((asset.uri, extra)))
            ),
        }
        return report_task(**policy).execute(context)


def report_task(**policy: Any) -> DriftReportOperator:
    return DriftReportOperator(
        task_id="report",
        checks={"aws.stacks": [ADDRESS]},
        platform="shop",
        environment="prod",
        revision="c0ffee",
        policies={"prod": policy},
        deploy_dag_id="deploy",
        notify=[{"name": "chat"}],
    )


@pytest.fixture
def airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Airflow:
    store(monkeypatch, tmp_path)
    return Airflow(monkeypatch)


def test_the_report_is_kept_told_and_an_event(airflow: Airflow) -> None:
    found = airflow.check("r1", "tags.owner")
    assert kept.report("prod") == kept.report("prod", "r1")
    assert (found["drifted"], found["left_out"]) == (1, {"groups": 0, "components": 0})
    text = settings.artifact_store().get_named("drift-reports/prod/latest.md")
    assert text is not None
    assert b"stack: update tags.owner" in text
    ((uri, extra),) = airflow.events
    assert uri == "triplane://shop/prod/drift"
    assert (extra["drifted"], extra["run_id"], extra["coverage"]["checked"]) == (1, "r1", 1)
    (message,) = airflow.told
    assert (message.event, message.subject) == ("drift_found", "shop prod: 1 drift of 1 cause")
    airflow.check("r2", "tags.owner")
    assert len(airflow.told) == 1
    airflow.check("r3")
    assert [message.event for message in airflow.told] == ["drift_found", "drift_cured"]
    assert airflow.started == []
    history = kept.state("prod")["history"]
    assert [(entry["run_id"], entry["drifted"]) for entry in history] == [("r1", 1), ("r2", 1), ("r3", 0)]


def test_a_task_that_is_tried_again_tells_nothing_twice_and_counts_once(airflow: Airflow) -> None:
    for _ in range(2):
        assert airflow.check("r1", "tags.owner")["alarms"]["new"] == 1
    assert len(airflow.told) == 1
    assert len(kept.state("prod")["history"]) == 1


def test_one_run_repairs_a_drift_and_no_second_one_is_opened_for_it(airflow: Airflow) -> None:
    policy = {"alarm_after": 2, "on_drift": ["deploy"]}

    def check(run: str, *names: str) -> Any:
        return airflow.check(run, *names, **policy)["repair"]

    assert check("r1", "tags.a") is None, "one check is no alarm"
    first = check("r2", "tags.a")
    ((dag_id, run_id, conf),) = airflow.started
    assert (dag_id, run_id, conf["environment"], conf["action"]) == ("deploy", first, "prod", "deploy")
    assert conf["drift"] == {
        "run_id": "r2",
        "report": "drift-reports/prod/r2",
        "groups": ["stack: update tags.a"],
    }
    assert conf["revision"] == "c0ffee"
    for run in ("r3", "r4"):
        assert check(run, "tags.a", "tags.b") is None, "nothing is started beside an open run"
    airflow.states[first] = "failed"
    assert check("r5", "tags.a") is None, "what people have rejected is not asked again"
    assert check("r6", "tags.a", "tags.b") is None
    second = check("r7", "tags.a", "tags.b")
    assert second not in (None, first)
    airflow.states[second] = "success"
    assert check("r8") is None
    check("r9", "tags.a")
    assert check("r10", "tags.a") not in (None, first, second), "it came back"
    assert airflow.told == []


def test_a_repair_deploys_what_was_deployed_not_what_was_merged_since(airflow: Airflow) -> None:
    entry = {"version": "1", "change_set": "", "run_id": "r", "revision": "0ld"}
    known = {ADDRESS: entry, "aws/stack/other": entry}
    settings.artifact_store().put_named("deployments/prod/aws", json.dumps(known).encode())
    airflow.check("r1", "tags.a", on_drift=["deploy"])
    assert airflow.started[0][2]["revision"] == "0ld"
    known["aws/stack/other"] = {**entry, "revision": "another"}
    settings.artifact_store().put_named("deployments/prod/aws", json.dumps(known).encode())
    airflow.check("r2")
    airflow.check("r3", "tags.a", on_drift=["deploy"])
    assert airflow.started[1][2]["revision"] == "c0ffee", "there is no one revision that is deployed"


def test_a_check_without_an_answer_fails_the_run_and_cures_nothing(airflow: Airflow) -> None:
    airflow.check("r1", "tags.a")
    found = airflow.check("r2", blind=True)
    assert (found["unknown"], found["alarms"]) == (1, {"known": 1, "new": 0, "cured": 0})
    with pytest.raises(AirflowFailException, match=f"not checked: {ADDRESS}"):
        DriftVerdictOperator(task_id="verdict", report=found).execute({})  # type: ignore[typeddict-item]
    DriftVerdictOperator(task_id="verdict", report=airflow.check("r3")).execute({})  # type: ignore[typeddict-item]


def test_images_have_a_memory_of_their_own(airflow: Airflow) -> None:
    task = report_task()
    task.images = {"aws/image/api": ["aws/chart/api"]}
    image = {"image": "api", "deployed": "sha256:a", "serving": ["sha256:b"]}
    chart = {"address": "aws/chart/api", "state": "drifted", "images": [image]}
    first = task._with_images([chart], "r1")[1]
    again = task._with_images([chart], "r2")[1]
    assert (first["state"], first["resources"][0]["checks"], again["resources"][0]["checks"]) == (
        "drifted",
        1,
        2,
    )
    blind = task._with_images([], "r3")[0]
    assert (blind["state"], blind["last_good"]) == ("unknown", again["checked_at"])


def test_an_environment_of_another_platform_is_not_reported_on(airflow: Airflow) -> None:
    settings.claim("prod", "other")
    with pytest.raises(AirflowFailException, match="belongs to the platform other"):
        airflow.check("r1")
    assert kept.report("prod") is None


def test_what_has_left_the_spec_is_told_and_raises_no_alarm(airflow: Airflow) -> None:
    known = {name: {"revision": "c" * 40} for name in ("aws/machines/workers", ADDRESS)}
    settings.artifact_store().put_named("deployments/prod/aws", json.dumps(known).encode())
    gone = {"azure/chart/api": {"revision": "d" * 40}}
    settings.artifact_store().put_named("deployments/prod/azure", json.dumps(gone).encode())
    found = airflow.check("r1")
    assert "its release stays" in found["left_behind"].pop("azure/chart/api"), (
        "its cloud has left the spec, too"
    )
    said = (
        "it has left the spec, and what its playbook did stays on the machines; last deployed at cccccccccccc"
    )
    assert found["left_behind"] == {"aws/machines/workers": said}
    assert found["alarms"]["new"] == 0
    assert report.lines(found)[-1] == f"aws/machines/workers: left behind: {said}"
    assert f"- aws/machines/workers: {said}" in report.markdown(found)
