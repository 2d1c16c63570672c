"""State in S3 with a DynamoDB lock, AWS resources, and drift that somebody really caused."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from triplane import clouds, settings
from triplane.clouds import aws
from triplane.core.errors import InputError
from triplane.terraform.operators import (
    TerraformApplyOperator,
    TerraformDriftOperator,
    TerraformPlanOperator,
)

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")

REGISTRY = "000000000000.dkr.ecr.eu-west-1.amazonaws.com"
HCL = """
terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
  backend "s3" {}
}
variable "name" { default = "main" }
resource "aws_vpc" "main" {
  cidr_block = "10.1.0.0/16"
  tags       = { Name = var.name }
}
output "vpc_id" { value = aws_vpc.main.id }
"""


@pytest.fixture
def kwargs(tmp_path: Path, cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "main.tf").write_text(HCL)
    return {
        "task_id": "t",
        "path": str(tmp_path / "network"),
        "scope": "staging/aws",
        "cloud": "aws",
        "cloud_conn_id": "aws_default",
        "cloud_options": {"region": "eu-west-1"},
        "backend": {
            "bucket": "streaming-tfstate",
            "lock_table": "streaming-tflock",
            "key": f"streaming/{uuid.uuid4()}/network.tfstate",
        },
        "lock_timeout": 1,
    }


CONTEXT: Any = {"dag_run": SimpleNamespace(dag_id="deploy_aws", run_id="run1")}


def test_state_in_s3_and_real_drift(kwargs: dict[str, Any]) -> None:
    change = TerraformPlanOperator(**kwargs).execute(CONTEXT)
    assert (change["address"], change["action"], change["risk"]) == ("aws/stack/network", "create", "low")
    assert "lock" in change["binds"]
    result = TerraformApplyOperator(**kwargs, change=change).execute(CONTEXT)
    state = _state(kwargs)
    assert result["version"] == f"serial {state['serial']}"
    vpc = settings.lookup("staging/aws")("network.vpc_id")
    assert TerraformDriftOperator(**kwargs).execute(CONTEXT)["state"] == "in_sync"

    ec2 = aws.client("ec2", "aws_default", "eu-west-1")
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "mallory"}])
    drift = TerraformDriftOperator(**kwargs).execute(CONTEXT)
    assert drift["state"] == "drifted"
    assert drift["resources"][0]["address"] == "aws_vpc.main"
    assert {"name": "tags.Name", "before": '"main"', "after": '"mallory"'} in drift["resources"][0][
        "attributes"
    ]

    repair = TerraformPlanOperator(**kwargs).execute(CONTEXT)
    assert (repair["action"], repair["binds"]["serial"]) == ("update", state["serial"])
    repaired = TerraformApplyOperator(**kwargs, change=repair).execute(CONTEXT)
    assert (repaired["state"], repaired["version"]) == ("deployed", result["version"]), (
        "the state was right all along"
    )
    assert TerraformDriftOperator(**kwargs).execute(CONTEXT)["state"] == "in_sync"


def test_what_a_deployment_leaves_as_it_is_and_what_is_gone_altogether(kwargs: dict[str, Any]) -> None:
    hcl = HCL.replace("tags       =", 'lifecycle { ignore_changes = [tags["note"]] }\n  tags =')
    (Path(kwargs["path"]) / "main.tf").write_text(hcl)
    change = TerraformPlanOperator(**kwargs).execute(CONTEXT)
    TerraformApplyOperator(**kwargs, change=change).execute(CONTEXT)
    vpc = settings.lookup("staging/aws")("network.vpc_id")
    ec2 = aws.client("ec2", "aws_default", "eu-west-1")

    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "note", "Value": "by hand"}])
    left = TerraformDriftOperator(**kwargs).execute(CONTEXT)
    assert (left["state"], left["resources"][0]["unmanaged"]) == ("unmanaged_change", True)
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "mallory"}])
    both = TerraformDriftOperator(**kwargs).execute(CONTEXT)
    found = [
        (item.get("unmanaged", False), [each["name"] for each in item["attributes"]])
        for item in both["resources"]
    ]
    assert (both["state"], found) == ("drifted", [(False, ["tags.Name"]), (True, ["tags.note"])])

    ec2.delete_vpc(VpcId=vpc)
    gone = TerraformDriftOperator(**kwargs).execute(CONTEXT)
    assert (gone["state"], gone["resources"][0]["action"]) == ("missing", "destroy")

    state = aws.client("s3", "aws_default", "eu-west-1")
    state.delete_object(Bucket=kwargs["backend"]["bucket"], Key=kwargs["backend"]["key"])
    table = aws.client("dynamodb", "aws_default", "eu-west-1")
    name = f"{kwargs['backend']['bucket']}/{kwargs['backend']['key']}-md5"
    table.delete_item(TableName="streaming-tflock", Key={"LockID": {"S": name}})
    assert TerraformDriftOperator(**kwargs).execute(CONTEXT)["state"] == "pending", "nobody says it was there"
    known = {"aws/stack/network": {"version": "serial 1", "change_set": "", "revision": "", "run_id": ""}}
    settings.artifact_store().put_named("deployments/staging/aws", json.dumps(known).encode())
    lost = TerraformDriftOperator(**kwargs).execute(CONTEXT)
    assert (lost["state"], lost["resources"][0]["address"]) == ("missing", "state")


def test_a_lock_in_dynamodb_is_respected_and_named(kwargs: dict[str, Any]) -> None:
    change = TerraformPlanOperator(**kwargs).execute(CONTEXT)
    lock = {
        "ID": "1234",
        "Operation": "OperationTypeApply",
        "Who": "carol@laptop",
        "Version": "1",
        "Path": "p",
    }
    lock["Created"] = "2026-01-01T00:00:00Z"
    name = f"{kwargs['backend']['bucket']}/{kwargs['backend']['key']}"
    dynamodb = aws.client("dynamodb", "aws_default", "eu-west-1")
    item = {"LockID": {"S": name}, "Info": {"S": json.dumps(lock)}}
    dynamodb.put_item(TableName="streaming-tflock", Item=item)
    with pytest.raises(AirflowException, match="locked by carol@laptop") as refused:
        TerraformApplyOperator(**kwargs, change=change).execute(CONTEXT)
    assert not isinstance(refused.value, AirflowFailException)
    dynamodb.delete_item(TableName="streaming-tflock", Key={"LockID": {"S": name}})
    assert TerraformApplyOperator(**kwargs, change=change).execute(CONTEXT)["state"] == "deployed"


@pytest.fixture
def assumed(kwargs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The same through a connection that assumes a role, whose credentials end after an hour."""
    iam = aws.client("iam", "aws_default", "eu-west-1")
    name = f"deployer-{uuid.uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    connection["extra"] |= {"role_arn": arn}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_ROLE", json.dumps(connection))
    return {**kwargs, "cloud_conn_id": "aws_role"}


