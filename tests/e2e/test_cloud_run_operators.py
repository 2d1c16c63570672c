"""The serverless operators on Cloud Run, from a plan to the drift that hands make."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.e2e.google_lab import CONNECTION, PROJECT, REGION, push
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.operators import ServerlessDeployOperator, ServerlessPlanOperator

pytestmark = pytest.mark.usefixtures("cloud_env")


def test_operators_plan_deploy_and_find_nothing_to_do(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    image = push(sandbox, "operators")
    options: dict[str, Any] = {
        "target": "cloud_run", "name": f"webhook-{uuid.uuid4().hex[:8]}", "address": "gcp/function/webhook",
        "conn_id": CONNECTION, "region": REGION, "scope": "test/gcp", "environment": {"LEVEL": "info"},
        "options": {"port": 8080}, "image": image,
    }  # fmt: skip
    change = ServerlessPlanOperator(task_id="plan", **options).work({})  # type: ignore[typeddict-item]
    assert (change["action"], change["risk"]) == ("create", "low")
    del options["image"]
    deploy = ServerlessDeployOperator(task_id="deploy", change=change, **options)
    result = deploy.work({})  # type: ignore[typeddict-item]
    assert result["state"] == "deployed"
    again = ServerlessPlanOperator(task_id="again", image=image, **options).work({})  # type: ignore[typeddict-item]
    assert (again["action"], again["binds"]["observed"]) == ("none", result["version"])

    batch = ServerlessDriftBatchOperator(task_id="drift", components=[options])
    (found,) = batch.execute({})  # type: ignore[arg-type]
    assert found["state"] == "in_sync"
    from google.cloud import run_v2

    from triplane.clouds import gcp

    services = gcp.client(run_v2.ServicesClient, CONNECTION)
    service = services.get_service(name=f"projects/{PROJECT}/locations/{REGION}/services/{options['name']}")
    service.ingress = run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY
    services.update_service(service=service).result(timeout=60)
    (found,) = batch.execute({})  # type: ignore[arg-type]
    assert found["state"] == "unmanaged_change"
    assert "ingress" in [attribute["name"] for attribute in found["resources"][0]["attributes"]]

    again = ServerlessPlanOperator(task_id="again", image=image, **options).work({})  # type: ignore[typeddict-item]
    assert again["action"] == "none", "the spec says nothing of the ingress"
    (found,) = batch.execute({})  # type: ignore[arg-type]
    assert found["state"] == "unmanaged_change", "a plan does not take what hands have changed for ours"
