"""The operators and their trigger over a system in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.triggers.base import TriggerEvent
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.errors import InputError, TransientError
from triplane.forge.rest import RateLimited, Unauthenticated
from triplane.pipelines import named, systems, triggers
from triplane.pipelines.operators import PipelineOperator
from triplane.pipelines.pipeline import Approval, Standing, Wanted

ADDRESS = "aws/pipeline/smoke"


class System:
    """One run, whose standings come in turn; an error among them is raised."""

    def __init__(self) -> None:
        self.standings: list[Any] = [Standing(state="succeeded")]
        self.answers: list[tuple[str, bool, str]] = []
        self.cancelled = 0
        self.wanted: Wanted | None = None
        self.lines = ["first", "last"]

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        return None

    def start(self, wanted: Wanted) -> str:
        self.wanted = wanted
        return "1"

    def standing(self, run: str) -> Standing:
        found = self.standings[0] if len(self.standings) == 1 else self.standings.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def log(self, run: str) -> list[str]:
        return self.lines

    def cancel(self, run: str) -> None:
        self.cancelled += 1

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        self.answers.append((approval.name, approved, comment))

    def link(self, run: str) -> str:
        return f"https://ci.example/{run}"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", Fernet.generate_key().decode())
    found = System()
    monkeypatch.setitem(systems.SYSTEMS, "memory", lambda *_: found)
    monkeypatch.setitem(systems.CONNECTIONS, "memory", "none")
    return found


def context() -> Any:
    instance = SimpleNamespace(max_tries=0, try_number=1, map_index=-1, xcom_push=lambda **_: None)
    return {"ti": instance, "dag_run": SimpleNamespace(dag_id="d", run_id="r", conf={})}


def operator(**kwargs: Any) -> PipelineOperator:
    return PipelineOperator(task_id="run", system="memory", options={}, interval=0.0, **kwargs)


def event(trigger: Any) -> dict[str, Any]:
    async def first() -> TriggerEvent:
        return await anext(aiter(trigger.run()))

    return dict(asyncio.run(first()).payload)


def parked(call: Any, *args: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as waiting:
        call(*args)
    return waiting.value


def authorization(**changes: Any) -> dict[str, Any]:
    """A change set that somebody has approved, as an operator gets it."""
    change = ComponentChange(address=ADDRESS, action="update", risk=Risk.MEDIUM, summary="runs")
    now = datetime.now(UTC)
    change_set = ChangeSet(
        platform="shop", environment="prod", cloud="aws", asked="HEAD", revision="abc", source="s", spec="s",
        policy=Policy().to_json(), planned_at=now.isoformat(), changes=(change,),
    )  # fmt: skip
    digest = settings.put_change_set(change_set)
    decision = Decision(
        dag_id="d", run_id="r", vote=0, requester="ann", responder="bob", approved=True,
        change_sets={"aws": digest}, decided_at=now.isoformat(),
        expires_at=(now + timedelta(hours=1)).isoformat(),
    )  # fmt: skip
    signed = replace(decision, **changes).sign(settings.signing_keys())
    given = {"change_set": digest, "authorization": {"decisions": [signed.to_json()]}}
    return {"address": ADDRESS, "scope": "prod/aws", **given}


GATE = Standing(
    state="running", waits=(Approval(name="Release/Approve", id="7"), Approval(name="Other", id="8"))
)


def test_our_approval_answers_what_it_is_for_and_nothing_else(system: System) -> None:
    system.standings = [GATE, GATE, Standing(state="succeeded")]
    given = authorization()
    task = operator(approves=["Release/Approve"], **given)
    first = parked(task.execute, context())
    second = parked(task.resume, context(), event(first.trigger))
    assert system.answers == [("Release/Approve", True, f"approved as {given['change_set']}")]
    assert second.kwargs["answered"] == ["7"]  # it may still show for a moment
    assert task.resume(context(), event(second.trigger))["state"] == "succeeded"
    assert len(system.answers) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"approved": False},
        {"run_id": "another"},
        {"expires_at": "2026-01-01T00:00:00+00:00"},
        {"responder": "ann"},
        {"change_sets": {"aws": "sha256:0"}},
    ],
    ids=str,
)
def test_an_approval_that_does_not_hold_starts_and_answers_nothing(
    system: System, changes: dict[str, Any]
) -> None:
    task = operator(approves=["Release/Approve"], **authorization(**changes))
    with pytest.raises(AirflowFailException):
        task.execute(context())
    assert system.wanted is None
    waiting = {"run": "1", "standing": GATE.to_json()}
    with pytest.raises(AirflowFailException):
        task.resume(context(), waiting, 9e9)
    assert system.answers == []


def test_an_authorization_that_was_edited_away_answers_nothing(system: System) -> None:
    task = operator(approves=["Release/Approve"], **{**authorization(), "authorization": None})
    with pytest.raises(AirflowFailException, match="not approved"):
        task.resume(context(), {"run": "1", "standing": GATE.to_json()}, 9e9)
    assert system.answers == []


def test_what_the_run_was_asked_for(system: System) -> None:
    task = operator(revision="abc", inputs={"replicas": 3}, timeout=60.0)
    deferral = parked(task.execute, context())
    wanted = system.wanted
    assert wanted is not None
    assert (wanted.revision, wanted.inputs, wanted.timeout) == ("abc", {"replicas": "3"}, 60.0)
    assert task.resume(context(), event(deferral.trigger)) == {
        **{"system": "memory", "run": "1", "state": "succeeded", "revision": ""},
        **{"link": "https://ci.example/1", "stages": [], "results": {}, "waits": []},
    }


def test_secrets_stay_out_of_results_logs_and_errors(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.register_secret("planted-planted")
    system.lines = ["using planted-planted"]
    ended = Standing(state="failed", reason="because of planted-planted")
    with pytest.raises(AirflowFailException) as failed:
        operator().resume(context(), {"run": "1", "standing": ended.to_json()})
    assert "planted-planted" not in str(failed.value) + "".join(capsys.readouterr())
    good = Standing(state="succeeded", results={"report": "https://x/?sig=planted-planted"})
    result = operator().resume(context(), {"run": "1", "standing": good.to_json()})
    assert "planted-planted" not in str(result)


def test_a_log_that_cannot_be_read_hides_no_failure(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(run: str) -> list[str]:
        raise InputError("no right to read logs")

    monkeypatch.setattr(system, "log", refused)
    ended = Standing(state="failed", reason="Build failed")
    with pytest.raises(AirflowFailException, match="run 1 of memory failed: Build failed; correct it"):
        operator().resume(context(), {"run": "1", "standing": ended.to_json()})


def trigger(**changes: Any) -> triggers.PipelineTrigger:
    known = {"system": "memory", "options": {}, "run": "1", "deadline": 9e9, "interval": 0.0}
    return triggers.PipelineTrigger(**{**known, **changes})


def test_the_trigger_survives_what_passes(system: System) -> None:
    busy = RateLimited("busy", 0.0)
    system.standings = [TransientError("503"), busy, Unauthenticated("ended"), Standing(state="succeeded")]
    assert event(trigger())["standing"]["state"] == "succeeded"


def test_the_trigger_gives_up_what_does_not(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.standings = [Unauthenticated("ended")]
    assert event(trigger())["error"] == "memory: ended"
    system.standings = [InputError("gone")]
    assert event(trigger())["error"] == "memory: gone"
    monkeypatch.setattr(triggers, "LOST_SECONDS", -1.0)
    system.standings = [TransientError("503")]
    lost = event(trigger())
    with pytest.raises(AirflowException, match="503; a retry goes on waiting for run 1") as told:
        operator().resume(context(), lost)
    assert not isinstance(told.value, AirflowFailException)


def test_a_run_that_does_not_stop_is_told(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "STOP_SECONDS", -1.0)
    system.standings = [Standing(state="running")]
    assert event(trigger(deadline=0.0))["standing"]["reason"] == f"{triggers.OVERDUE}, and still runs"
    assert system.cancelled == 1


def test_a_run_that_ended_before_anybody_looked_is_not_overdue(system: System) -> None:
    assert event(trigger(deadline=0.0))["standing"]["state"] == "succeeded"
    assert system.cancelled == 0


def test_a_kill_before_the_wait_cancels_what_was_started(system: System) -> None:
    task = operator()
    task.on_kill()
    with pytest.raises(AirflowException, match="stopped from outside"):
        task.execute(context())
    assert system.cancelled == 1


@pytest.mark.parametrize(
    ("kind", "arguments", "options"),
    [
        (named.CodeBuildRunOperator, {"project": "p"}, {"project": "p"}),
        (named.CodePipelineRunOperator, {"pipeline": "p", "region": "r"}, {"pipeline": "p", "region": "r"}),
        (
            named.CloudDeployOperator,
            {"pipeline": "p", "region": "r", "source": "gs://b/x"},
            {"source": "gs://b/x"},
        ),
        (
            named.CloudDeployPromoteOperator,
            {"pipeline": "p", "region": "r", "release": "a", "target": "t"},
            {"release": "a"},
        ),
        (
            named.CloudDeployRollbackOperator,
            {"pipeline": "p", "region": "r", "target": "t"},
            {"rollback": True},
        ),
        (
            named.AzurePipelinesRunOperator,
            {"organization": "o", "project": "p", "pipeline": "x"},
            {"organization": "o", "conn_id": "azure_default"},
        ),
        (
            named.GitHubActionsRunOperator,
            {"repository": "a/b", "workflow": "w.yml", "ref": "main"},
            {"workflow": "w.yml", "conn_id": "github_default"},
        ),
        (named.GitLabPipelineOperator, {"project": "a/b", "ref": "main"}, {"ref": "main"}),
    ],
)
def test_the_names_that_people_look_for(
    kind: Any, arguments: dict[str, Any], options: dict[str, Any]
) -> None:
    task = kind(task_id="t", revision="abc", **arguments)
    assert task.options.items() >= options.items()
    assert task.system in systems.SYSTEMS
    assert task.revision == "abc"
