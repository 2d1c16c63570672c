"""What the systems say, in the words that all share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from triplane.core.errors import InputError, TransientError
from triplane.forge.rest import Client
from triplane.pipelines import azure_pipelines, cloud_deploy, codepipeline, gitlab
from triplane.pipelines.github_actions import GitHubActions
from triplane.pipelines.pipeline import MayRun, Stage, Standing, Wanted, only
from triplane.pipelines.systems import connect, translated

WANTED = Wanted(token="t" * 32)


def action(stage: str, name: str, status: str, message: str = "") -> dict[str, Any]:
    output = {"executionResult": {"errorDetails": {"message": message}}} if message else {}
    return {"stageName": stage, "actionName": name, "status": status, "output": output}


def test_a_stage_of_codepipeline_is_as_good_as_its_worst_action() -> None:
    actions = [
        action("Build", "a", "Failed", "no such file"),
        action("Build", "a", "Succeeded"),  # run again
        action("Build", "b", "Succeeded"),
        action("Deploy", "a", "Succeeded"),
        action("Deploy", "b", "Failed", "exit status 3"),
        action("Deploy", "c", "InProgress"),
    ]
    assert list(codepipeline._stages(actions)) == [
        Stage(name="Build", state="succeeded"),
        Stage(name="Deploy", state="failed", reason="exit status 3"),
    ]


def job(stage: str, status: str, *, allowed: bool = False) -> dict[str, Any]:
    return {"id": 1, "name": f"{stage}-{status}", "stage": stage, "status": status, "allow_failure": allowed}


def test_jobs_of_gitlab_that_may_fail_fail_no_stage() -> None:
    jobs = [
        job("lint", "failed", allowed=True),
        job("test", "failed"),
        job("test", "success"),
        job("deploy", "created"),
    ]
    assert [(each.name, each.state) for each in gitlab._stages(jobs)] == [
        ("lint", "succeeded"),
        ("test", "failed"),
        ("deploy", "pending"),
    ]


def test_only_a_manual_job_that_blocks_is_waited_for() -> None:
    jobs = [job("deploy", "manual"), job("docs", "manual", allowed=True)]
    assert [each.name for each in gitlab._waits(jobs)] == ["deploy-manual"]


def test_an_approval_of_azure_is_named_after_the_stage_that_it_holds_up() -> None:
    records = [
        {"id": "s", "parentId": None, "type": "Stage", "name": "prod", "state": "pending"},
        {"id": "c", "parentId": "s", "type": "Checkpoint", "name": "Checkpoint", "state": "inProgress"},
        {"id": "a", "parentId": "c", "type": "Checkpoint.Approval", "name": "x", "state": "inProgress"},
        {"id": "b", "parentId": "c", "type": "Checkpoint.Approval", "name": "x", "state": "completed"},
    ]
    assert [(each.name, each.id) for each in azure_pipelines._waits(records)] == [("prod", "a")]
    assert list(azure_pipelines._stages(records)) == [Stage(name="prod", state="waiting", reason="for x")]


def test_a_check_of_azure_is_told_and_is_no_approval() -> None:
    records: list[dict[str, Any]] = [
        {"id": "s", "parentId": None, "type": "Stage", "name": "prod", "state": "pending"},
        {"id": "c", "parentId": "s", "type": "Checkpoint", "name": "Checkpoint", "state": "inProgress"},
        {
            "id": "t",
            "parentId": "c",
            "type": "Checkpoint.TaskCheck",
            "name": "Office hours",
            "state": "inProgress",
        },
    ]
    assert list(azure_pipelines._waits(records)) == []
    assert list(azure_pipelines._stages(records)) == [
        Stage(name="prod", state="waiting", reason="for Office hours")
    ]
    for record in records:
        record |= {"state": "completed", "result": "failed"}
    assert list(azure_pipelines._stages(records)) == [
        Stage(name="prod", state="failed", reason="check Office hours failed")
    ]


def test_a_canary_waits_until_somebody_advances_it() -> None:
    phases = [{"id": "canary-25", "state": "SUCCEEDED"}, {"id": "stable", "state": "PENDING"}]
    rollout = {"state": "IN_PROGRESS", "targetId": "prod", "phases": phases}
    assert [(each.name, each.id) for each in cloud_deploy._waits(rollout)] == [
        ("prod/stable", "advance/stable")
    ]
    phases[0]["state"] = "IN_PROGRESS"
    assert list(cloud_deploy._waits(rollout)) == []


def test_a_standing_goes_through_json() -> None:
    standing = Standing(
        state="failed", reason="x", stages=(Stage(name="a", state="failed"),), results={"r": "u"}
    )
    assert Standing.from_json(standing.to_json()) == standing


def test_one_of_several_is_not_guessed() -> None:
    assert only([], "it") is None
    assert only(["1"], "it") == "1"
    for found, sure in ((["1", "2"], True), (["1"], False)):
        with pytest.raises(MayRun, match="may be its own"):
            only(found, "it", sure=sure)


class Answers:
    """A session that answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def request(self, verb: str, url: str, **_: Any) -> Any:
        import json

        import requests

        self.asked.append(f"{verb} {url}")
        status, body = self.answers.pop(0)
        answer = requests.Response()
        answer.status_code = status
        answer._content = b"" if body is None else json.dumps(body).encode()
        return answer


def passes(seconds: float) -> None:
    """Nobody waits in a test."""


def github(*answers: tuple[int, Any], token: str = "triplane") -> GitHubActions:
    client = Client("https://ghe.example/api/v3", dict)
    client._session = Answers(*answers)  # type: ignore[assignment]
    where = {"repository": "a/b", "workflow": "w.yml", "ref": "main", "url": "https://ghe.example/api/v3"}
    return GitHubActions(client, token_input=token, sleep=passes, **where)


def runs(*titles: str) -> tuple[int, Any]:
    return 200, {"workflow_runs": [{"id": n, "display_title": title} for n, title in enumerate(titles, 1)]}


def test_a_server_that_does_not_name_the_run_is_asked_for_it() -> None:
    service = github((204, None), runs("Deploy other", f"Deploy {WANTED.token}"))
    assert service.start(WANTED) == "2"
    assert service.link("2") == "https://ghe.example/a/b/actions/runs/2"
    late = github((204, None), runs("Deploy other"), runs(), runs(f"Deploy {WANTED.token}"))
    assert late.start(WANTED) == "1"


def test_a_run_of_github_may_show_late() -> None:
    now = datetime.now(UTC)
    assert github(runs(), runs(), runs(WANTED.token)).find(WANTED, now) == "1"
    assert github(runs()).find(WANTED, now - timedelta(minutes=5)) is None
    with pytest.raises(MayRun):
        github(runs("anybody's"), token="").find(WANTED, now)


def test_options_that_are_wrong_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_DEFAULT", '{"conn_type": "http", "password": "token-token"}')
    with pytest.raises(InputError, match=r"use one of codebuild, codepipeline, .*gitlab"):
        connect("jenkins", {})
    with pytest.raises(InputError, match=r"gitlab: .*'ref'"):
        connect("gitlab", {"project": "a/b"})
    with pytest.raises(InputError, match=r"gitlab: .*'reff'"):
        connect("gitlab", {"project": "a/b", "ref": "main", "reff": "x"})


def test_an_error_names_the_system_once() -> None:
    with pytest.raises(TransientError, match=r"^gitlab: later$"), translated("gitlab"), translated("gitlab"):
        raise TransientError("later")
    with pytest.raises(ZeroDivisionError), translated("gitlab"):
        raise ZeroDivisionError
