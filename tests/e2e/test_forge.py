"""Statuses and comments at GitHub and GitLab, over HTTP with the contract that both document."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from cryptography.fernet import Fernet

from tests.forges import FakeGitHub, FakeGitLab
from tests.loopback import Answer
from triplane import settings
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.errors import TransientError
from triplane.forge.comment import marker
from triplane.forge.operators import CommitStatusOperator, PullRequestCommentOperator
from triplane.sandbox.forges.part import rsa_pair

COMMIT = "c" * 40
TOKEN = "ghp_" + "A1b2" * 9
MARK = marker("shop", "prod")
SECRET = "Pl4nted-forge-90ad1"
POLICY = {
    "votes": {"low": 1, "medium": 1, "high": 2, "critical": 2},
    "expires": 3600.0,
    "plan_max_age": 3600.0,
    "requester_may_approve": False,
    "approvers": [],
}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")
    connect(monkeypatch, password=TOKEN)


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FORGE_UNDER_TEST", json.dumps({"conn_type": "generic", **fields}))


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub(TOKEN, commits=(COMMIT,), pulls=(7,)).serving() as forge:
        yield forge


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab(TOKEN, commits=(COMMIT,), pulls=(7,)).serving() as forge:
        yield forge


def source(forge: FakeGitHub | FakeGitLab, repository: str = "") -> dict[str, str]:
    kind = "github" if isinstance(forge, FakeGitHub) else "gitlab"
    repository = repository or "acme/shop"
    return {"kind": kind, "repository": repository, "connection": "forge_under_test", "url": forge.api}


class Instance:
    """Of a task's last try but for ``tries`` more."""

    def __init__(self, states: dict[str, str] | None = None, rows: Any = None, tries: int = 0) -> None:
        self.states, self.rows = states or {}, rows
        self.try_number, self.max_tries = 1, tries

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        return dict.fromkeys(run_ids, self.states)

    def xcom_pull(self, **place: Any) -> Any:
        return self.rows


def context(instance: Instance | None = None) -> Any:
    run = SimpleNamespace(dag_id="deploy", run_id="manual__1+00:00")
    return {"dag_run": run, "task_instance": instance or Instance()}


def status(forge: FakeGitHub | FakeGitLab, **options: Any) -> CommitStatusOperator:
    arguments = {"source": source(forge), "commit": COMMIT, "context": "triplane/prod", **options}
    return CommitStatusOperator(task_id="status", **arguments)


def change_set(cloud: str, summary: str = "1 to add", lines: tuple[str, ...] = ("+ a",)) -> str:
    change = ComponentChange(
        address=f"{cloud}/stack/network", action="create", risk=Risk.HIGH, summary=summary, lines=lines
    )
    return settings.put_change_set(
        ChangeSet(
            platform="shop",
            environment="prod",
            cloud=cloud,
            asked="main",
            revision=COMMIT,
            source="sha256:" + "0" * 64,
            spec="sha256:" + "1" * 64,
            policy=POLICY,
            planned_at="2026-11-27T00:00:00+00:00",
            changes=(change,),
        )
    )


def comment(forge: FakeGitHub | FakeGitLab, digests: dict[str, str], **options: Any) -> str:
    arguments = {"source": source(forge), "pull_request": 7, "change_sets": digests, **options}
    operator = PullRequestCommentOperator(task_id="comment", **arguments)
    return str(operator.execute(context()))


def test_a_commit_of_github_gets_its_statuses(github: FakeGitHub) -> None:
    status(github).execute(context())
    rows = [{"state": "deployed"}, {"state": "failed"}]
    states = {"report": "failed"}
    status(github, outcome_of="report").execute(context(Instance(states, rows)))
    status(github, state="success", description="ü" * 300).execute(context())
    first, second, third = github.reviews.statuses
    assert (first["state"], first["context"]) == ("pending", "triplane/prod")
    assert first["target_url"] == "https://airflow.example.com/dags/deploy/runs/manual__1%2B00%3A00"
    assert (second["state"], second["description"]) == ("failure", "1 of 2 components are as approved")
    assert len(third["description"]) == 140


