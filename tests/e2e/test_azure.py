"""Unmodified Azure SDKs, an unmodified Airflow hook, and Terraform's own backend."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from triplane.clouds import azure
from triplane.sandbox.azure.part import CLIENT, GROUP, LOCATION, REGISTRY, STATE_ACCOUNT, SUBSCRIPTION, TENANT
from triplane.sandbox.runtime import Sandbox

CONNECTION = "azure_default"
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
