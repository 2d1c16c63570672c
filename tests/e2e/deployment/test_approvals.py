"""Approvals of the small platform: what they let through, and every way around them that must not work.

The tests build on each other, in the order of this file.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.deployment.conftest import Installation
from triplane.core.history import AUTHORIZED
from triplane.core.ledger import Ledger
from triplane.sandbox.airflow import AirflowApi

pytestmark = pytest.mark.timeout(600)
DAG, AWS = "small_deploy", "small_deploy_aws"
CLOUDS = ("aws", "gcp", "azure")
XCOM = "/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries"


@pytest.fixture(scope="module")
def runs(installation: Installation) -> dict[str, str]:
    """A run of all clouds that asks, by environment."""
    return {name: installation.start_small(name) for name in ("vetoed", "asked")}


@pytest.fixture(scope="module")
def alone(installation: Installation) -> dict[str, str]:
    """A run of AWS alone that asks, by environment."""
    return {name: _start_aws(installation, name) for name in ("hasty", "frozen")}


def test_everything_about_one_decision(installation: Installation, runs: dict[str, str]) -> None:
    """Two votes of assigned people, one of a group, with reasons; one of them holds Azure back."""
    run_id = runs["vetoed"]
    first, second = sorted(_questions(installation, run_id, 2), key=_vote)
    for cloud in ("AWS", "Google Cloud", "Azure"):
        assert f"## {cloud}: risk low" in first["body"]
        assert f"Hold back {cloud}" in str(first["params"])
    assert "2 approval(s) needed" in first["body"]
    assert "Somebody of security (carol)" in first["body"]
    assert "/tasks/approval/mapped/0)" in first["body"], "a link to the log with every line"
    assert not first["defaults"], "nothing answers by itself"
    for outsider in (installation.alice, installation.airflow.api("admin"), installation.olga):
        assert outsider.answer(first, "Approve").status_code == 403
    reason = "looked at it with token=Pl4nted-in-a-reason"
    answers = {"digest": _digest(first), "reason": reason}
    assert installation.bob.answer(first, "Approve", answers).status_code == 200
    assert installation.carol.answer(first, "Reject", answers).status_code == 409
    held = {"digest": _digest(first), "reason": "quota", "hold_azure": True}
    assert installation.carol.answer(second, "Approve", held).status_code == 200
    assert installation.alice.wait(DAG, run_id) == "success"
    rows = installation.alice.xcom(DAG, run_id, "report", "rows")
    assert {row["cloud"]: row["state"] for row in rows} == {
        "aws": "deployed",
        "gcp": "deployed",
        "azure": "held",
    }
    assert installation.task(DAG, run_id, "apply.azure")["state"] == "skipped"
    assert "held back by carol: quota" in installation.log(DAG, run_id, "report")
    assert installation.task(DAG, run_id, "remind")["state"] == "skipped", "the policy wants no reminders"
    (entry,) = _ledger(installation, "vetoed/aws").entries(AUTHORIZED)
    assert entry.body["approved_by"] == ["bob", "carol"]
    reasons = [decision["reason"] for decision in entry.body["decisions"]]
    assert reasons[1] == "quota"
    assert reasons[0].startswith("looked at it with")
    assert "Pl4nted" not in reasons[0]
    assert not _ledger(installation, "vetoed/azure").entries(AUTHORIZED)
    assert "aws/stack/main: create" in installation.alice.logs(DAG, run_id, "approval", map_index=0)


def test_a_cloud_held_back_is_refused_by_its_own_run(
    installation: Installation, runs: dict[str, str]
) -> None:
    run_id = runs["vetoed"]
    _put_xcom(installation.olga, DAG, run_id, "decision", {"held": {}})
    installation.clear(DAG, run_id, "apply.azure")
    assert installation.alice.wait(DAG, run_id) == "failed"
    log = installation.log("small_deploy_azure", f"{run_id}.azure.apply", "authorize")
    assert "carol holds azure back: quota" in log


def test_one_approval_is_for_one_run(installation: Installation, runs: dict[str, str]) -> None:
    run_id = runs["vetoed"]
    claim = {"change_set": _change_sets(installation, run_id)["aws"], "dag_id": DAG, "run_id": run_id}
    _refused(installation, "vetoed", {f"it was given to run {run_id}": claim})
    conf = {"action": "apply", "environment": "vetoed", "approved": claim}
    body = {"logical_date": None, "dag_run_id": f"{run_id}.aws.apply", "conf": conf}
    assert installation.olga.request("POST", f"/dags/{AWS}/dagRuns", json=body).status_code == 409


@pytest.mark.campaign
def test_answers_that_approve_nothing(installation: Installation, runs: dict[str, str]) -> None:
    run_id = runs["asked"]
    (question,) = _questions(installation, run_id)
    digest = {"digest": _digest(question)}
    for person, params, message in (
        (installation.bob, {}, "the answer is for no digest"),
        (installation.bob, digest, "gave no reason"),
        (installation.alice, {**digest, "reason": "mine"}, "asked for this run and may not approve it"),
    ):
        assert person.answer(question, "Approve", params).status_code == 200
        assert installation.alice.wait(DAG, run_id) == "failed"
        assert message in _approval_log(installation, DAG, run_id)
        assert installation.task(DAG, run_id, "apply.aws")["state"] == "upstream_failed"
        installation.clear(DAG, run_id, "approval")
        (again,) = _questions(installation, run_id)
        assert again["body"] == question["body"], "the same digest is the same text"


def test_apply_without_an_approval_is_refused(installation: Installation, runs: dict[str, str]) -> None:
    run_id = runs["asked"]
    digest = _change_sets(installation, run_id)["aws"]
    claims = (
        {"change_set": digest, "dag_id": DAG, "run_id": run_id},
        {"change_set": digest, "dag_id": DAG, "run_id": run_id, "approved": True, "decisions": [{}]},
        {"change_set": digest},
    )
    _refused(installation, "asked", *({"1 needed, 0 found": claim} for claim in claims))


def test_an_approval_marked_successful_by_hand_applies_nothing(
    installation: Installation, runs: dict[str, str]
) -> None:
    run_id = runs["asked"]
    path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/approval/0"
    answer = installation.olga.request("PATCH", path, json={"new_state": "success"})
    assert answer.status_code == 200, answer.text
    assert installation.alice.wait(DAG, run_id) == "failed"
    for cloud in CLOUDS:
        child = f"small_deploy_{cloud}", f"{run_id}.{cloud}.apply"
        assert "1 needed, 0 found" in installation.log(*child, "authorize")
        assert installation.task(*child, "infrastructure.main.apply")["state"] == "upstream_failed"


def test_an_approval_made_by_hand_applies_nothing(installation: Installation, runs: dict[str, str]) -> None:
    """Invented, of an earlier run, of an earlier run and edited; in this run, and in one of another DAG."""
    run_id, earlier = runs["asked"], runs["vetoed"]
    change_sets = _change_sets(installation, run_id)
    genuine = _decision(installation, DAG, earlier)
    claim = {"change_set": change_sets["aws"], "dag_id": DAG, "run_id": run_id}
    invented = {"approved": True, "responder": "bob", "change_sets": change_sets}
    for forged, reason in ((invented, "no signed decision"), (genuine, "not for sha256:")):
        _put_xcom(installation.olga, DAG, run_id, "approval", forged, map_index=0)
        _refused(installation, "asked", {reason: claim})
    edited = {**genuine, "change_sets": change_sets, "run_id": run_id, "votes": 1, "vote": 0}
    _put_xcom(installation.olga, DAG, run_id, "approval", edited, map_index=0)
    elsewhere = {**claim, "dag_id": AWS, "run_id": f"{run_id}.aws.apply"}
    _put_xcom(installation.olga, AWS, elsewhere["run_id"], "authorize", edited)
    installation.clear(DAG, run_id, "apply.aws")
    assert installation.alice.wait(DAG, run_id) == "failed"
    log = installation.log(AWS, f"{run_id}.aws.apply", "authorize")
    assert "its signature is not from a worker" in log
    assert (
        installation.task(AWS, f"{run_id}.aws.apply", "infrastructure.main.apply")["state"]
        == "upstream_failed"
    )


@pytest.mark.campaign
def test_what_was_planned_again_is_not_asked_under_the_old_text(
    installation: Installation, runs: dict[str, str]
) -> None:
    run_id = runs["asked"]
    before = _change_sets(installation, run_id)
    child = AWS, f"{run_id}.aws.plan"
    installation.clear(*child, "infrastructure.main.plan")
    assert installation.alice.wait(*child) == "success"
    installation.clear(DAG, run_id, "change_sets")
    assert installation.alice.wait(DAG, run_id) == "failed"
    assert _change_sets(installation, run_id)["aws"] != before["aws"]
    assert "still shows the text of an earlier try" in _approval_log(installation, DAG, run_id)


@pytest.mark.campaign
def test_a_plan_talked_down_is_refused(installation: Installation, runs: dict[str, str]) -> None:
    child = AWS, f"{runs['asked']}.aws.plan"
    plan = installation.alice.xcom(*child, "infrastructure.main.plan")
    assert plan["risk"] == "low"
    _put_xcom(
        installation.olga, *child, "infrastructure.main.plan", {**plan, "risk": "none", "action": "none"}
    )
    installation.clear(*child, "change_set")
    assert installation.alice.wait(*child) == "failed"
    assert "the plan was changed after its task returned it" in installation.log(*child, "change_set")


@pytest.mark.campaign
def test_in_a_freeze_nothing_is_begun(installation: Installation, alone: dict[str, str]) -> None:
    """Not even by somebody who marks ``authorize`` successful and hands the real decision on by himself."""
    run = AWS, alone["frozen"]
    (question,) = _questions(installation, run[1], dag=AWS)
    assert "Not while frozen from 2020-01-01 to 2098-12-31: it is retired" in question["body"]
    assert installation.approve(run[1], AWS) == "failed"
    assert "frozen is frozen from 2020-01-01" in installation.log(*run, "authorize")
    given = {
        "change_set": installation.alice.xcom(*run, "change_set", "change_sets")["aws"],
        "source": installation.alice.xcom(*run, "freeze")["source"],
        "decisions": [_decision(installation, *run)],
    }
    for key, value in given.items():
        _put_xcom(installation.olga, *run, "authorize", value, key=key)
    path = f"/dags/{AWS}/dagRuns/{run[1]}/taskInstances/authorize"
    assert installation.olga.request("PATCH", path, json={"new_state": "success"}).status_code == 200
    installation.clear(*run, "infrastructure.main.apply")
    assert installation.alice.wait(*run) == "failed"
    assert "and this run was not begun before" in installation.log(*run, "infrastructure.main.apply")


@pytest.mark.campaign
def test_an_emergency_takes_two_people_and_is_recorded(installation: Installation) -> None:
    run_id = _start_aws(installation, "frozen", emergency="the shop is down")
    bob, carol = _questions(installation, run_id, 2, dag=AWS)
    assert bob["subject"].startswith("EMERGENCY: small to frozen")
    assert bob["body"].startswith("**EMERGENCY**, at any time: the shop is down")
    assert installation.bob.answer(bob, "Approve").status_code == 200
    assert installation.carol.answer(carol, "Approve").status_code == 200
    assert installation.alice.wait(AWS, run_id) == "success"
    (entry,) = _ledger(installation, "frozen/aws").entries(AUTHORIZED)
    assert entry.body["emergency"] == "the shop is down"
    assert sorted(entry.body["approved_by"]) == ["bob", "carol"]


@pytest.mark.campaign
def test_without_an_answer_people_are_reminded_and_then_nothing_is_approved(
    installation: Installation, alone: dict[str, str]
) -> None:
    run = AWS, alone["hasty"]
    assert installation.alice.wait(*run) == "failed"
    assert "the approval expired" in _approval_log(installation, *run)
    assert installation.task(*run, "infrastructure.main.apply")["state"] == "upstream_failed"
    assert installation.task(*run, "remind")["state"] == "success"
    path = XCOM.format(dag=AWS, run=run[1], task="remind") + "/return_value"
    assert int(installation.alice.get(path, map_index=0)["value"]) >= 1


def _start_aws(installation: Installation, environment: str, **conf: Any) -> str:
    conf = {"environment": environment, "action": "deploy", **conf}
    return installation.alice.trigger(AWS, conf)


def _decision(installation: Installation, dag: str, run_id: str) -> dict[str, Any]:
    path = XCOM.format(dag=dag, run=run_id, task="approval") + "/return_value"
    return dict(installation.alice.get(path, map_index=0, deserialize=True)["value"])


def _questions(
    installation: Installation, run_id: str, votes: int = 1, dag: str = DAG
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < votes:
        found = installation.alice.wait_for_question(dag, run_id)
    return found


def _vote(question: dict[str, Any]) -> int:
    return int(question["task_instance"]["map_index"])


def _digest(question: dict[str, Any]) -> str:
    return str(question["params"]["digest"]["value"])


def _change_sets(installation: Installation, run_id: str) -> dict[str, str]:
    found = installation.alice.xcom(DAG, run_id, "change_sets", "change_sets")
    assert set(found) == set(CLOUDS)
    return dict(found)


def _approval_log(installation: Installation, dag: str, run_id: str) -> str:
    tries = installation.task(dag, run_id, "approval")["try_number"]
    return installation.alice.logs(dag, run_id, "approval", attempt=tries, map_index=0)


def _ledger(installation: Installation, scope: str) -> Ledger:
    keys = [installation.airflow.environ["AIRFLOW__TRIPLANE__SIGNING_KEY"]]
    return Ledger(installation.airflow.home / "triplane", scope, keys)


def _refused(installation: Installation, environment: str, *claims: dict[str, dict[str, Any]]) -> None:
    """Runs of AWS alone with these claims of an approval, by reason, fail in ``authorize`` and apply nothing."""
    started = [
        (
            reason,
            installation.olga.trigger(
                AWS, {"action": "apply", "environment": environment, "approved": claim}
            ),
        )
        for each in claims
        for reason, claim in each.items()
    ]
    for reason, run_id in started:
        assert installation.alice.wait(AWS, run_id) == "failed"
        assert reason in installation.log(AWS, run_id, "authorize")
        assert installation.task(AWS, run_id, "infrastructure.main.apply")["state"] == "upstream_failed"


def _put_xcom(
    api: AirflowApi,
    dag: str,
    run: str,
    task: str,
    value: Any,
    *,
    key: str = "return_value",
    map_index: int = -1,
) -> None:
    """As the plain ``op`` role can: create the XCom, or change it if it is there."""
    path = XCOM.format(dag=dag, run=run, task=task)
    body = {"key": key, "value": value, "map_index": map_index}
    answer = api.request("POST", path, json=body)
    if answer.status_code == 409:
        answer = api.request("PATCH", f"{path}/{key}", json={"value": value, "map_index": map_index})
    assert answer.status_code in (200, 201), answer.text