def test_an_apply_begins_only_with_credentials_that_last(assumed: dict[str, Any]) -> None:
    change = TerraformPlanOperator(**assumed).execute(CONTEXT)
    needs = {**assumed, "change": change, "credential_lifetime": 7200}
    with pytest.raises(
        AirflowFailException, match=r"connection aws_role end in \d+ minutes, and an apply needs 120"
    ):
        TerraformApplyOperator(**needs).execute(CONTEXT)
    assert settings.ledger("staging/aws").entries() == []
    operator = TerraformApplyOperator(**assumed, change=change)
    first = operator.credentials()
    assert first["AWS_SESSION_TOKEN"]
    assert operator._found is not None
    assert operator._found.left < 3600
    soon = datetime.now(UTC) + timedelta(minutes=5)
    operator._found = clouds.Credentials(first, soon)
    assert operator.credentials(60) is first
    assert operator.execute(CONTEXT)["state"] == "deployed"
    assert operator.credentials(60)["AWS_SESSION_TOKEN"] != first["AWS_SESSION_TOKEN"]


def test_credentials_come_from_the_connection(cloud_env: dict[str, str]) -> None:
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    env = clouds.terraform_credentials("aws", "aws_default", region="eu-west-1").env
    assert env["AWS_ACCESS_KEY_ID"] == connection["login"]
    assert env["AWS_SECRET_ACCESS_KEY"] == connection["password"]
    assert env["AWS_REGION"] == "eu-west-1"
    assert connection["password"] not in settings.redactor()(f"x {connection['password']}")
    user, password = clouds.registry_login("aws", "aws_default", REGISTRY)
    assert user == "AWS"
    assert len(password) > 20
    with pytest.raises(InputError, match="is not an ECR registry"):
        clouds.registry_login("aws", "aws_default", "docker.io/library")
    with pytest.raises(InputError, match="'ibm' is not a cloud"):
        clouds.terraform_credentials("ibm", "x")


def _state(kwargs: dict[str, Any]) -> dict[str, Any]:
    s3 = aws.client("s3", "aws_default", "eu-west-1")
    found = s3.get_object(Bucket=kwargs["backend"]["bucket"], Key=kwargs["backend"]["key"])
    state: dict[str, Any] = json.loads(found["Body"].read())
    return state
