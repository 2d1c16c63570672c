"""Whole deployments through Airflow: three clouds, one approval, and everything that must not get past it.

The tests share one Airflow and build on each other, in the order of this file.
"""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from tests.e2e.deployment.conftest import SECRETS, Installation
from triplane.sandbox.airflow import AirflowApi
from triplane.sandbox.aws import client
from triplane.sandbox.kubernetes.api import Api

pytestmark = pytest.mark.timeout(900)
XCOM = "/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries"


@pytest.fixture(scope="module")
def pending(installation: Installation, deployed: str) -> str:
    """A run with changes in all clouds whose approval was faked in every way; it stays unapproved."""
    installation.platform.change_service()
    installation.platform.commit("Larger events")
    run_id = installation.start()
    installation.alice.wait_for_question("deploy", run_id)
    return run_id


def test_everything_is_deployed_everywhere(installation: Installation, deployed: str) -> None:
    rows = installation.rows(deployed)
    assert len(rows) == 22
    assert {row["state"] for row in rows.values()} == {"deployed"}
    for cloud in ("aws", "gcp", "azure"):
        assert installation.task("deploy", deployed, f"apply.{cloud}")["state"] == "success"


def test_the_requester_cannot_see_a_way_around_the_second_person(
    installation: Installation, pending: str
) -> None:
    """What the form shows is what bob would sign; alice's own answer would end the run, so it is not given here."""
    (question,) = installation.alice.questions("deploy", pending)
    assert question["params"]["digest"]
    for cloud in ("AWS", "Google Cloud", "Azure"):
        assert f"## {cloud}" in question["body"]
    assert "chart/ingest" in question["body"]


def test_apply_without_approval_is_refused(installation: Installation, pending: str) -> None:
    digest = _change_sets(installation, pending)["aws"]
    for claim in (
        {"change_set": digest, "dag_id": "deploy", "run_id": pending},
        {
            "change_set": digest,
            "dag_id": "deploy",
            "run_id": pending,
            "approved": True,
            "decisions": [{"approved": True}],
        },
        {"change_set": digest},
    ):
        _refused(
            installation,
            {"action": "apply", "environment": "staging", "approved": claim},
            "1 needed, 0 found",
        )


def test_a_decision_for_other_content_is_refused(
    installation: Installation, deployed: str, pending: str
) -> None:
    digest = _change_sets(installation, pending)["aws"]
    claim = {"change_set": digest, "dag_id": "deploy", "run_id": deployed}
    _refused(
        installation, {"action": "apply", "environment": "staging", "approved": claim}, "not for sha256:"
    )


def test_a_second_child_of_the_same_parent_run_is_refused(installation: Installation, deployed: str) -> None:
    digest = _change_sets(installation, deployed)["aws"]
    claim = {"change_set": digest, "dag_id": "deploy", "run_id": deployed}
    conf = {"action": "apply", "environment": "staging", "approved": claim}
    _refused(installation, conf, f"it was given to run {deployed}")
    body = {"logical_date": None, "dag_run_id": f"{deployed}.aws.apply", "conf": conf}
    assert installation.olga.request("POST", "/dags/deploy_aws/dagRuns", json=body).status_code == 409


def test_an_approval_marked_successful_by_hand_applies_nothing(
    installation: Installation, pending: str
) -> None:
    path = f"/dags/deploy/dagRuns/{pending}/taskInstances/approval/0"
    answer = installation.olga.request("PATCH", path, json={"new_state": "success"})
    assert answer.status_code == 200, answer.text
    assert installation.alice.wait("deploy", pending) == "failed"
    for cloud in ("aws", "gcp", "azure"):
        child = f"{pending}.{cloud}.apply"
        assert installation.task(f"deploy_{cloud}", child, "authorize")["state"] == "failed"
        assert "1 needed, 0 found" in installation.log(f"deploy_{cloud}", child, "authorize")
        assert (
            installation.task(f"deploy_{cloud}", child, "applications.ingest.deploy")["state"]
            == "upstream_failed"
        )


@pytest.mark.parametrize("kind", ["invented", "of an earlier run", "earlier one edited"])
def test_an_approval_xcom_made_by_hand_applies_nothing(
    installation: Installation, deployed: str, pending: str, kind: str
) -> None:
    change_sets = _change_sets(installation, pending)
    genuine = _decision(installation.alice, deployed)
    forged = {
        "invented": {"approved": True, "responder": "bob", "change_sets": change_sets},
        "of an earlier run": genuine,
        "earlier one edited": {**genuine, "change_sets": change_sets, "run_id": pending},
    }[kind]
    _put_xcom(installation.olga, pending, forged)
    installation.clear("deploy", pending, "apply.aws")
    assert installation.alice.wait("deploy", pending) == "failed"
    log = installation.log("deploy_aws", f"{pending}.aws.apply", "authorize")
    assert any(reason in log for reason in ("no signed decision", "signature", "not for sha256:"))
    assert installation.task("deploy_aws", f"{pending}.aws.apply", "authorize")["state"] == "failed"


