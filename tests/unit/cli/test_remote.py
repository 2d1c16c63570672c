"""The commands that talk to Airflow, against an API that is held to Airflow's own description of it."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.airflow_contract import PASSWORD, FakeAirflow

from triplane.cli import api as api_module
from triplane.cli import commands, questions, start
from triplane.cli.api import Api, Login
from triplane.cli.exits import DeniedError, UnreachableError
from triplane.cli.follow import follow
from triplane.cli.main import main, parser
from triplane.cli.observe import observe
from triplane.cli.remote import ACTIONS
from triplane.cli.text import clean
from triplane.cli.view import Frame, Lines, Table, screen
from triplane.core.asked import SETTLE_SECONDS
from triplane.core.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:" + "a" * 64
RUN = "ci-staging-deploy-0123456789ab"


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> FakeAirflow:
    fake = FakeAirflow()
    monkeypatch.setattr(api_module.httpx, "Client", _client(fake, httpx.Client))
    monkeypatch.setattr("triplane.cli.follow.POLL", 0.0)
    for name in (*start.COMMIT_VARIABLES, "TRIPLANE_TOKEN", "AIRFLOW_URL", "TRIPLANE_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRIPLANE_SERVER", "https://airflow.test")
    monkeypatch.setenv("TRIPLANE_USER", "bob")
    monkeypatch.setenv("TRIPLANE_PASSWORD", PASSWORD)
    return fake


def _client(fake: FakeAirflow, real: Callable[..., httpx.Client]) -> Callable[..., httpx.Client]:
    return lambda **options: real(**{**options, "transport": fake.transport})


class Time:
    """A clock that sleeping moves."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def client(
    fake: FakeAirflow, time: Time | None = None, said: list[str] | None = None, token: str = ""
) -> Api:
    time = time or Time()
    login = Login(token) if token else Login("", "bob", PASSWORD)
    say: Callable[[str], None] = (said if said is not None else []).append
    return Api(
        "https://airflow.test/", login, say=say, transport=fake.transport, sleep=time.sleep, clock=time.clock
    )


def deployment(fake: FakeAirflow, state: str = "running") -> None:
    """A parent run with its children: AWS is done, Google runs, Azure failed."""
    fake.run("deploy", RUN, state, environment="staging", action="deploy", revision=COMMIT)
    fake.task("deploy", RUN, "freeze", "success")
    for cloud, apply, ended in (
        ("aws", "success", "success"),
        ("gcp", "running", "deferred"),
        ("azure", "failed", "failed"),
    ):
        fake.task("deploy", RUN, f"plan.{cloud}", "success")
        fake.task("deploy", RUN, f"apply.{cloud}", ended)
        child = f"{RUN}.{cloud}"
        fake.task(f"deploy_{cloud}", f"{child}.plan", "infrastructure.main.plan", "success")
        fake.task(f"deploy_{cloud}", f"{child}.apply", "infrastructure.main.plan", "skipped")
        fake.task(f"deploy_{cloud}", f"{child}.apply", "infrastructure.main.apply", apply)
    fake.task("deploy", RUN, "report", "failed" if state == "failed" else None)
    fake.log_lines[f"{RUN}.azure.apply", "infrastructure.main.apply"] = [
        {"event": "::group::x", "timestamp": "2026-11-27T01:00:00Z", "level": "info"},
        {"event": "Applying \x1b[31mred\x1b[0m", "timestamp": "2026-11-27T01:00:00Z", "level": "info"},
        {
            "event": "Task failed",
            "timestamp": "2026-11-27T01:00:00Z",
            "level": "error",
            "error_detail": [
                {"exc_type": "AirflowFailException", "exc_value": "no quota\npassword=hunter2secret"}
            ],
        },
    ]


