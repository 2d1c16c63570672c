"""Azure Functions through the sandbox: a slot that is swapped, a package that really runs, and the operators."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from airflow.sdk.exceptions import TaskDeferred
from cryptography.fernet import Fernet

from tests.function_packages import NO_ARCHIVE, UNIMPORTABLE
from tests.serverless_rounds import again, deleted, deployed, run
from triplane.clouds import azure
from triplane.core.digest import digest
from triplane.core.errors import RefusedError
from triplane.sandbox.azure.part import GROUP, LOCATION
from triplane.sandbox.runtime import Sandbox
from triplane.serverless import package
from triplane.serverless.azure.functions import AzureFunctions
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.operators import ServerlessDeployOperator
from triplane.serverless.target import Desired, Smoke, difference

CONNECTION = "azure_default"
FUNCTION = Path(__file__).parents[2] / "examples/streaming-platform/functions/webhook-azure"
HEALTH = Smoke(path="/api/healthz")
PAUSE = 0.3
pytestmark = pytest.mark.usefixtures("cloud_env")


@pytest.fixture
def make() -> Callable[[], AzureFunctions]:
    from azure.mgmt.web import WebSiteManagementClient

    store: dict[str, bytes] = {}

    def take(wanted: str) -> bytes:
        if wanted not in store:
            raise RefusedError(f"{wanted} is not there")
        return store[wanted]

    return lambda: AzureFunctions(
        azure.client(WebSiteManagementClient, CONNECTION),
        azure.manager_tokens(CONNECTION),
        resource_group=GROUP,
        location=LOCATION,
        packages=take,
        keep=lambda data: store.__setitem__(digest(data), data),
        health_seconds=2,
    )


@pytest.fixture
def desired() -> Desired:
    built = package.build(FUNCTION)
    return Desired(
        name=f"t{uuid.uuid4().hex[:10]}",
        artifact=built.digest,
        config="sha256:one",
        package=built.data,
        environment={"LOG_LEVEL": "info", "TOKEN": "planted-secret"},
        options={"runtime": "python|3.11", "health_path": "/api/healthz"},
        revision="c0ffee",
        attempt=uuid.uuid4().hex[:16],
    )


def call(desired: Desired, token: str) -> int:
    url = f"https://{desired.name}.azurewebsites.net/api/webhook"
    return requests.post(url, data=b"x", headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code


def stored(sandbox: Sandbox, name: str) -> Any:
    url = f"http://127.0.0.1:{sandbox.port('azure-arm')}/_sandbox/sites/{name}"
    return requests.get(url, timeout=10).json()


def test_a_function_is_deployed_updated_and_deleted(
    make: Callable[[], AzureFunctions], desired: Desired, sandbox: Sandbox
) -> None:
    lines: list[str] = []
    assert make().observe(desired.name) is None
    first = deployed(make, desired, smoke=HEALTH, log=lines.append, pause=PAUSE)
    assert (call(desired, "planted-secret"), call(desired, "other")) == (202, 401)
    assert stored(sandbox, desired.name)["digest"] == desired.artifact
    assert difference(desired, first) == ()

    changed = again(
        desired, 2, config="sha256:two", environment={**desired.environment, "TOKEN": "planted-other"}
    )
    assert difference(changed, first) == ("environment TOKEN: changed",)
    second = deployed(make, changed, smoke=HEALTH, log=lines.append, pause=PAUSE)
    assert second.version != first.version
    assert (call(desired, "planted-other"), call(desired, "planted-secret")) == (202, 401)
    assert stored(sandbox, f"{desired.name}-staging")["deployment"] == first.version
    assert "planted" not in "".join(lines)
    assert make().tail(desired.name, second.version)
    deleted(make, desired.name, PAUSE)
    assert make().observe(desired.name) is None


@pytest.mark.parametrize(
    ("slot", "data"),
    [("staging", UNIMPORTABLE), ("none", NO_ARCHIVE)],
    ids=["staging, import", "none, archive"],
)
def test_a_package_that_fails_is_rolled_back(
    make: Callable[[], AzureFunctions], desired: Desired, data: bytes, slot: str
) -> None:
    desired = dataclasses.replace(desired, options={**desired.options, "slot": slot})
    first = deployed(make, desired, pause=PAUSE)
    bad = again(
        desired, 2, package=data, artifact=digest(data), config="sha256:bad", environment={"TOKEN": "bad"}
    )
    attempt = run(make, bad, first, pause=PAUSE, forget=True)
    assert attempt.failed
    after = make().observe(desired.name)
    assert after is not None
    assert attempt.serves == after.version
    assert difference(desired, after) == ()
    assert call(desired, "planted-secret") == 202


def test_a_new_app_that_fails_is_removed(make: Callable[[], AzureFunctions], desired: Desired) -> None:
    bad = dataclasses.replace(desired, package=NO_ARCHIVE, artifact=digest(NO_ARCHIVE))
    attempt = run(make, bad, None, pause=PAUSE)
    assert attempt.serves == ""
    assert make().observe(desired.name) is None


def deploy(**function: Any) -> None:
    """As Airflow does: the task lets go of its worker and is called again."""
    for _ in range(200):
        try:
            ServerlessDeployOperator(task_id="d", **function).execute({})  # type: ignore[arg-type]
        except TaskDeferred:
            time.sleep(PAUSE)
        else:
            return
    raise AssertionError("it does not end")


def test_drift_of_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.mgmt.web import WebSiteManagementClient

    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    function: dict[str, Any] = {
        "target": "azure_functions",
        "name": f"t{uuid.uuid4().hex[:10]}",
        "path": str(FUNCTION),
        "environment": {"LOG_LEVEL": "info"},
        "options": {"runtime": "python|3.11", "health_path": "/api/healthz"},
        "region": LOCATION,
        "resource_group": GROUP,
        "scope": "staging/azure",
        "address": "azure/function/webhook",
    }
    deploy(**function)
    batch = ServerlessDriftBatchOperator(task_id="t", components=[function])
    (found,) = batch.execute({})  # type: ignore[arg-type]
    assert found["state"] == "in_sync"
    apps = azure.client(WebSiteManagementClient, CONNECTION).web_apps
    settings = dict(apps.list_application_settings(GROUP, function["name"]).properties)
    settings |= {"LOG_LEVEL": "debug", "EXTRA": "by-hand"}
    apps.update_application_settings(GROUP, function["name"], {"properties": settings})
    (found,) = batch.execute({})  # type: ignore[arg-type]
    names = [attribute["name"] for attribute in found["resources"][0]["attributes"]]
    assert (found["state"], names) == ("drifted", ["environment EXTRA", "environment LOG_LEVEL"])
    assert "by-hand" not in json.dumps(found)
