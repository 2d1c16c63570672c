"""What is wrong is said clearly, and nothing is half done."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e.terraform_lab import SIMPLE, CloudLab, Lab

S3 = """
terraform {
  backend "s3" {
  }
}
resource "terraform_data" "x" {
}
"""
LARGE = """
terraform {
  backend "local" {
  }
}
variable "pieces" {
  default = 1
}
locals {
  piece = join("", [for i in range(1000) : join("", [for j in range(20) : sha256("${i}-${j}")])])
}
resource "terraform_data" "large" {
  count = var.pieces
  input = local.piece
}
"""
ELSEWHERE = {
    "bucket": "streaming-tfstate",
    "key": "bad/input.tfstate",
    "skip_credentials_validation": True,
    "skip_requesting_account_id": True,
    "skip_region_validation": True,
    "region": "eu-west-1",
}


def test_broken_hcl_names_file_and_line(lab: Lab) -> None:
    lab.stack("network", SIMPLE + '\nresource "terraform_data" {\n}\n')
    with pytest.raises(AirflowFailException, match=r"Missing name for resource.*\(main\.tf:\d+\)"):
        lab.plan()
    assert not lab.state.exists()


def test_a_missing_variable_is_named(lab: Lab) -> None:
    lab.stack("network", SIMPLE + '\nvariable "owner" {\n  type = string\n}\n')
    wanted = r'No value for required variable.*"owner".*main\.tf:\d+.*A retry cannot help: give the variable'
    with pytest.raises(AirflowFailException, match=wanted):
        lab.plan()


def test_another_version_is_refused_before_anything_runs(lab: Lab) -> None:
    lab.stack("network", SIMPLE.replace("terraform {", 'terraform {\n  required_version = "< 1.0"', 1))
    with pytest.raises(
        AirflowFailException, match=r'main\.tf:\d+: required_version = "< 1\.0" does not accept'
    ):
        lab.plan()


def test_wrong_credentials_of_a_backend(lab: Lab, cloud_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    lab.stack("network", S3)
    with pytest.raises(AirflowFailException, match=r"No valid credential sources found.*`cloud_conn_id`"):
        lab.plan(backend={**ELSEWHERE, "skip_metadata_api_check": True}, init_timeout=60)


@pytest.mark.parametrize(
    ("backend", "field", "wanted"),
    [
        (
            "s3",
            "password",
            r"SignatureDoesNotMatch.*correct the cloud's Airflow connection \(`cloud_conn_id`\)",
        ),
        ("gcs", "private_key", "Google refuses connection google_cloud_default: .*check its key"),
        ("azurerm", "password", r"streamingtfstate.*AADSTS7000215.*correct the cloud's Airflow connection"),
        ("azurerm", "login", r"streamingtfstate.*AADSTS700016.*correct the cloud's Airflow connection"),
    ],
)
def test_wrong_credentials_in_a_connection(
    lab: Lab, cloud_env: Any, monkeypatch: pytest.MonkeyPatch, backend: str, field: str, wanted: str
) -> None:
    cloud = CloudLab(lab.home / "cloud", backend)
    change = cloud.plan()
    name = f"AIRFLOW_CONN_{cloud.kwargs()['cloud_conn_id'].upper()}"
    right = os.environ[name]
    monkeypatch.setenv(name, wrong(json.loads(right), field))
    monkeypatch.setattr(tempfile, "tempdir", str(lab.home))  # where nothing is initialized yet
    for work in (cloud.plan, lambda: cloud.apply(change)):
        with pytest.raises(AirflowFailException, match=wanted):
            work()
    monkeypatch.setenv(name, right)
    assert cloud.kinds() == []
    assert cloud.lock() is None
    assert cloud.apply(change)["state"] == "deployed"


def wrong(connection: dict[str, Any], field: str) -> str:
    """The connection with the credentials of somebody whom the cloud does not know."""
    if field != "private_key":
        return json.dumps({**connection, field: "11111111-1111-1111-1111-111111111111"})
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    keyfile = {**json.loads(connection["extra"]["keyfile_dict"]), field: pem}
    return json.dumps({**connection, "extra": {**connection["extra"], "keyfile_dict": json.dumps(keyfile)}})


def test_a_plan_too_large_to_review_is_refused(lab: Lab) -> None:
    """Its JSON is more than 100 MB: every value is in it twice."""
    lab.stack("network", LARGE)
    wanted = "larger than 100 MB of JSON.*split the stack.*`max_plan_bytes`"
    with pytest.raises(AirflowFailException, match=wanted):
        lab.plan(variables={"pieces": 45})
    with pytest.raises(AirflowFailException, match="larger than 1 MB"):
        lab.plan(max_plan_bytes=1_000_000)
    assert lab.plan()["summary"] == "1 to add"
    assert not lab.state.exists()


def test_a_backend_that_never_answers_does_not_hang(lab: Lab) -> None:
    """The server accepts and says nothing; Terraform would retry for many minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = {**ELSEWHERE, "access_key": "x", "secret_key": "y", "use_path_style": True}
        config = "".join(f"    {key} = {json.dumps(value)}\n" for key, value in settings.items())
        config += f'    endpoints = {{ s3 = "http://127.0.0.1:{port}" }}\n'
        hcl = S3.replace('"s3" {\n', f'"s3" {{\n{config}')
        lab.stack("network", hcl)
        begun = time.monotonic()
        with pytest.raises(AirflowException, match="terraform init was stopped after its limit of 3 s"):
            lab.plan(backend=None, init_timeout=3)
        assert time.monotonic() - begun < 60


def test_a_lock_file_that_does_not_fit_says_what_to_do(lab: Lab) -> None:
    lab.stack("network", 'terraform {\n  backend "local" {\n  }\n}\nresource "nothing_at_all" "x" {\n}\n')
    with pytest.raises(AirflowException, match=r"hashicorp/nothing"):
        lab.plan(init_timeout=60)
