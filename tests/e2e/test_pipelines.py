"""Native pipelines of every system through the operators, with unmodified SDKs or the documented REST contract."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.triggers.base import TriggerEvent
from cryptography.fernet import Fernet

from tests.e2e import pipelines_lab as lab
from tests.few import few
from triplane.pipelines.begun import Begun
from triplane.pipelines.operators import PipelineApprovalOperator, PipelineOperator, PipelineTask
from triplane.pipelines.pipeline import Wanted
from triplane.pipelines.systems import SYSTEMS, connect
from triplane.pipelines.triggers import OVERDUE, PipelineTrigger
from triplane.sandbox.forges.runs import COMMIT
from triplane.sandbox.runtime import Sandbox

pytestmark = pytest.mark.e2e
ALL = tuple(SYSTEMS)
ASKING = tuple(lab.APPROVALS)
SLOW = {"codepipeline", "cloud_deploy", "github_actions"}
"""What is the same code for all systems is tried with these in ``make chaos``."""
FEW, FEW_ASKING = few(ALL, set(ALL) - SLOW), few(ASKING, set(ASKING) - SLOW)
REVISIONS = {"codebuild": "v7", "codepipeline": "version-7", "cloud_deploy": "abc7"}
CREDENTIALS = {
    "codebuild": ("AIRFLOW_CONN_AWS_DEFAULT", "renew the credentials of the connection"),
    "codepipeline": ("AIRFLOW_CONN_AWS_DEFAULT", "renew the credentials of the connection"),
    "cloud_deploy": ("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "check its key"),
    "azure_pipelines": ("AIRFLOW_CONN_AZURE_DEFAULT", "renew its secret"),
    "github_actions": ("AIRFLOW_CONN_GITHUB_DEFAULT", "renew the token in the connection"),
    "gitlab": ("AIRFLOW_CONN_GITLAB_DEFAULT", "renew the token in the connection"),
}
STATUS = {
    "codebuild": "BatchGetBuilds",
    "codepipeline": "GetPipelineExecution",
    "cloud_deploy": "/rollouts/",
    "azure_pipelines": r"/build/builds/\d+$",
    "github_actions": r"/actions/runs/\d+$",
    "gitlab": r"/pipelines/\d+$",
}
START = {
    "codebuild": "StartBuild",
    "codepipeline": "StartPipelineExecution",
    "cloud_deploy": "/rollouts",
    "azure_pipelines": "/runs$",
    "github_actions": "/dispatches$",
    "gitlab": "/pipeline$",
}


@pytest.fixture
def pipelines(
    cloud_env: dict[str, str], sandbox: Sandbox, tmp_path: Any, monkeypatch: Any
) -> Iterator[Sandbox]:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setattr("triplane.pipelines.cloud_deploy.LOOK_SECONDS", 0.1)
    lab.make_all(sandbox)
    yield sandbox
    lab.no_faults(sandbox)


def context(run_id: str = "", *, max_tries: int = 0, try_number: int = 1) -> Any:
    """What a task gets; ``max_tries`` goes up when it is cleared."""
    pushed: dict[str, Any] = {}
    instance = SimpleNamespace(
        max_tries=max_tries,
        try_number=try_number,
        map_index=-1,
        pushed=pushed,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    return {"ti": instance, "dag_run": SimpleNamespace(dag_id="deploy", run_id=run_id or lab.run_id())}


def operator(system: str, kind: str, **kwargs: Any) -> PipelineOperator:
    kwargs = {"interval": 0.05, "inputs": inputs(system), **kwargs}
    return PipelineOperator(task_id="run", system=system, options=lab.options(system, kind), **kwargs)


def inputs(system: str) -> dict[str, str]:
    return {"environment": "test"}


def deferred(task: PipelineTask, given: Any) -> PipelineTrigger:
    """What the task waits for, as the triggerer makes it anew from its serialized form."""
    with pytest.raises(TaskDeferred) as waiting:
        task.execute(given)
    return again(waiting.value)


def again(waiting: TaskDeferred) -> PipelineTrigger:
    path, arguments = waiting.trigger.serialize()
    assert path == "triplane.pipelines.triggers.PipelineTrigger"
    assert waiting.method_name == "resume"
    return PipelineTrigger(**json.loads(json.dumps(arguments)))


def event(trigger: PipelineTrigger) -> dict[str, Any]:
    async def first() -> TriggerEvent:
        return await anext(aiter(trigger.run()))

    return dict(asyncio.run(first()).payload)


def state(system: str, kind: str, run: str) -> str:
    return connect(system, lab.options(system, kind)).standing(run).state


def wait_until(system: str, kind: str, run: str, wanted: str, seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while (found := state(system, kind, run)) != wanted:
        assert time.monotonic() < until, f"{run} is {found}, not {wanted}"
        time.sleep(0.05)


@pytest.mark.parametrize("system", ALL)
def test_a_run_is_started_awaited_and_told(system: str, pipelines: Sandbox) -> None:
    revision = REVISIONS.get(system, COMMIT)
    task, given = operator(system, "good", revision=revision), context()
    before = lab.count(system, "good")
    trigger = deferred(task, given)
    found = task.resume(given, event(trigger))
    assert (found["state"], found["revision"], found["system"]) == ("succeeded", revision, system)
    assert found["run"] == trigger.pipeline_run
    assert {stage["state"] for stage in found["stages"]} == {"succeeded"}
    assert found["link"].startswith("https://")
    assert set(found["results"]) == lab.RESULTS[system]
    assert given["ti"].pushed == {"pipeline_url": found["link"]}
    json.dumps(found)
    # A retry after a crash takes the run that there was; a task that was cleared runs it again.
    assert deferred(task, given).pipeline_run == trigger.pipeline_run
    assert lab.count(system, "good") == before + 1
    cleared = context(given["dag_run"].run_id, max_tries=1, try_number=2)
    assert deferred(task, cleared).pipeline_run != trigger.pipeline_run
    assert lab.count(system, "good") == before + 2


@pytest.mark.parametrize("system", ALL)
def test_a_failure_is_explained_without_secrets(
    system: str, pipelines: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    task, given = operator(system, "fails"), context()
    ended = event(deferred(task, given))
    with pytest.raises(AirflowFailException) as failed:
        task.resume(given, ended)
    said = str(failed.value)
    assert f"run {ended['run']} of {system} failed: " in said
    assert "error: deployment page exceeded its" in said
    assert "clear the task to run it again" in said
    output = "".join(capsys.readouterr())
    assert "error: deployment page exceeded its" in output
    assert lab.SECRET not in output + said + json.dumps(ended)
    with pytest.raises(AirflowException) as retried:
        operator(system, "fails", retry_failed=True).resume(given, ended)
    assert not isinstance(retried.value, AirflowFailException)


@pytest.mark.parametrize("system", FEW)
def test_the_time_limit_cancels_the_run(system: str, pipelines: Sandbox) -> None:
    task, given = operator(system, "hangs"), context()
    trigger = deferred(task, given)
    wait_until(system, "hangs", trigger.pipeline_run, "running")
    trigger.deadline = time.time()
    ended = event(trigger)
    assert (ended["standing"]["state"], ended["standing"]["reason"]) == ("failed", OVERDUE)
    assert state(system, "hangs", trigger.pipeline_run) == "cancelled"
    with pytest.raises(AirflowFailException, match=OVERDUE):
        task.resume(given, ended)


@pytest.mark.parametrize("system", FEW)
def test_a_person_who_ends_the_task_ends_the_run(system: str, pipelines: Sandbox) -> None:
    task, given = operator(system, "hangs"), context()
    trigger = deferred(task, given)
    asyncio.run(trigger.on_kill())
    wait_until(system, "hangs", trigger.pipeline_run, "cancelled")
    with pytest.raises(AirflowFailException, match=f"run {trigger.pipeline_run} of {system} cancelled"):
        task.resume(given, event(trigger))
    asyncio.run(trigger.on_kill())  # once more is no error


@pytest.mark.parametrize("system", ALL)
def test_a_task_killed_before_it_noted_the_run_starts_no_other(
    system: str, pipelines: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, given = operator(system, "hangs"), context()
    before = lab.count(system, "hangs")
    kept = Begun._write

    def killed(self: Begun, note: Any) -> Any:
        if note.run:
            raise KeyboardInterrupt
        return kept(self, note)

    with monkeypatch.context() as patched:
        patched.setattr(Begun, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            task.execute(given)
    trigger = deferred(task, given)
    assert lab.count(system, "hangs") == before + 1
    # Also where the task is cleared while its run goes on.
    cleared = context(given["dag_run"].run_id, max_tries=3, try_number=2)
    assert deferred(task, cleared).pipeline_run == trigger.pipeline_run
    asyncio.run(trigger.on_kill())


@pytest.mark.campaign
@pytest.mark.parametrize("system", ALL)
def test_a_lost_answer_starts_no_other(system: str, pipelines: Sandbox) -> None:
    task, given = operator(system, "hangs"), context()
    before = lab.count(system, "hangs")
    lab.fault(pipelines, system, START[system], 503, done=True, **_unavailable(system))
    trigger = _tried_twice(system, task, given, "503")
    assert lab.count(system, "hangs") == before + 1
    asyncio.run(trigger.on_kill())


def _tried_twice(system: str, task: PipelineOperator, given: Any, said: str) -> PipelineTrigger:
    """botocore asks again by itself, with the same token; the others leave it to the next try."""
    if lab.PORTS.get(system) == "aws":
        return deferred(task, given)
    with pytest.raises(AirflowException, match=said) as failed:
        task.execute(given)
    assert not isinstance(failed.value, AirflowFailException)
    return deferred(task, given)


def _unavailable(system: str) -> dict[str, Any]:
    return {"code": "ServiceUnavailable"} if lab.PORTS.get(system) == "aws" else {"method": "POST"}


@pytest.mark.parametrize("system", FEW)
def test_throttling_is_waited_for(
    system: str, pipelines: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("triplane.pipelines.systems.GOOGLE_PAUSE", 0.05)
    task, given = operator(system, "good"), context()
    before = lab.count(system, "good")
    lab.fault(pipelines, system, START[system], 429)
    trigger = deferred(task, given)
    assert lab.count(system, "good") == before + 1
    lab.fault(pipelines, system, STATUS[system], 429, times=4)
    assert event(trigger)["standing"]["state"] == "succeeded"


@pytest.mark.parametrize("system", ALL)
def test_credentials_that_have_ended_are_told_and_may_be_renewed(
    system: str, pipelines: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, said = CREDENTIALS[system]
    good = json.loads(pipelines.environ()[name])
    with monkeypatch.context() as patched:
        patched.setenv(name, json.dumps(_ended(good)))
        with pytest.raises(AirflowFailException, match=said) as refused:
            operator(system, "good").execute(context())
    assert str(refused.value).startswith(f"{system}: ")
    task, given = operator(system, "good"), context()
    trigger = deferred(task, given)
    with monkeypatch.context() as patched:
        patched.setenv(name, json.dumps(_ended(good)))
        lost = event(trigger)
        assert said in lost["error"]
        with pytest.raises(AirflowException, match=f"a retry goes on waiting for run {trigger.pipeline_run}"):
            task.resume(given, lost)
    again_ = deferred(task, given)
    assert again_.pipeline_run == trigger.pipeline_run
    assert event(again_)["standing"]["state"] == "succeeded"


def _ended(connection: dict[str, Any]) -> dict[str, Any]:
    """The same connection with a secret that is not accepted any more."""
    if connection["conn_type"] == "aws":
        return {**connection, "login": "AKIAENDEDENDEDENDED0"}
    if connection["conn_type"] != "google_cloud_platform":
        return {**connection, "password": "ended-ended-ended"}
    from cryptography.hazmat.primitives.asymmetric import rsa

    from triplane.sandbox.gcp.part import service_account

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        **connection,
        "extra": {**connection["extra"], "keyfile_dict": json.dumps(service_account(key, "0" * 40))},
    }


def test_a_killed_worker_leaves_a_run_that_the_retry_finds(pipelines: Sandbox) -> None:
    before = lab.count("gitlab", "hangs")
    code = (
        "from types import SimpleNamespace as S\n"
        "from triplane.pipelines.operators import PipelineOperator as P\n"
        "ti = S(max_tries=0, map_index=-1, xcom_push=lambda **kw: print('waits', flush=True))\n"
        f"P(task_id='run', system='gitlab', options={lab.options('gitlab', 'hangs')!r}, inputs={{'environment': 'test'}},"
        " deferrable=False, interval=0.1).execute({'ti': ti, 'dag_run': S(dag_id='deploy', run_id='killed')})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        while worker.stdout.readline().strip() != "waits":
            assert worker.poll() is None
        worker.send_signal(signal.SIGKILL)
    given = context("killed", try_number=2)
    trigger = deferred(operator("gitlab", "hangs"), given)
    assert lab.count("gitlab", "hangs") == before + 1
    asyncio.run(trigger.on_kill())


def test_on_kill_cancels_a_run_that_the_worker_waits_for(pipelines: Sandbox) -> None:
    task, given = operator("github_actions", "hangs", deferrable=False), context()

    def kill() -> None:
        while "pipeline_url" not in given["ti"].pushed:
            time.sleep(0.05)
        task.on_kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(AirflowException, match="stopped from outside"):
        task.execute(given)
    killer.join()
    link = given["ti"].pushed["pipeline_url"]
    assert state("github_actions", "hangs", link.rpartition("/")[2]) == "cancelled"


@pytest.mark.parametrize("system", ASKING)
def test_an_approval_is_answered_by_a_decision_alone(system: str, pipelines: Sandbox) -> None:
    name = lab.APPROVALS[system]
    task, given = operator(system, "asks", until="approval"), context()
    asked = task.resume(given, event(deferred(task, given)))
    assert (asked["state"], [each["name"] for each in asked["waits"]]) == ("running", [name])
    for none in (None, "", "None", "yes"):
        with pytest.raises(AirflowFailException, match="is no decision"):
            answer(system, asked["run"], name, none).execute(context())
    with pytest.raises(AirflowFailException, match="does not wait for other"):
        answer(system, asked["run"], "other", "approve").execute(context())
    waits = connect(system, lab.options(system, "asks")).standing(asked["run"]).waits
    assert [each.name for each in waits] == [name]
    approval, later = answer(system, asked["run"], name, "approve"), context()
    found = approval.resume(later, event(deferred(approval, later)))
    assert (found["state"], found["run"]) == ("succeeded", asked["run"])


@pytest.mark.parametrize("system", FEW_ASKING)
def test_a_refusal_ends_the_run(system: str, pipelines: Sandbox) -> None:
    name = lab.APPROVALS[system]
    task, given = operator(system, "asks", until="approval"), context()
    asked = task.resume(given, event(deferred(task, given)))
    refusal, later = answer(system, asked["run"], name, "reject"), context()
    with pytest.raises(AirflowFailException, match=f"run {asked['run']} of {system} (failed|cancelled)"):
        refusal.resume(later, event(deferred(refusal, later)))


@pytest.mark.parametrize("system", FEW_ASKING)
def test_nothing_is_approved_by_default(
    system: str, pipelines: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    task, given = operator(system, "asks"), context()
    trigger = deferred(task, given)
    trigger.deadline = time.time() + 0.6
    assert event(trigger)["standing"]["reason"] == OVERDUE
    assert f"It waits for approval: {lab.APPROVALS[system]}" in "".join(capsys.readouterr())
    with pytest.raises(
        AirflowFailException, match="answers approvals with the authorization of a change set"
    ):
        operator(system, "asks", approves=[lab.APPROVALS[system]]).execute(context())


def answer(system: str, run: str, approval: str, decision: Any) -> PipelineApprovalOperator:
    return PipelineApprovalOperator(
        task_id="answer",
        system=system,
        options=lab.options(system, "asks"),
        run=run,
        approval=approval,
        decision=decision,
        interval=0.05,
    )


def test_a_release_is_promoted_and_a_target_rolled_back(pipelines: Sandbox) -> None:
    first = _rolled_out(revision="one")
    second = _rolled_out(revision="two")
    release = second["run"].partition("/")[0]
    promoted = operator("cloud_deploy", "good", until="approval", inputs={})
    promoted.options = {**promoted.options, "release": release, "target": "page-prod"}
    given = context()
    asked = promoted.resume(given, event(deferred(promoted, given)))
    assert asked["run"].startswith(release)
    assert asked["waits"][0]["name"] == "page-prod"
    back = operator("cloud_deploy", "good", inputs={})
    back.options = {**back.options, "rollback": True, "target": "page-test"}
    given = context()
    found = back.resume(given, event(deferred(back, given)))
    assert (found["revision"], found["state"]) == ("one", "succeeded")
    assert found["run"].partition("/")[0] == first["run"].partition("/")[0]
    # A retry goes back once, not further.
    assert deferred(back, given).pipeline_run == found["run"]


def _rolled_out(revision: str) -> dict[str, Any]:
    task, given = operator("cloud_deploy", "good", revision=revision), context()
    return task.resume(given, event(deferred(task, given)))


def test_what_the_systems_refuse_is_told(pipelines: Sandbox) -> None:
    for system, change, said in (
        ("codebuild", {"project": "none"}, "none"),
        ("codepipeline", {"pipeline": "none"}, "none"),
        ("cloud_deploy", {"pipeline": "none"}, "404"),
        ("azure_pipelines", {"pipeline": "none"}, "there are 0 pipelines called none"),
        ("github_actions", {"ref": "gone"}, "No ref found for: gone"),
        ("gitlab", {"ref": "gone"}, "Reference not found"),
        ("gitlab", {"prject": "x"}, "prject"),
        ("codepipeline", {"source": "None"}, "has no source None"),
    ):
        task = operator(system, "good", revision="x" if "source" in change else "")
        task.options = {**task.options, **change}
        with pytest.raises(AirflowFailException, match=said):
            task.execute(context())
    for system in ("codepipeline", "azure_pipelines", "github_actions"):
        with pytest.raises(AirflowFailException, match="colour"):
            operator(system, "good", inputs={"colour": "red"}).execute(context())
    for system in ("github_actions", "gitlab"):
        with pytest.raises(AirflowFailException, match=f"main is at {COMMIT}, not at ffff"):
            operator(system, "good", revision="ffff").execute(context())


def test_a_workflow_that_does_not_take_our_token_is_not_guessed(
    pipelines: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, given = operator("github_actions", "good"), context()
    task.options = {**task.options, "workflow": "plain.yml", "token_input": ""}
    kept = Begun._write
    with monkeypatch.context() as patched:
        patched.setattr(Begun, "_write", lambda self, note: note if note.run else kept(self, note))
        first = deferred(task, given)
    with pytest.raises(AirflowFailException, match=f"run {first.pipeline_run} may be its own"):
        task.execute(given)
    cleared = context(given["dag_run"].run_id, max_tries=1, try_number=2)
    assert deferred(task, cleared).pipeline_run != first.pipeline_run


def test_a_check_of_azure_that_refuses_is_the_reason(pipelines: Sandbox) -> None:
    task, given = operator("azure_pipelines", "good"), context()
    task.options = {**task.options, "pipeline": "refused-fails"}
    with pytest.raises(AirflowFailException, match="failed: failed deploy: check Branch control failed"):
        task.resume(given, event(deferred(task, given)))


def test_a_hundred_runs_are_waited_for_in_one_process(pipelines: Sandbox) -> None:
    """In one event loop, as in a triggerer; `make bench` says how well it keeps to their interval."""
    service = connect("gitlab", lab.options("gitlab", "good"))
    runs = [service.start(Wanted(token=f"hundred{number}")) for number in range(100)]
    deadline = time.time() + 60

    async def one(run: str) -> dict[str, Any]:
        trigger = PipelineTrigger(
            system="gitlab", options=lab.options("gitlab", "good"), run=run, deadline=deadline, interval=1
        )
        return dict((await anext(aiter(trigger.run()))).payload)

    async def all_of_them() -> list[dict[str, Any]]:
        return await asyncio.gather(*map(one, runs))

    ended = asyncio.run(all_of_them())
    assert [each["run"] for each in ended] == runs
    assert {each["standing"]["state"] for each in ended} == {"succeeded"}


SITUATIONS = {
    "success": test_a_run_is_started_awaited_and_told,
    "failure with its explanation": test_a_failure_is_explained_without_secrets,
    "timeout": test_the_time_limit_cancels_the_run,
    "cancel": test_a_person_who_ends_the_task_ends_the_run,
    "kill and re-attach": test_a_task_killed_before_it_noted_the_run_starts_no_other,
    "lost answer": test_a_lost_answer_starts_no_other,
    "throttling": test_throttling_is_waited_for,
    "expired credentials": test_credentials_that_have_ended_are_told_and_may_be_renewed,
    "approval by our decision alone": test_an_approval_is_answered_by_a_decision_alone,
    "refusal": test_a_refusal_ends_the_run,
    "approval left alone": test_nothing_is_approved_by_default,
}
"""What every system is tried in; one that asks for no approvals is not in the last three."""


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_system_is_tried_in_every_situation(situation: str) -> None:
    (marked,) = [mark for mark in SITUATIONS[situation].pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    tried = {getattr(each, "values", (each,))[0] for each in marked.args[1]}
    asks = situation.startswith(("approval", "refusal"))
    assert tried == set(lab.APPROVALS if asks else SYSTEMS)
    assert set(SYSTEMS) - set(lab.APPROVALS) == {"codebuild"}