@pytest.mark.parametrize(
    ("report", "state"),
    [("success", "success"), ("failed", "failure"), ("upstream_failed", "error"), ("", "error")],
)
def test_the_outcome_of_a_run(report: str, state: str, github: FakeGitHub) -> None:
    status(github, outcome_of="report").execute(context(Instance({"report": report})))
    assert github.reviews.statuses[0]["state"] == state


def test_a_commit_of_gitlab_gets_its_statuses(gitlab: FakeGitLab) -> None:
    status(gitlab).execute(context())
    status(gitlab).execute(context())
    status(gitlab, outcome_of="report").execute(context(Instance({"report": "success"})))
    assert [item["state"] for item in gitlab.reviews.statuses] == ["running", "success"]
    assert gitlab.reviews.statuses[0]["name"] == "triplane/prod"


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_one_comment_is_written_over(kind: str, request: pytest.FixtureRequest) -> None:
    forge = request.getfixturevalue(kind)
    forge.reviews.add(7, f"I quote: {MARK}")
    settings.register_secret(SECRET)
    first = comment(forge, {"aws": change_set("aws"), "gcp": change_set("gcp")})
    again = comment(forge, {"aws": change_set("aws", f"2 to add, token={SECRET}")})
    assert first == again
    _, ours = forge.reviews.comments[7]
    assert ours["body"].startswith(f"{MARK}\n### Triplane: shop in prod: 1 changes, risk high")
    assert "2 to add" in ours["body"]
    assert "required_actions): 2 approval(s)" in ours["body"].replace("**", "")
    assert SECRET not in ours["body"]


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_the_comment_is_found_by_its_mark_among_many(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forge = request.getfixturevalue(kind)
    forge.reviews.page_size = 10
    for number in range(25):
        forge.reviews.add(7, f"comment {number}")
    first = comment(forge, {"aws": change_set("aws")})
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/another")
    assert comment(forge, {"aws": change_set("aws")}) == first
    assert len(forge.reviews.comments[7]) == 26


def test_the_encoding_of_a_short_answer_is_not_guessed(
    github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are no comments yet: `[]`."""

    def guessed(self: Any) -> str:
        raise AssertionError("this takes seconds of processor time")

    monkeypatch.setattr("requests.models.Response.apparent_encoding", property(guessed))
    assert comment(github, {"aws": change_set("aws")})


def test_a_comment_that_was_deleted_is_written_again(github: FakeGitHub) -> None:
    first = comment(github, {"aws": change_set("aws")})
    github.reviews.comments[7].clear()
    second = comment(github, {"aws": change_set("aws")})
    assert (len(github.reviews.comments[7]), first != second) == (1, True)


def test_somebody_elses_comment_with_our_mark_is_left_alone(github: FakeGitHub) -> None:
    theirs = github.reviews.add(7, f"{MARK}\nmine")
    github.reviews.foreign.add(theirs["id"])
    comment(github, {"aws": change_set("aws")})
    assert theirs["body"] == f"{MARK}\nmine"
    assert len(github.reviews.comments[7]) == 2


def test_a_large_change_set_fits(github: FakeGitHub) -> None:
    lines = tuple(f"+ resource_{number} @all ``` | </details>" for number in range(5000))
    comment(
        github, {cloud: change_set(cloud, "x|<b>@team" * 100, lines) for cloud in ("aws", "gcp", "azure")}
    )
    (ours,) = github.reviews.comments[7]
    assert len(ours["body"]) < 65_536
    assert "and 4800 more" in ours["body"]
    assert "@team" not in ours["body"]
    assert ours["body"].count("\n<details>") == ours["body"].count("\n</details>")
    assert not re.search(r"^\+ .*```", ours["body"], re.M)


def test_a_github_app_signs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = rsa_pair()
    with FakeGitHub(app="4711", public_key=public, commits=(COMMIT,), pulls=(7,)).serving() as forge:
        for password in (private, private.replace("\n", "\\n")):
            connect(monkeypatch, password=password, extra={"app_id": 4711})
            status(forge).execute(context())
        connect(monkeypatch, password=private, extra={"app_id": "4711", "installation_id": 77})
        status(forge).execute(context())
        assert len(forge.reviews.statuses) == 3
        connect(monkeypatch, password="not a key", extra={"app_id": 4711})
        with pytest.raises(AirflowFailException, match="not the private key of a GitHub App"):
            status(forge).execute(context())


def test_what_the_forge_refuses(github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowFailException, match="No commit found"):
        status(github, commit="d" * 40).execute(context())
    with pytest.raises(AirflowFailException, match="not a state"):
        status(github, state="running").execute(context())
    with pytest.raises(AirflowFailException, match="404 Not Found; correct the repository"):
        status(github, source=source(github, "acme/other")).execute(context())
    with pytest.raises(AirflowFailException, match="'main' is not the id of a commit"):
        status(github, commit="main").execute(context())
    connect(monkeypatch, password="ghp_wrong")
    with pytest.raises(AirflowFailException, match="401 Bad credentials; renew the token"):
        status(github).execute(context())
    with pytest.raises(AirflowSkipException, match="401 Bad credentials"):
        status(github, soft_fail=True).execute(context())
    assert github.reviews.statuses == []


@pytest.mark.parametrize(
    "fault",
    [
        Answer(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "0"}),
        Answer(429, {"message": "Too many requests"}, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        Answer(
            403,
            {"message": "API rate limit exceeded"},
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"},
        ),
    ],
)
def test_a_short_pause_is_waited_for(fault: Answer, github: FakeGitHub) -> None:
    github.faults = [fault]
    status(github).execute(context())
    assert len(github.reviews.statuses) == 1


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Answer(403, {"message": "You have exceeded a secondary rate limit"}), 60),
        (Answer(429, {"message": "slow down"}, {"Retry-After": "90"}), 90),
    ],
)
def test_a_long_pause_holds_no_slot(fault: Answer, seconds: int, github: FakeGitHub) -> None:
    github.faults = [fault]
    operator = status(github)
    with pytest.raises(TaskDeferred) as parked:
        operator.execute(context())
    assert parked.value.method_name == "execute_complete"
    assert (parked.value.kwargs or {})["left"] == 600 - seconds
    operator.execute_complete(context(), left=600.0 - seconds)
    assert len(github.reviews.statuses) == 1


def test_a_pause_that_is_too_long_ends_it(github: FakeGitHub) -> None:
    limit = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 3000)}
    github.faults = [Answer(403, {"message": "API rate limit exceeded"}, limit)] * 2
    with pytest.raises(AirflowSkipException, match="asks for a pause of"):
        status(github, soft_fail=True).execute(context())
    with pytest.raises(TransientError):
        status(github, soft_fail=True).execute(context(Instance(tries=2)))


def test_a_post_that_may_have_been_done_is_left_to_the_retry(github: FakeGitHub) -> None:
    github.faults = [Answer(502, "<html>")]
    with pytest.raises(TransientError):
        status(github, soft_fail=True).execute(context(Instance(tries=2)))
    assert len(github.requests) == 1


def test_a_run_about_no_pull_request_is_skipped(github: FakeGitHub) -> None:
    for number in (None, "None", ""):
        with pytest.raises(AirflowSkipException):
            comment(github, {"aws": change_set("aws")}, pull_request=number)
    with pytest.raises(AirflowFailException, match="not the number"):
        comment(github, {"aws": change_set("aws")}, pull_request="7/../8")
    assert github.requests == []
