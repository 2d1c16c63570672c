"""People and the pull request are told what a run does, each once, with links that lead there."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.e2e.deployment.conftest import Installation
from tests.forges import FakeGitHub
from tests.receivers import Mailbox, Receiver

TOKEN = "ghp_" + "Pl4ntedForge" * 3
PLANTED = "Pl4nted-told-7c1e9"


class People(NamedTuple):
    """Whoever is told."""

    hook: Receiver
    mail: Mailbox
    github: FakeGitHub

    def told(self, run_id: str) -> list[dict[str, Any]]:
        return [body for body in self.hook.taken if body["thread"] == run_id]


@pytest.fixture(scope="module")
def people(installation: Installation) -> Iterator[People]:
    mail = Mailbox()
    with (
        Receiver().serving() as hook,
        mail.serving() as port,
        FakeGitHub(TOKEN, commits=(installation.told.head,), pulls=(7,)).serving() as github,
    ):
        add_connection(installation, "told_hook", "http", host=f"{hook.url}/hooks/{PLANTED}")
        extra = '{"disable_tls": true, "disable_ssl": true, "from_email": "triplane@example.com"}'
        add_connection(installation, "told_mail", "smtp", host="127.0.0.1", port=port, extra=extra)
        add_connection(installation, "told_forge", "generic", host=github.url, password=TOKEN)
        yield People(hook, mail, github)


def add_connection(installation: Installation, conn_id: str, conn_type: str, **fields: Any) -> None:
    body = {"connection_id": conn_id, "conn_type": conn_type, **fields}
    answer = installation.airflow.api().request("POST", "/connections", json=body)
    assert answer.status_code == 201, answer.text


def logs(installation: Installation, dag_id: str, run_id: str) -> str:
    return "\n".join(
        installation.alice.logs(dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
        for task in installation.alice.tasks(dag_id, run_id)
        if task["try_number"] and task["state"] not in ("skipped", "upstream_failed", None)
    )


@pytest.mark.campaign
def test_a_deployment_from_a_pull_request(installation: Installation, people: People) -> None:
    alice, told = installation.alice, installation.told
    run_id = alice.trigger("told_deploy", {"environment": "told", "pull_request": 7})
    questions = alice.wait_for_question("told_deploy", run_id)
    (asked,) = people.told(run_id)
    assert (asked["event"], asked["environment"]) == ("approval_needed", "told")
    link = re.fullmatch(r"(http://[^/]+)/dags/([^/]+)/runs/([^/]+)/required_actions", asked["link"])
    assert link
    assert link[1] == installation.airflow.url
    shown = alice.get(f"/dags/{link[2]}/dagRuns/{link[3]}/hitlDetails", response_received=False)
    assert len(shown["hitl_details"]) == len(questions) == 1
    assert "aws/stack/main" in asked["text"]

    assert installation.bob.answer(questions[0], "Approve").status_code == 200
    assert alice.wait("told_deploy", run_id) == "success"
    assert [body["event"] for body in people.told(run_id)] == ["approval_needed", "deployed"]
    text = people.told(run_id)[-1]["text"]
    assert len(re.findall(r"stack/main +serial \d+ +deployed", text)) == 3
    first, second = people.mail.taken
    assert second["References"] == first["Message-ID"]
    assert asked["link"] in people.mail.html(0)

    statuses = [(item["sha"], item["state"]) for item in people.github.reviews.statuses]
    assert statuses == [(told.head, "pending"), (told.head, "success")]
    assert people.github.reviews.statuses[1]["description"] == "3 of 3 components are as approved"
    (comment,) = people.github.reviews.comments[7]
    assert "Google Cloud" in comment["body"]
    assert asked["link"] in comment["body"]
    told_all = (
        f"{people.hook.taken}{people.github.reviews.comments}{logs(installation, 'told_deploy', run_id)}"
    )
    assert "Pl4nted" not in told_all


def alone(installation: Installation) -> tuple[str, str]:
    """A run of one cloud's DAG, which asks nobody."""
    run_id = installation.alice.trigger("told_deploy_aws", {"environment": "told_alone"})
    return run_id, installation.alice.wait("told_deploy_aws", run_id)


def marks(installation: Installation) -> set[str]:
    """The outcomes that rollouts of told_alone have left in the Pushgateway."""
    url = f"http://127.0.0.1:{installation.sandbox.port('pushgateway')}/metrics"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    lines = opener.open(url, timeout=30).read().decode().splitlines()
    mine = [line for line in lines if line.startswith("triplane_rollout_timestamp") and "told_alone" in line]
    return {line.partition('outcome="')[2].partition('"')[0] for line in mine}


@pytest.mark.campaign
def test_a_cloud_alone_that_fails_and_then_succeeds(installation: Installation, people: People) -> None:
    told = installation.told
    mails = len(people.mail.taken)
    told.add("aws", "fragile")
    told.take_down("aws")
    told.commit("Something fragile")
    run_id, state = alone(installation)
    assert state == "failed"
    messages = people.told(run_id)
    assert [body["event"] for body in messages] == ["failed"]
    assert "infrastructure.main.apply" in messages[-1]["text"]
    page = f"/dags/told_deploy_aws/runs/{quote(run_id, safe='')}"
    assert messages[-1]["link"] == f"{installation.airflow.url}{page}"

    assert marks(installation) == {"failed"}

    told.bring_up("aws")
    run_id, state = alone(installation)
    assert state == "success"
    assert marks(installation) == {"failed", "succeeded"}
    assert [body["event"] for body in people.told(run_id)] == ["deployed"]
    assert len(people.mail.taken) == mails


@pytest.mark.campaign
def test_a_forge_that_refuses_does_not_fail_the_deployment(
    installation: Installation, people: People
) -> None:
    """A plan, of a commit that GitHub does not know, for a pull request that is not there."""
    alice = installation.alice
    run_id = alice.trigger("told_deploy", {"environment": "told", "action": "plan", "pull_request": 404})
    assert alice.wait("told_deploy", run_id) == "success"
    states = {task["task_id"]: task["state"] for task in alice.tasks("told_deploy", run_id)}
    names = ("source.pending", "source.comment", "source.result")
    assert [states[name] for name in names] == ["skipped"] * 3
    assert "No commit found for SHA" in installation.log("told_deploy", run_id, "source.pending")
    assert people.told(run_id) == []