def question(
    fake: FakeAirflow, *, cloud_holds: tuple[str, ...] = ("aws", "gcp"), index: int = 0
) -> dict[str, Any]:
    task = fake.task("deploy", RUN, "approval", "awaiting_input", index=index)
    form: dict[str, Any] = {
        "digest": {"value": DIGEST, "schema": {"const": DIGEST, "title": "Digest of what you approve"}},
        "reason": {"value": "", "schema": {"type": "string", "title": "Reason"}},
        **{f"hold_{cloud}": {"value": False, "schema": {"type": "boolean"}} for cloud in cloud_holds},
    }
    return fake.question(task, "shop to staging", **form)


# What is asked for, and which run that is


def test_the_same_commit_twice_is_the_same_run_and_again_is_the_next_one(airflow: FakeAirflow) -> None:
    request = start.Request(
        "deploy", "deploy", "staging", COMMIT, {"environment": "staging", "action": "deploy"}
    )
    api = client(airflow)
    assert start.start(api, request) == ("deploy", RUN, False)
    assert start.start(api, request) == ("deploy", RUN, True)
    assert start.start(api, request, again=True) == ("deploy", f"{RUN}-again2", False)
    assert start.start(api, request) == ("deploy", f"{RUN}-again2", True)
    assert start.start(api, request, again=True) == ("deploy", f"{RUN}-again3", False)
    assert len(airflow.runs) == 3


def test_a_run_that_was_asked_for_otherwise_is_not_taken_for_the_same(airflow: FakeAirflow) -> None:
    airflow.run("deploy", RUN, environment="staging", action="deploy", emergency="fire")
    request = start.Request(
        "deploy", "deploy", "staging", COMMIT, {"environment": "staging", "action": "deploy"}
    )
    with pytest.raises(InputError, match="another emergency; --again"):
        start.start(client(airflow), request)


def test_run_ids() -> None:
    def run_id(action: str, revision: str = COMMIT, key: str = "", **conf: Any) -> str:
        return start.Request("d", action, "staging", revision, conf, key).run_id

    assert run_id("plan") == "ci-staging-plan-0123456789ab"
    assert run_id("deploy", dry_run=True) == "ci-staging-deploy-dry-run-0123456789ab"
    assert run_id("plan", pull_request=42) == "ci-staging-plan-pr42-0123456789ab"
    assert run_id("drift", key="night 7/3") == run_id("drift", key="night 7/3")
    assert re.fullmatch(r"ci-staging-drift-0123456789ab-[0-9a-f]{12}", run_id("drift", key="night 7/3"))
    for moving in (("rollback", COMMIT), ("drift", COMMIT), ("deploy", "main"), ("deploy", "HEAD")):
        assert run_id(*moving) != run_id(*moving)


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        ({"GITHUB_REF": "refs/pull/42/merge"}, 42),
        ({"GITHUB_REF": "refs/heads/42"}, None),
        ({"CI_MERGE_REQUEST_IID": "7"}, 7),
        ({"SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "8"}, 8),
        ({"CODEBUILD_WEBHOOK_TRIGGER": "pr/9"}, 9),
        ({"CODEBUILD_WEBHOOK_TRIGGER": "branch/main", "PR_NUMBER": ""}, None),
        ({"PR_NUMBER": "10"}, 10),
        ({}, None),
    ],
)
def test_the_pull_request_is_the_one_that_ci_builds(environ: dict[str, str], number: int | None) -> None:
    assert start.pull_request(environ) == number


@pytest.mark.parametrize(
    ("words", "environ", "conf"),
    [
        (["plan"], {"GITHUB_REF": "refs/pull/42/merge"}, {"pull_request": 42}),
        (["plan", "--pull-request", "7"], {"GITHUB_REF": "refs/pull/42/merge"}, {"pull_request": 7}),
        (["deploy"], {"GITHUB_REF": "refs/pull/42/merge"}, {}),
        (["deploy", "--pull-request", "7"], {}, {"pull_request": 7}),
        (["rollback", "--to", "v1.2"], {}, {"to": "v1.2"}),
        (["rollback"], {}, {}),
    ],
)
def test_what_a_command_says_reaches_the_run(
    words: list[str], environ: dict[str, str], conf: dict[str, Any]
) -> None:
    arguments = parser(words).parse_args([*words, "--environment", "staging", "--revision", COMMIT])
    found = commands._request(commands.Session(arguments, environ)).conf
    assert {name: found[name] for name in ("to", "pull_request") if name in found} == conf


