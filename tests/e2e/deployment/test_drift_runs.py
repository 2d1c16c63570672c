"""Drift of a real resource: two checks, an alarm, a repair that people approve, and the events that others hear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.deployment.conftest import Installation
from triplane.sandbox.airflow import AirflowError
from triplane.sandbox.aws import client

ENVIRONMENT = "drifting"
CHECK = "small_drift_check"
VPC = """
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
  backend "s3" {}
}

provider "aws" {}

variable "environment" { type = string }

resource "aws_vpc" "main" {
  cidr_block = "10.77.0.0/16"
  tags       = { owner = var.environment }
}
"""


@pytest.fixture
def revision(installation: Installation) -> Iterator[str]:
    """A commit whose AWS stack is a network."""
    small = installation.small
    (small.folder / "infra" / "aws" / "main.tf").write_text(VPC)
    yield small.commit("A network")
    small.set("aws", "1")
    small.commit("No network")


@pytest.mark.campaign
def test_drift_is_repaired_through_approval_once_two_checks_have_seen_it(
    installation: Installation, revision: str
) -> None:
    alice = installation.alice
    run_id = alice.trigger("small_deploy_aws", {"environment": ENVIRONMENT, "revision": revision})
    assert installation.approve(run_id, "small_deploy_aws") == "success"
    heard = _heard(installation, 1)[0]
    assert (heard["address"], heard["state"], heard["intent"]) == ("aws/stack/main", "deployed", "deploy")
    assert [approval["responder"] for approval in heard["approvals"]] == ["bob"]
    assert (heard["revision"], heard["dag_id"]) == (revision, "small_deploy_aws")
    assert heard["run_id"] == run_id
    assert heard["change_set"].startswith("sha256:")

    vpc = _damage(installation)
    first = _scheduled_check(installation)
    assert (first["drifted"], first["pending"], first["alarms"]["known"]) == (1, 2, 0)
    assert first["repair"] is None
    assert first["coverage"]["by"]["azure"] == {"stack": {"checked": 1, "expected": 1}}

    second = _check(installation, revision)
    assert second["alarms"] == {"known": 1, "new": 1, "cured": 0}
    assert second["groups"][0]["cause"] == "stack: update tags.owner"
    repair = alice.get(f"/dags/small_deploy/dagRuns/{second['repair']}")
    assert (repair["conf"]["revision"], repair["conf"]["environment"]) == (revision, ENVIRONMENT)
    assert repair["conf"]["drift"]["run_id"] == second["run_id"]
    assert installation.approve(second["repair"], "small_deploy") == "success"
    assert _owner(installation, vpc) == ENVIRONMENT
    last = _check(installation, revision)
    assert (last["in_sync"], last["alarms"]) == (3, {"known": 0, "new": 0, "cured": 1})

    events = alice.get("/assets/events", source_dag_id=CHECK, limit=100)["asset_events"]
    told = [event["extra"] for event in events if event["extra"]["run_id"] == second["run_id"]]
    assert [(extra["drifted"], extra["alarms"]["new"]) for extra in told] == [(1, 1)]
    assert _heard(installation, 2)[-1]["run_id"].startswith(second["repair"])


def _scheduled_check(installation: Installation) -> Any:
    """What the environment's own DAG does when its time has come."""
    alice = installation.alice
    dag_id = f"{CHECK}_{ENVIRONMENT}"
    run_id = alice.trigger(dag_id, {})
    assert alice.wait(dag_id, run_id) == "success"
    return alice.xcom(CHECK, f"{ENVIRONMENT}__{run_id}", "report", "report")


def _check(installation: Installation, revision: str) -> Any:
    run_id = installation.alice.trigger(CHECK, {"environment": ENVIRONMENT, "revision": revision})
    assert installation.alice.wait(CHECK, run_id) == "success"
    return installation.alice.xcom(CHECK, run_id, "report", "report")


def _heard(installation: Installation, count: int) -> list[dict[str, Any]]:
    """What the DAG that is scheduled on the component has heard, once it has run so often."""
    api = installation.alice

    def ran() -> list[dict[str, Any]]:
        runs = api.get("/dags/small_listener/dagRuns", order_by="run_after")["dag_runs"]
        ended = [run["dag_run_id"] for run in runs if run["state"] == "success"]
        return [extra for run in ended for extra in api.xcom("small_listener", run, "hear")]

    return _until(ran, count)


def _until(look: Callable[[], list[Any]], count: int) -> list[Any]:
    end = time.monotonic() + 60
    while True:
        try:
            found = look()
        except AirflowError:
            found = []
        if len(found) >= count or time.monotonic() > end:
            assert len(found) >= count, found
            return found
        time.sleep(1)


def _damage(installation: Installation) -> str:
    """Change a tag by hand; the id of the network."""
    ec2 = client(installation.sandbox, "ec2")
    vpc: str = ec2.describe_vpcs(Filters=[{"Name": "tag:owner", "Values": [ENVIRONMENT]}])["Vpcs"][0]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "owner", "Value": "somebody"}])
    return vpc


def _owner(installation: Installation, vpc: str) -> str:
    tags = client(installation.sandbox, "ec2").describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"]
    return next(tag["Value"] for tag in tags if tag["Key"] == "owner")
