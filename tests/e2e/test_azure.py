"""Unmodified Azure SDKs, an unmodified Airflow hook, Terraform's own backend, and function deployments."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet

from triplane.clouds import azure
from triplane.core.digest import digest
from triplane.sandbox.azure.part import CLIENT, GROUP, LOCATION, REGISTRY, STATE_ACCOUNT, SUBSCRIPTION, TENANT
from triplane.sandbox.runtime import Sandbox
from triplane.serverless import package
from triplane.serverless.azure_functions import AzureFunctions
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.operators import ServerlessDeployOperator
from triplane.serverless.target import DeployFailed, Desired, difference

CONNECTION = "azure_default"
FUNCTION = Path(__file__).parents[2] / "examples/streaming-platform/functions/webhook-azure"
NETWORK = {"location": LOCATION, "properties": {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}}
STACK = """
terraform {{
  backend "azurerm" {{
    resource_group_name  = "streaming"
    storage_account_name = "streamingtfstate"
    container_name       = "tfstate"
    key                  = "{key}"
  }}
}}
resource "terraform_data" "slow" {{
  provisioner "local-exec" {{ command = "sleep {seconds}" }}
}}
"""

pytestmark = pytest.mark.usefixtures("cloud_env")


def name() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def networks() -> Any:
    from azure.mgmt.network import NetworkManagementClient

    return azure.client(NetworkManagementClient, CONNECTION).virtual_networks


def sandbox_url(sandbox: Sandbox, path: str) -> str:
    return f"http://127.0.0.1:{sandbox.port('azure-arm')}/_sandbox/{path}"


def test_a_wrong_secret_is_refused() -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ClientSecretCredential

    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        ClientSecretCredential(TENANT, CLIENT, "wrong").get_token("https://management.azure.com/.default")


def test_a_network_is_made_and_removed(networks: Any) -> None:
    this = name()
    made = networks.begin_create_or_update(GROUP, this, NETWORK, polling_interval=1).result()
    assert made.provisioning_state == "Succeeded"
    assert this in [item.name for item in networks.list(GROUP)]
    networks.begin_delete(GROUP, this, polling_interval=1).result()
    assert this not in [item.name for item in networks.list(GROUP)]


def test_an_unknown_property_is_refused(networks: Any) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError) as caught:
        networks.begin_create_or_update(GROUP, name(), {**NETWORK, "colour": "red"})
    assert (caught.value.status_code, caught.value.error.code) == (400, "InvalidRequestContent")


def test_a_failing_operation_is_reported(networks: Any, sandbox: Sandbox) -> None:
    from azure.core.exceptions import HttpResponseError

    this = name()
    fault = {"path": f"{this}$", "operation": True, "code": "Broken", "message": "it broke"}
    assert requests.post(sandbox_url(sandbox, "faults"), json=fault, timeout=10).status_code == 204
    with pytest.raises(HttpResponseError, match="it broke"):
        networks.begin_create_or_update(GROUP, this, NETWORK, polling_interval=1).result()
    assert networks.get(GROUP, this).provisioning_state == "Failed"


def test_a_cluster_keeps_its_node_count_where_it_was_not_given() -> None:
    from azure.mgmt.containerservice import ContainerServiceClient

    clusters = azure.client(ContainerServiceClient, CONNECTION).managed_clusters
    pool = {"name": "default", "mode": "System", "vmSize": "Standard_D2s_v5"}
    properties = {"dnsPrefix": "test", "agentPoolProfiles": [pool]}
    body = {"location": LOCATION, "identity": {"type": "SystemAssigned"}, "properties": properties}
    made = clusters.begin_create_or_update(GROUP, name(), body, polling_interval=1).result()
    assert (made.provisioning_state, made.agent_pool_profiles[0].count) == ("Succeeded", 1)
    assert made.identity.principal_id


def test_a_container_of_a_storage_account() -> None:
    from azure.core.exceptions import ResourceNotFoundError
    from azure.mgmt.storage import StorageManagementClient

    containers = azure.client(StorageManagementClient, CONNECTION).blob_containers
    this = name()
    assert containers.create(GROUP, STATE_ACCOUNT, this, {}).name == this
    assert this in [item.name for item in containers.list(GROUP, STATE_ACCOUNT)]
    containers.delete(GROUP, STATE_ACCOUNT, this)
    with pytest.raises(ResourceNotFoundError):
        containers.create(GROUP, "noaccount", this, {})


def test_an_airflow_hook_reads_registry_credentials(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    from airflow.providers.microsoft.azure.hooks.container_registry import AzureContainerRegistryHook

    connection = {
        "conn_type": "azure_container_registry",
        "login": REGISTRY,
        "host": f"{REGISTRY}.azurecr.io",
        "extra": {"subscription_id": SUBSCRIPTION, "resource_group": GROUP},
    }
    monkeypatch.setenv("AIRFLOW_CONN_REGISTRY_TEST", json.dumps(connection))
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", sandbox.secret("azure-client-secret"))
    found = AzureContainerRegistryHook(conn_id="registry_test").get_conn()
    assert (found.server, found.username) == (f"{REGISTRY}.azurecr.io", REGISTRY)
    assert found.password


def terraform(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **azure.terraform_credentials(CONNECTION).env, "TF_IN_AUTOMATION": "1"}
    env.pop("TF_CLI_CONFIG_FILE", None)
    argv = ["terraform", *arguments]
    return subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, timeout=120)


def test_terraform_keeps_and_locks_its_state_in_blob_storage(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(STACK.format(key=f"{name()}.tfstate", seconds=6))
    init = terraform(tmp_path, "init")
    assert init.returncode == 0, init.stderr
    env = {**os.environ, **azure.terraform_credentials(CONNECTION).env}
    argv = ["terraform", "apply", "-auto-approve", "-no-color", "-input=false"]
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if "Creating..." in line:
                break
        second = terraform(tmp_path, "apply", "-auto-approve", "-no-color")
        assert second.returncode == 1
        assert "Error acquiring the state lock" in second.stderr
        first.stdout.read()
        assert first.wait(60) == 0
    assert "terraform_data.slow" in terraform(tmp_path, "state", "list").stdout


@pytest.fixture
def functions() -> AzureFunctions:
    from azure.mgmt.web import WebSiteManagementClient

    client = azure.client(WebSiteManagementClient, CONNECTION)
    return AzureFunctions(
        client,
        azure.manager_tokens(CONNECTION),
        resource_group=GROUP,
        location=LOCATION,
        health_seconds=2,
    )


@pytest.fixture
def desired() -> Desired:
    built = package.build(FUNCTION)
    return Desired(
        name=name(),
        artifact=built.digest,
        config="sha256:one",
        package=built.data,
        environment={"LOG_LEVEL": "info", "TOKEN": "planted-secret"},
        options={"runtime": "python|3.11", "health_path": "/api/healthz"},
    )


def call(desired: Desired, token: str) -> int:
    url = f"https://{desired.name}.azurewebsites.net/api/webhook"
    return requests.post(url, data=b"x", headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code


def test_a_function_is_deployed_updated_and_unchanged(
    functions: AzureFunctions, desired: Desired, sandbox: Sandbox
) -> None:
    lines: list[str] = []
    assert functions.observe(desired.name) is None
    first = functions.deploy(desired, None, lines.append)
    functions.verify(desired, first)
    assert (call(desired, "planted-secret"), call(desired, "other")) == (202, 401)
    stored = requests.get(sandbox_url(sandbox, f"sites/{desired.name}"), timeout=10).json()
    assert (stored["deployment"], stored["digest"]) == (first.version, desired.artifact)

    observed = functions.observe(desired.name)
    assert observed is not None
    assert difference(desired, observed) == ()
    changed = dataclasses.replace(
        desired, config="sha256:two", environment={**desired.environment, "TOKEN": "planted-other"}
    )
    assert difference(changed, observed) == ("environment TOKEN: changed",)
    second = functions.deploy(changed, observed, lines.append)
    functions.verify(changed, second)
    assert second.version != first.version
    assert (call(desired, "planted-other"), call(desired, "planted-secret")) == (202, 401)
    assert "planted" not in "".join(lines)


def broken_package() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("host.json", "{}")
        archive.writestr("function_app.py", "import nothing_of_that_name")
    return buffer.getvalue()


@pytest.mark.parametrize("data", [broken_package(), b"no archive"], ids=["import", "archive"])
def test_a_package_that_fails_is_rolled_back(
    functions: AzureFunctions, desired: Desired, data: bytes
) -> None:
    functions.deploy(desired, None, print)
    before = functions.observe(desired.name)
    assert before is not None
    bad = dataclasses.replace(
        desired, package=data, artifact=digest(data), config="sha256:bad", environment={"TOKEN": "bad"}
    )
    with pytest.raises(DeployFailed) as caught:
        functions.deploy(bad, before, print)
    after = functions.observe(desired.name)
    assert after is not None
    assert caught.value.restored == after.version
    assert difference(desired, after) == ()
    assert call(desired, "planted-secret") == 202


def test_a_new_app_that_fails_is_removed(functions: AzureFunctions, desired: Desired) -> None:
    bad = dataclasses.replace(desired, package=b"no archive", artifact=digest(b"no archive"))
    with pytest.raises(DeployFailed) as caught:
        functions.deploy(bad, None, print)
    assert caught.value.restored is None
    assert functions.observe(desired.name) is None


def test_an_earlier_deployment_is_restored(functions: AzureFunctions, desired: Desired) -> None:
    assert desired.package is not None
    store = {desired.artifact: desired.package}
    functions._packages = store.__getitem__
    functions.deploy(desired, None, print)
    previous = functions.observe(desired.name)
    assert previous is not None
    functions.deploy(dataclasses.replace(desired, environment={"TOKEN": "new"}), previous, print)
    functions.restore(desired.name, previous)
    now = functions.observe(desired.name)
    assert now is not None
    assert difference(desired, now) == ()


def test_drift_of_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.mgmt.web import WebSiteManagementClient

    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    function: dict[str, Any] = {
        "target": "azure_functions",
        "name": name(),
        "path": str(FUNCTION),
        "environment": {"LOG_LEVEL": "info"},
        "options": {"runtime": "python|3.11", "health_path": "/api/healthz"},
        "region": LOCATION,
        "resource_group": GROUP,
        "scope": "staging/azure",
        "address": "azure/function/webhook",
    }
    ServerlessDeployOperator(task_id="d", **function).execute({})  # type: ignore[arg-type]
    batch = ServerlessDriftBatchOperator(task_id="t", functions=[function])
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
