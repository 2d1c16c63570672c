"""Creates what a customer's Azure subscription holds already, through the unmodified SDKs."""

from __future__ import annotations

from typing import Any

from triplane.sandbox.azure import part
from triplane.sandbox.service import Context


def seed(ctx: Context) -> None:
    """Resource group, storage account with the container for Terraform states, container registry."""
    from azure.identity import ClientSecretCredential
    from azure.mgmt.containerregistry import ContainerRegistryManagementClient
    from azure.mgmt.resource.resources import ResourceManagementClient
    from azure.mgmt.storage import StorageManagementClient

    through: dict[str, Any] = {
        "proxies": {"https": ctx.proxy_url},
        "connection_verify": str(ctx.ca_file),
        "polling_interval": 1,
    }
    secret = ctx.secret("azure-client-secret")
    credential = ClientSecretCredential(part.TENANT, part.CLIENT, secret, **through)
    groups = ResourceManagementClient(credential, part.SUBSCRIPTION, **through).resource_groups
    groups.create_or_update(part.GROUP, {"location": part.LOCATION})
    storage = StorageManagementClient(credential, part.SUBSCRIPTION, **through).storage_accounts
    account = {"location": part.LOCATION, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    making_account = storage.begin_create(part.GROUP, part.STATE_ACCOUNT, account)
    registries = ContainerRegistryManagementClient(credential, part.SUBSCRIPTION, **through).registries
    registry = {
        "location": part.LOCATION,
        "sku": {"name": "Standard"},
        "properties": {"adminUserEnabled": True},
    }
    making_registry = registries.begin_create(part.GROUP, part.REGISTRY, registry)
    making_account.result()
    key = storage.list_keys(part.GROUP, part.STATE_ACCOUNT).keys_property[0].value
    _container(key, through)
    making_registry.result()


def _container(key: str, through: dict[str, Any]) -> None:
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobServiceClient

    url = f"https://{part.STATE_ACCOUNT}.blob.core.windows.net"
    options = {name: through[name] for name in ("proxies", "connection_verify")}
    with BlobServiceClient(url, credential=key, **options) as client:
        try:
            client.create_container(part.STATE_CONTAINER)
        except ResourceExistsError:
            pass
