"""Going back to what was good, and taking everything down: after all other deployments, on the same Airflow."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.deployment.conftest import Installation
from triplane.sandbox.aws import client
from triplane.sandbox.kubernetes.api import Api

pytestmark = pytest.mark.timeout(900)


def test_a_cloud_goes_back_to_the_last_good_version(installation: Installation, deployed: str) -> None:
    good = installation.good
    installation.platform.spec.write_text(installation.spec)
    installation.platform.change_stack()
    installation.platform.replace(
        "infra/aws/network/main.tf", 'output "vpc_id"', f'{BUCKET}\n\noutput "vpc_id"'
    )
    installation.commit_spec("A tag, and a bucket")
    assert installation.deploy_alone("aws")["state"] == "success"
    assert _vpc(installation)["revision"] == "2"

    run = installation.deploy_alone("aws", action="rollback")
    assert run["state"] == "success"
    assert run["question"]["subject"].startswith("Roll back streaming-platform in staging (AWS)")
    assert f"**Roll back** to revision `{good}`" in run["question"]["body"]
    assert (
        "! aws_s3_bucket.extra: its data is lost, and no rollback brings it back" in run["question"]["body"]
    )
    assert "revision" not in _vpc(installation)
    assert [r["state"] for r in run["results"] if r["address"] == "aws/stack/network"] == ["deployed"]


def test_what_a_policy_denies_cannot_be_approved(installation: Installation, deployed: str) -> None:
    installation.platform.replace("policies/storage.rego", "import rego.v1\n", f"import rego.v1\n\n{DENY}\n")
    installation.platform.commit("No second revisions")
    run = installation.deploy_alone("aws")
    assert (run["state"], run["question"]) == ("failed", None)
    log = installation.log("deploy_aws", run["run_id"], "change_set")
    assert "denied by policy, so nobody can approve it: aws/stack/network: " in log
    assert "aws_vpc.main: no second revisions" in log
    assert installation.task("deploy_aws", run["run_id"], "authorize")["state"] == "upstream_failed"


def test_a_plan_that_somebody_edited_is_refused(installation: Installation, deployed: str) -> None:
    run_id = installation.alice.trigger("deploy_gcp", {"environment": "staging", "action": "plan"})
    assert installation.alice.wait("deploy_gcp", run_id) == "success"
    plan = "infrastructure.network.plan"
    sealed = installation.alice.xcom("deploy_gcp", run_id, plan)
    path = f"/dags/deploy_gcp/dagRuns/{run_id}/taskInstances/{plan}/xcomEntries/return_value"
    for edit in ({"lines": ["nothing to see"]}, {"seal": "0" * 64}):
        body = {"value": {**sealed, **edit}, "map_index": -1}
        assert installation.olga.request("PATCH", path, json=body).status_code == 200
        installation.clear("deploy_gcp", run_id, "change_set")
        assert installation.alice.wait("deploy_gcp", run_id) == "failed"
        log = installation.log("deploy_gcp", run_id, "change_set")
        assert "gcp/stack/network: the plan was changed after its task returned it" in log


@pytest.mark.campaign
def test_a_dry_run_of_destroy_shows_what_would_go(installation: Installation, deployed: str) -> None:
    run_id = installation.start(action="destroy", dry_run=True)
    assert installation.alice.wait("deploy", run_id) == "success"
    assert not installation.alice.questions("deploy", run_id)
    log = installation.log("deploy_gcp", f"{run_id}.gcp.plan", "infrastructure.network.plan")
    assert "to destroy, critical risk" in log
    for skipped in ("images.ingest.build", "destroy.stack.network", "record"):
        assert installation.task("deploy_gcp", f"{run_id}.gcp.plan", skipped)["state"] == "skipped"


def test_everything_is_destroyed_in_reverse(installation: Installation, deployed: str) -> None:
    run_id = installation.start(action="destroy")
    (question,) = installation.alice.wait_for_question("deploy", run_id)
    assert question["subject"].startswith("Destroy streaming-platform in staging (AWS, Azure, Google Cloud)")
    assert question["subject"].endswith("risk critical")
    assert installation.bob.answer(question, "Approve").status_code == 200
    assert installation.alice.wait("deploy", run_id) == "success"
    rows = installation.rows(run_id)
    assert len(rows) == 28
    assert {row["state"] for row in rows.values()} == {"destroyed"}

    for stack in ("network", "cluster"):
        assert _state(installation, stack)["resources"] == []
    kubernetes = Api.of(installation.sandbox.home / "kubernetes" / "gcp" / "admin.kubeconfig")
    assert kubernetes.get("/apis/apps/v1/namespaces/streaming/deployments")["items"] == []
    functions = client(installation.sandbox, "lambda").list_functions()["Functions"]
    assert "streaming-platform-staging-webhook" not in {item["FunctionName"] for item in functions}
    child = f"{run_id}.azure.apply"
    ended = {name: installation.task("deploy_azure", child, name) for name in REVERSED}
    for earlier, later in pairwise(REVERSED):
        assert ended[earlier]["end_date"] <= ended[later]["start_date"]
    for skipped in ("infrastructure.network.apply", "applications.query.deploy", "functions.webhook.deploy"):
        assert installation.task("deploy_azure", child, skipped)["state"] == "skipped"


def test_nothing_is_left_to_destroy_and_nobody_is_asked(installation: Installation, deployed: str) -> None:
    run_id = installation.start(action="destroy")
    assert installation.alice.wait("deploy", run_id) == "success"
    assert {row["state"] for row in installation.rows(run_id).values()} == {"unchanged"}
    assert not installation.alice.questions("deploy", run_id)


REVERSED = (
    "destroy.stream.events",
    "destroy.function.webhook",
    "destroy.stack.cluster",
    "destroy.stack.network",
)
DENY = """deny contains text if {
	some item in input.resource_changes
	item.change.after.tags.revision == "2"
	text := sprintf("%s: no second revisions", [item.address])
}"""
BUCKET = 'resource "aws_s3_bucket" "extra" {\n  bucket = "streaming-extra"\n}'


def _state(installation: Installation, stack: str) -> Any:
    place = {"Bucket": "streaming-tfstate", "Key": f"streaming-platform/staging/{stack}.tfstate"}
    return json.loads(client(installation.sandbox, "s3").get_object(**place)["Body"].read())


def _vpc(installation: Installation) -> dict[str, str]:
    (resource,) = [r for r in _state(installation, "network")["resources"] if r["type"] == "aws_vpc"]
    found: dict[str, str] = resource["instances"][0]["attributes"]["tags"]
    return found