def test_the_commit_is_that_of_git_then_that_of_ci_then_what_was_given(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.com")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "one")
    head = git("rev-parse", "HEAD")
    git("tag", "v1")
    folder = str(tmp_path)
    assert start.commit("v1", {"GITHUB_SHA": COMMIT}, folder) == head
    assert start.commit("main", {}, folder) == head
    assert start.commit("elsewhere", {}, folder) == "elsewhere"
    assert start.commit("--all", {}, folder) == "--all"
    for name in start.COMMIT_VARIABLES:
        assert start.commit(None, {name: COMMIT}, folder) == COMMIT
    assert start.commit(None, {}, folder) == "HEAD"


# The connection


def test_a_lost_connection_is_waited_for_and_said_once(airflow: FakeAirflow) -> None:
    said: list[str] = []
    airflow.run("deploy", RUN)
    api = client(airflow, said=said)
    api.run("deploy", RUN)
    airflow.failures = [503, httpx.ConnectError("refused"), 502, httpx.ReadTimeout("slow")]
    assert api.run("deploy", RUN)["state"] == "running"
    assert [text.split(" (")[0] for text in said] == ["no connection to Airflow", "the connection is back"]


@pytest.mark.parametrize(("answered", "limit"), [(False, 15), (True, 300)])
def test_it_gives_up_in_the_end_and_sooner_if_there_never_was_a_connection(
    airflow: FakeAirflow, answered: bool, limit: int
) -> None:
    time = Time()
    airflow.run("deploy", RUN)
    api = client(airflow, time)
    if answered:
        api.run("deploy", RUN)
    airflow.failures = [503] * 1000
    with pytest.raises(UnreachableError, match=r"cannot reach Airflow at https://airflow\.test"):
        api.run("deploy", RUN)
    assert limit - 11 <= time.now <= limit


def test_a_token_that_expires_is_renewed_with_the_password_and_only_once_per_call(
    airflow: FakeAirflow,
) -> None:
    airflow.run("deploy", RUN)
    api = client(airflow)
    api.run("deploy", RUN)
    airflow.tokens = {"none of ours"}
    api.run("deploy", RUN)
    assert airflow.signed_in == 2
    with pytest.raises(DeniedError, match="not valid, or not any more"):
        client(airflow, token="token-of-yesterday").run("deploy", RUN)
    assert airflow.signed_in == 2


def test_an_answer_whose_confirmation_was_lost_is_not_taken_for_another_persons(airflow: FakeAirflow) -> None:
    asked = question(airflow)
    api = client(airflow)
    asked |= {
        "response_received": True,
        "responded_by_user": {"id": "bob", "name": "bob"},
        "chosen_options": ["Approve"],
        "params_input": {"digest": DIGEST},
    }
    api.answer(asked, "Approve", {"digest": DIGEST})
    with pytest.raises(Exception, match="answered by somebody else"):
        api.answer(asked, "Reject", {"digest": DIGEST})


@pytest.mark.parametrize("server", ["airflow.test", "ftp://airflow.test", "https://user:pass@airflow.test"])
def test_an_address_is_an_address_without_credentials(server: str) -> None:
    with pytest.raises(InputError) as caught:
        Api(server, Login("t"))
    assert "pass@" not in str(caught.value)


# Watching


def test_lines_say_each_change_once_with_the_reason_of_a_failure(airflow: FakeAirflow) -> None:
    deployment(airflow, "failed")
    out = io.StringIO()
    api = client(airflow)
    frame = follow(api, "deploy", RUN, Lines(out, api.link))
    text = out.getvalue()
    assert "\x1b" not in text
    assert text.count("infrastructure.main.apply: failed") == 1
    assert "azure  infrastructure.main.apply: failed in 2.5 s" in text
    assert "AirflowFailException: no quota" in text
    assert "hunter2" not in text
    assert "apply.azure" not in text, "the parent's task only waits for the child that is shown"
    assert frame.seen.exit_code == 1
    assert [task["task_id"] for task in frame.seen.failed] == ["infrastructure.main.apply"]


def test_a_table_has_stages_and_clouds_and_is_drawn_in_place(airflow: FakeAirflow) -> None:
    deployment(airflow)
    api = client(airflow)
    seen = observe(api, "deploy", RUN)
    frame = Frame(seen, {}, 75)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in screen(frame, api.link)]
    assert lines[0] == "deploy  staging  running  1:15"
    assert lines[1] == f"https://airflow.test/dags/deploy/runs/{RUN}"
    assert lines[3].split() == ["all", "aws", "gcp", "azure"]
    infrastructure = next(line for line in lines if line.startswith("infrastructure"))
    assert infrastructure.split() == ["infrastructure", "✓", "1,", "2", "s", "⠋", "0/1", "✗", "failed"]
    for color in (True, False):
        out = io.StringIO()
        table = Table(out, api.link, color=color, size=lambda: (60, 7))
        table.show(frame)
        table.note("something \x1b]0;else\x07")
        table.show(frame)
        table.close()
        drawn = out.getvalue().split("\x1b[J")[-1].splitlines()
        assert len(drawn) <= 7
        assert "more lines" in "".join(drawn)
        assert all(len(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)) < 60 for line in drawn)
        assert "\x1b[6F\x1b[J" in out.getvalue()
        assert ("\x1b[31m" in out.getvalue() or "\x1b[1m" in out.getvalue()) is color
        assert "something \n" in out.getvalue()
        assert out.getvalue().endswith("\x1b[?25h")


