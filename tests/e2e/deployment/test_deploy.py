"""Whole deployments of the example through Airflow: three clouds and one approval.

The tests share one Airflow and build on each other, in the order of this file.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.deployment.conftest import SECRETS, Installation
from triplane.sandbox.aws import client
from triplane.sandbox.kubernetes.api import Api
from triplane.sandbox.postgres import USER, find

pytestmark = pytest.mark.timeout(900)


def test_everything_is_deployed_everywhere(installation: Installation, deployed: str) -> None:
    rows = installation.rows(deployed)
    assert len(rows) == 28
    assert {row["state"] for row in rows.values()} == {"deployed"}
    for cloud in ("aws", "gcp", "azure"):
        assert installation.task("deploy", deployed, f"apply.{cloud}")["state"] == "success"


def test_one_cloud_alone_asks_in_its_own_run(installation: Installation, deployed: str) -> None:
    installation.platform.change_service()
    installation.good = installation.platform.commit("Larger events")
    run_id = installation.alice.trigger("deploy_aws", {"environment": "staging", "action": "deploy"})
    (question,) = installation.alice.wait_for_question("deploy_aws", run_id)
    assert "chart/ingest" in question["body"]
    assert installation.bob.answer(question, "Approve").status_code == 200
    assert installation.alice.wait("deploy_aws", run_id) == "success"
    results = installation.alice.xcom("deploy_aws", run_id, "record")
    assert [r["address"] for r in results if r["state"] == "deployed"] == ["aws/chart/ingest"]


def test_a_chart_that_fails_is_rolled_back_and_named(installation: Installation, deployed: str) -> None:
    installation.platform.break_chart("aws", "ingest")
    installation.commit_spec("An image that nobody built")
    run = installation.deploy_alone("aws")
    assert run["state"] == "failed"
    result = installation.alice.xcom("deploy_aws", run["run_id"], "applications.ingest.deploy")
    before = 1 if installation.good == installation.first else 2
    assert result["state"] == "rolled_back"
    assert result["version"] == str(before + 2), "one failed, and the next has the old content"
    assert f"revision {before + 2} (the content of revision {before}) serves" in result["details"]["error"]


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


def test_planted_secrets_are_nowhere(installation: Installation, deployed: str, tmp_path: Path) -> None:
    """Not in files (logs, Ansible's output among them), nor in Airflow's database (XComs, rendered fields, questions), nor in
    change sets and the ledger as they are decrypted, nor in messages.
    """
    airflow = installation.airflow
    places: dict[str, bytes] = {}
    for folder, _, names in os.walk(airflow.home):
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):  # the database's own come and go
                if path.is_file():
                    places[str(path)] = path.read_bytes()
    dump = [find("pg_dump"), "-h", str(airflow.database.folder), "-U", USER, "--inserts", "postgres"]
    places["database"] = subprocess.run(dump, check=True, capture_output=True).stdout
    bundle = tmp_path / "evidence.zip"
    triplane = Path(sys.executable).with_name("triplane")
    command = [triplane, "evidence", deployed, "--output", bundle]
    subprocess.run(command, check=True, env=airflow.environ, capture_output=True)
    with zipfile.ZipFile(bundle) as archive:
        places |= {f"evidence/{name}": archive.read(name) for name in archive.namelist()}
    installation.listener.heard(2)
    places["messages"] = json.dumps(installation.listener.told).encode()
    found = [
        (name, key)
        for name, data in places.items()
        for key, secret in SECRETS.items()
        if secret.encode() in data
    ]
    assert found == []
    assert any(name.endswith(".log") for name in places)
    assert b"INSERT INTO public.xcom" in places["database"]
    assert b"INSERT INTO public.rendered_task_instance_fields" in places["database"]
    assert any(name.startswith("evidence/change_sets/azure") for name in places)
    assert b"approval_needed" in places["messages"]
    assert b"deployed" in places["messages"]