def test_the_requester_may_not_approve(installation: Installation, pending: str) -> None:
    run_id = installation.start()
    for question in installation.alice.wait_for_question("deploy", run_id):
        assert installation.alice.answer(question, "Approve").status_code == 200
    assert installation.alice.wait("deploy", run_id) == "failed"
    assert (
        installation.alice.request("GET", f"/dags/deploy_aws/dagRuns/{run_id}.aws.apply").status_code == 404
    )


def test_one_cloud_alone_asks_in_its_own_run(installation: Installation, pending: str) -> None:
    run_id = installation.alice.trigger("deploy_aws", {"environment": "staging", "action": "deploy"})
    (question,) = installation.alice.wait_for_question("deploy_aws", run_id)
    assert "chart/ingest" in question["body"]
    assert installation.bob.answer(question, "Approve").status_code == 200
    assert installation.alice.wait("deploy_aws", run_id) == "success"
    results = installation.alice.xcom("deploy_aws", run_id, "record")
    assert [r["address"] for r in results if r["state"] == "deployed"] == ["aws/chart/ingest"]


def test_a_plan_is_a_dry_run(installation: Installation, pending: str) -> None:
    run_id = installation.start(action="plan")
    assert installation.alice.wait("deploy", run_id) == "success"
    assert installation.task("deploy", run_id, "apply.gcp")["state"] == "skipped"
    assert (
        installation.alice.request("GET", f"/dags/deploy_gcp/dagRuns/{run_id}.gcp.apply").status_code == 404
    )


def test_a_chart_that_fails_is_rolled_back_and_named(installation: Installation, pending: str) -> None:
    installation.platform.break_chart("aws", "ingest")
    installation.platform.commit("An image that nobody built")
    time.sleep(12)
    run_id = installation.start()
    assert installation.approve(run_id) == "failed"
    rows = installation.rows(run_id)
    assert rows["aws", "chart/ingest"]["state"] == "rolled_back"
    assert rows["aws", "chart/ingest"]["version"] == "4", "3 failed, and 4 has the content of 2"
    assert {row["state"] for (cloud, _), row in rows.items() if cloud != "aws"} <= {"deployed", "unchanged"}
    log = installation.log("deploy", run_id, "report")
    assert "aws: chart/ingest rolled_back" in log


def test_planted_secrets_are_used(installation: Installation, deployed: str) -> None:
    """Else the next test would look for what was never there."""
    function = client(installation.sandbox, "lambda").get_function_configuration(
        FunctionName="streaming-platform-staging-webhook", Qualifier="live"
    )
    assert function["Environment"]["Variables"]["TOKEN"] == SECRETS["streaming_webhook_token"]
    state = client(installation.sandbox, "s3").get_object(
        Bucket="streaming-tfstate", Key="streaming-platform/staging/cluster.tfstate"
    )
    assert SECRETS["streaming_database_password"].encode() in state["Body"].read()
    kubernetes = Api.of(installation.sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig")
    secrets = kubernetes.get("/api/v1/namespaces/streaming/secrets")["items"]
    values = [
        base64.b64decode(value).decode()
        for item in secrets
        for value in item.get("data", {}).values()
        if item["type"] == "Opaque"
    ]
    assert SECRETS["streaming_chart_secret"] in values


def test_planted_secrets_are_nowhere(installation: Installation, deployed: str) -> None:
    home = installation.airflow.home
    found = [
        (path.relative_to(home), key)
        for path in sorted(home.rglob("*"))
        if path.is_file()
        for key, secret in SECRETS.items()
        if secret.encode() in path.read_bytes()
    ]
    assert found == []
    assert any(path.suffix == ".log" for path in home.rglob("*"))
    assert (home / "triplane" / "blobs").is_dir()


def _change_sets(installation: Installation, run_id: str) -> dict[str, str]:
    found = installation.alice.xcom("deploy", run_id, "change_sets", "change_sets")
    assert set(found) == {"aws", "gcp", "azure"}
    return dict(found)


def _refused(installation: Installation, conf: dict[str, Any], reason: str) -> None:
    """``deploy_aws`` with this conf fails in authorize, for this reason, and applies nothing."""
    run_id = installation.olga.trigger("deploy_aws", conf)
    assert installation.alice.wait("deploy_aws", run_id) == "failed"
    assert installation.task("deploy_aws", run_id, "authorize")["state"] == "failed"
    assert reason in installation.log("deploy_aws", run_id, "authorize")
    assert (
        installation.task("deploy_aws", run_id, "infrastructure.network.apply")["state"] == "upstream_failed"
    )


def _decision(api: AirflowApi, run_id: str) -> dict[str, Any]:
    path = XCOM.format(dag="deploy", run=run_id, task="approval") + "/return_value"
    return dict(api.get(path, map_index=0, deserialize=True)["value"])


def _put_xcom(api: AirflowApi, run_id: str, value: Any) -> None:
    """As the plain ``op`` role can: create the XCom, or change it if it is there."""
    path = XCOM.format(dag="deploy", run=run_id, task="approval")
    body = {"key": "return_value", "value": value, "map_index": 0}
    answer = api.request("POST", path, json=body)
    if answer.status_code == 409:
        answer = api.request("PATCH", f"{path}/return_value", json={"value": value, "map_index": 0})
    assert answer.status_code in (200, 201), answer.text