def test_all_pages_of_tasks_are_read_and_only_of_this_run(airflow: FakeAirflow) -> None:
    airflow.run("deploy", RUN)
    airflow.page = 7
    for number in range(30):
        airflow.task("deploy_aws", f"{RUN}.aws.plan", f"infrastructure.s{number}.plan", "success")
    airflow.task("deploy", f"{RUN}-again2", "freeze", "failed")
    airflow.task("shop_deploy", RUN, "freeze", "failed")
    assert len(observe(client(airflow), "deploy", RUN).tasks) == 30


def test_waiting_ends_at_an_approval_or_in_time(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triplane.cli.follow.POLL", 2.0)
    airflow.run("deploy", RUN)
    airflow.task("deploy", RUN, "plan.aws", "success")
    question(airflow)
    api, time = client(airflow), Time()
    lines = Lines(io.StringIO(), api.link)
    frame = follow(api, "deploy", RUN, lines, stop_at_approval=True, clock=time.clock, sleep=time.sleep)
    assert (frame.seen.exit_code, time.now) == (3, 0.0)
    airflow.task("deploy_aws", f"{RUN}.aws.apply", "infrastructure.main.apply", "running")
    frame = follow(
        api, "deploy", RUN, lines, stop_at_approval=True, timeout=9, clock=time.clock, sleep=time.sleep
    )
    assert (frame.seen.exit_code, time.now) == (3, 9.0)


def test_nothing_from_the_server_moves_the_cursor() -> None:
    assert clean("a\x1b[2Jb\x1b]0;title\x07c\rd\x9b2Je\u202ef") == "abcd2Jef"


# The commands


def run(*words: str) -> int:
    return main([*words])


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_deploy_starts_a_run_and_says_how_to_follow_it(
    airflow: FakeAirflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("deploy", "--environment", "staging", "--revision", COMMIT) == 0
    conf = airflow.runs["deploy", RUN]["conf"]
    assert conf == {"environment": "staging", "revision": COMMIT, "action": "deploy", "dry_run": False}
    assert f"triplane status {RUN} --wait" in capsys.readouterr().out
    assert (
        run(
            "deploy",
            "--environment",
            "staging",
            "--revision",
            COMMIT,
            "--cloud",
            "gcp",
            "--prefix",
            "a_",
            "--json",
        )
        == 0
    )
    assert document(capsys) == {
        "run_id": RUN,
        "dag_id": "a_deploy_gcp",
        "attached": False,
        "url": f"https://airflow.test/dags/a_deploy_gcp/runs/{RUN}",
        "exit_code": 0,
        "outcome": "started",
    }


@pytest.mark.parametrize(
    ("state", "failed_task", "code", "outcome"),
    [
        ("success", "", 0, "done"),
        ("failed", "infrastructure.main.apply", 1, "failed"),
        ("failed", "approval", 4, "not_approved"),
        ("failed", "infrastructure.main.approval", 4, "not_approved"),
    ],
)
def test_exit_codes_of_a_run_that_ended(
    airflow: FakeAirflow,
    capsys: pytest.CaptureFixture[str],
    state: str,
    failed_task: str,
    code: int,
    outcome: str,
) -> None:
    airflow.run("deploy", RUN, state, environment="staging", action="deploy", revision=COMMIT)
    if failed_task:
        airflow.task("deploy", RUN, failed_task, "failed")
    report = {"cloud": "aws", "component": "stack/main", "version": "1", "state": "deployed", "seconds": 1.0}
    airflow.task("deploy", RUN, "report", state)
    airflow.xcoms[RUN, "report", "rows"] = [report]
    words = ("deploy", "--environment", "staging", "--revision", COMMIT, "--wait", "--json")
    airflow.runs["deploy", RUN]["conf"]["dry_run"] = False
    assert run(*words) == code
    found = document(capsys)
    assert (found["exit_code"], found["outcome"], found["attached"]) == (code, outcome, True)
    assert found["rows"] == [report]


def test_plan_shows_what_would_change(airflow: FakeAirflow, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = "ci-staging-plan-0123456789ab"
    airflow.run("deploy", run_id, "success", environment="staging", action="plan", revision=COMMIT)
    airflow.task("deploy", run_id, "change_sets", "success")
    airflow.xcoms[run_id, "change_sets", "change_sets"] = {"aws": DIGEST}
    airflow.task("deploy_aws", f"{run_id}.aws.plan", "infrastructure.main.plan", "success")
    airflow.task("deploy_aws", f"{run_id}.aws.plan", "leftovers.plan", "success")
    airflow.xcoms[f"{run_id}.aws.plan", "infrastructure.main.plan", "return_value"] = {
        "address": "aws/stack/main",
        "action": "replace",
        "risk": "high",
        "summary": "1 to replace",
        "lines": [f"-/+ thing.{number} token=abcdefgh" for number in range(50)],
        "binds": {},
        "denied": ["not on Fridays"],
        "seal": "00",
    }
    airflow.xcoms[f"{run_id}.aws.plan", "leftovers.plan", "return_value"] = []
    assert run("plan", "--environment", "staging", "--revision", COMMIT) == 0
    text = capsys.readouterr().out
    assert f"aws: 1 of 1 components would change, risk high\n  {DIGEST}\n" in text
    assert "  aws/stack/main: replace, risk high. 1 to replace\n      ! denied: not on Fridays\n" in text
    assert "thing.39 " in text
    assert "thing.40 " not in text
    assert "... and 10 more" in text
    assert "abcdefgh" not in text


def test_drift_has_an_exit_code_of_its_own(airflow: FakeAirflow, capsys: pytest.CaptureFixture[str]) -> None:
    def report(state: str) -> dict[str, Any]:
        return {
            "components": [{"address": "aws/stack/main", "state": state, "resources": [{"address": "a.b"}]}]
        }

    words = ("drift", "--environment", "staging", "--revision", COMMIT, "--key", "night", "--json")
    airflow.change = lambda: [run.update(state="success") for run in airflow.runs.values()] and None
    run_id = "ci-staging-drift-0123456789ab-night"
    airflow.task("drift_check", run_id, "report", "success")
    for state, code in {
        "in_sync": 0,
        "pending": 0,
        "drifted": 5,
        "missing": 5,
        "unmanaged_change": 5,
    }.items():
        airflow.xcoms[run_id, "report", "report"] = report(state)
        assert run(*words) == code
        found = document(capsys)
        assert found["drifted"] == (["aws/stack/main"] if code else [])
        assert found["run_id"] == run_id


def test_approve_fills_in_the_form_and_nothing_but_it(
    airflow: FakeAirflow, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow.run("deploy", RUN, environment="staging")
    asked = question(airflow)
    second = question(airflow, index=1)
    assert run("approve", RUN, "--reason", "x") == 2, "nobody to ask, and no digest"
    assert run("approve", RUN, "--digest", "sha256:other", "--reason", "x") == 2
    assert run("approve", RUN, "--digest", DIGEST) == 2, "the form wants a reason"
    assert run("approve", RUN, "--digest", DIGEST, "--reason", "x", "--hold", "azure") == 2
    assert not any(item["response_received"] for item in (asked, second))
    capsys.readouterr()
    assert run("approve", RUN, "--digest", DIGEST, "--reason", "looks right", "--hold", "gcp", "--json") == 0
    assert document(capsys)["digests"] == [DIGEST]
    assert asked["chosen_options"] == ["Approve"]
    assert asked["params_input"] == {
        "digest": DIGEST,
        "reason": "looks right",
        "hold_aws": False,
        "hold_gcp": True,
    }
    assert not second["response_received"], "the second vote is another person's"
    assert run("approve", RUN, "--digest", DIGEST, "--reason", "again") == 1
    assert "the other votes are for other people" in capsys.readouterr().err
    assert not second["response_received"]


def test_a_question_that_was_just_asked_is_left_alone_for_a_moment(airflow: FakeAirflow) -> None:
    airflow.run("deploy", RUN, environment="staging")
    old, fresh, other = (question(airflow, index=index) for index in range(3))
    fresh["created_at"] = other["created_at"] = datetime.now(UTC).isoformat()
    time = Time()
    for asked, waited in (([old], 0.0), ([fresh, other], SETTLE_SECONDS)):
        answer = questions.Answer("Approve", "looks right")
        questions.send(client(airflow, time), asked, answer, lambda text: None)
        assert all(each["response_received"] for each in asked)
        assert time.now == waited


def test_who_asked_for_a_run_does_not_approve_it_by_accident(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIPLANE_USER", "alice")
    airflow.run("deploy", RUN, environment="staging")
    asked = question(airflow)
    assert run("approve", RUN, "--yes", "--reason", "x") == 2
    assert "--own-run" in capsys.readouterr().err
    assert not asked["response_received"]
    assert run("approve", RUN, "--yes", "--reason", "x", "--own-run") == 0


def test_reject_says_why(airflow: FakeAirflow) -> None:
    airflow.run("deploy", RUN, environment="staging")
    asked = question(airflow)
    assert run("reject", RUN, "--yes", "--reason", "not now") == 0
    assert (asked["chosen_options"], asked["params_input"]["reason"]) == (["Reject"], "not now")
    assert run("reject", RUN, "--yes", "--reason", "not now") == 1


def test_a_question_on_a_terminal_is_answered_there(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow.run("deploy", RUN, environment="staging")
    asked = question(airflow)
    for typed, code in (("n\n", 1), ("\n", 1), ("y\n", 0)):
        stdin = io.StringIO(typed)
        monkeypatch.setattr(stdin, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", stdin)
        assert run("approve", RUN, "--reason", "x") == code
        assert asked["response_received"] is (code == 0)
    assert "What shop to staging means" in capsys.readouterr().out


def test_status_lists_the_last_runs_and_what_waits(
    airflow: FakeAirflow, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        airflow.run("deploy", f"r{number}", "success", environment="staging")
    airflow.run("deploy_aws", "r1.aws.plan", "success", environment="staging")
    airflow.run("deploy", RUN, environment="prod", action="rollback")
    question(airflow)
    assert run("status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:4]] == ["r0", "r1", "r2"]
    assert lines[4].split()[:3] == ["prod", "rollback", "running"]
    assert lines[5:] == [f"waits for approval: shop to staging (triplane approve {RUN})"]
    assert run("status", "nothing") == 1


def test_logs_follow_every_task_and_print_each_line_once(
    airflow: FakeAirflow, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triplane.cli.logs.POLL", 0.0)
    airflow.run("deploy", RUN, environment="staging")
    task = airflow.task("deploy_aws", f"{RUN}.aws.apply", "infrastructure.main.apply", "running")
    written = airflow.log_lines.setdefault((f"{RUN}.aws.apply", "infrastructure.main.apply"), [])

    def go_on() -> None:
        written.append(
            {"event": f"line {len(written)}", "timestamp": "2026-11-27T01:00:00Z", "level": "info"}
        )
        if len(written) == 4:
            task["state"] = airflow.runs["deploy", RUN]["state"] = "success"

    airflow.change = go_on
    assert run("logs", RUN, "-f") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"aws infrastructure.main.apply | line {number}" for number in range(4)
    ]
    assert run("logs", RUN, "--task", "gcp") == 1


@pytest.mark.parametrize(
    ("variables", "words", "code", "said"),
    [
        ({"TRIPLANE_SERVER": ""}, ("status",), 2, "which Airflow?"),
        ({"TRIPLANE_PASSWORD": ""}, ("status",), 2, "no credentials"),
        ({"TRIPLANE_PASSWORD": "wrong"}, ("status",), 7, "bob cannot sign in"),
        ({}, ("deploy",), 2, "which environment?"),
        ({}, ("destroy", "--environment", "prod"), 2, "say --confirm prod too"),
    ],
)
def test_what_is_missing_is_said(
    airflow: FakeAirflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(*words, "--json") == code
    output = capsys.readouterr()
    assert said in output.err
    assert json.loads(output.out)["exit_code"] == code
    assert not airflow.runs


@pytest.mark.parametrize("cancels", [False, True])
def test_ctrl_c_leaves_the_run_alone_unless_it_shall_end_it(
    airflow: FakeAirflow, capsys: pytest.CaptureFixture[str], cancels: bool
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    airflow.change = interrupt
    more = ("--cancel-on-interrupt",) if cancels else ()
    before = signal.getsignal(signal.SIGTERM)
    assert run("deploy", "--environment", "staging", "--revision", COMMIT, "--wait", *more) == 130
    assert airflow.runs["deploy", RUN]["state"] == ("failed" if cancels else "queued")
    assert (f"triplane status {RUN} --wait" in capsys.readouterr().err) is not cancels
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_needs_neither_airflow_nor_its_configuration() -> None:
    program = (
        "import sys; from triplane.cli.main import main\n"
        "code = main(['deploy', '--environment', 'x', '--server', 'http://127.0.0.1:9', '--patience', '0'])\n"
        "import triplane.rollout.report\n"
        "wrong = {'airflow', 'pydantic', 'yaml', 'boto3'} & {name.split('.')[0] for name in sys.modules}\n"
        "sys.exit(f'{code} {wrong}')"
    )
    env = {"TRIPLANE_TOKEN": "t", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, cwd="/")
    assert done.stderr.splitlines()[-1] == "6 set()", done.stderr


def test_every_command_of_the_parser_has_something_that_it_does() -> None:
    assert set(commands.COMMANDS) == {*ACTIONS, "drift", "status", "logs", "approve", "reject"}
