"""Microsoft Azure, through an Airflow connection of type ``azure``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triplane.clouds import Credentials
from triplane.core.chatter import quiet_azure
from triplane.core.errors import InputError, TransientError
from triplane.settings import register_secret

REGISTRY_SCOPE = "https://containerregistry.azure.net/.default"
# The user name that goes with a refresh token of a registry, fixed by Azure.
TOKEN_USER = "00000000-0000-0000-0000-000000000000"
_ACR = re.compile(r"^(?P<host>[a-z0-9]{5,50}\.azurecr\.(?:io|us|cn))(?:/|$)")


@dataclass(frozen=True)
class Environment:
    """One of Azure's clouds: its name for Terraform, its Resource Manager, and the domain of its key vaults."""

    terraform: str
    manager: str
    vaults: str


ENVIRONMENTS = {
    "AzurePublicCloud": Environment("public", "https://management.azure.com", "vault.azure.net"),
    "AzureUSGovernment": Environment(
        "usgovernment", "https://management.usgovcloudapi.net", "vault.usgovcloudapi.net"
    ),
    "AzureChinaCloud": Environment("china", "https://management.chinacloudapi.cn", "vault.azure.cn"),
}


def credential(conn_id: str) -> Any:
    """The connection's credential as ``azure.core`` knows it, with ``get_token``."""
    from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

    quiet_azure()
    connection = _connection(conn_id)
    extra = {**connection.extra_dejson, "use_azure_identity_object": True}
    connection.extra = json.dumps(extra)
    return AzureBaseHook(conn_id=conn_id).get_credential(conn=connection)


def client(kind: type[Any], conn_id: str, subscription: str | None = None) -> Any:
    """A management client, such as ``azure.mgmt.web.WebSiteManagementClient``, for the connection's subscription."""
    manager = _environment(conn_id).manager
    return kind(
        credential(conn_id),
        subscription or subscription_id(conn_id),
        base_url=manager,
        credential_scopes=[f"{manager}/.default"],
    )


def subscription_id(conn_id: str) -> str:
    """The subscription that the connection names. :raises InputError: it names none"""
    found = _extra(conn_id, "subscriptionId")
    if not found:
        raise InputError(f"connection {conn_id} names no subscription; set its Azure Subscription ID")
    return found


def vault_suffix(conn_id: str) -> str:
    """The domain of key vaults in the connection's cloud."""
    return _environment(conn_id).vaults


def manager_url(conn_id: str) -> str:
    """Where Resource Manager of the connection's cloud is."""
    return _environment(conn_id).manager


def manager_tokens(conn_id: str) -> Callable[[], str]:
    """Gives access tokens for Resource Manager, renewed when they end; function apps' deployment hosts take them too."""
    return tokens(conn_id, f"{_environment(conn_id).manager}/.default")


def tokens(conn_id: str, scope: str) -> Callable[[], str]:
    """Gives access tokens for ``scope``, renewed when they end.

    :raises InputError: Azure refuses the connection
    """
    from azure.core.exceptions import ClientAuthenticationError

    source = credential(conn_id)

    def token() -> str:
        try:
            return register_secret(str(source.get_token(scope).token))
        except ClientAuthenticationError as error:
            said = str(error.message).splitlines()[0]
            raise InputError(f"Azure refuses connection {conn_id}: {said}; renew its secret") from error

    return token


def is_connection(conn_id: str) -> bool:
    """Whether ``conn_id`` is a connection to Azure, and not one of another type."""
    return str(_connection(conn_id).conn_type) == "azure"


def terraform_credentials(conn_id: str, subscription: str | None = None) -> Credentials:
    """``ARM_*`` variables for Terraform's azurerm provider and backend, which get and renew tokens by them."""
    return Credentials(_terraform_env(conn_id, subscription))


def _terraform_env(conn_id: str, subscription: str | None) -> dict[str, str]:
    connection = _connection(conn_id)
    env = {
        "ARM_SUBSCRIPTION_ID": subscription or subscription_id(conn_id),
        "ARM_ENVIRONMENT": _environment(conn_id).terraform,
        "ARM_USE_CLI": "false",
    }
    identity, tenant = _extra(conn_id, "managed_identity_client_id"), _extra(conn_id, "tenantId")
    if connection.login and connection.password and tenant:
        return env | {
            "ARM_CLIENT_ID": connection.login,
            "ARM_CLIENT_SECRET": register_secret(connection.password),
            "ARM_TENANT_ID": tenant,
        }
    if workload_tenant := _extra(conn_id, "workload_identity_tenant_id"):
        return env | {"ARM_USE_AKS_WORKLOAD_IDENTITY": "true", "ARM_TENANT_ID": workload_tenant}
    return env | {"ARM_USE_MSI": "true"} | ({"ARM_CLIENT_ID": identity} if identity else {})


def registry_login(conn_id: str, registry: str) -> tuple[str, str]:
    """User name and password for a container registry; the password is good for about three hours.

    :raises InputError: ``registry`` is not the host of a container registry, or refuses the connection
    """
    import requests

    match = _ACR.match(registry)
    if match is None:
        raise InputError(
            f"{registry} is not an Azure container registry (<name>.azurecr.io); correct `registry` of cloud azure"
        )
    host = match["host"]
    form = {
        "grant_type": "access_token",
        "service": host,
        "access_token": register_secret(credential(conn_id).get_token(REGISTRY_SCOPE).token),
    }
    if tenant := _extra(conn_id, "tenantId"):
        form["tenant"] = tenant
    try:
        answer = requests.post(f"https://{host}/oauth2/exchange", data=form, timeout=60)
    except requests.RequestException as error:
        raise TransientError(f"{host} could not be reached: {error}") from error
    if answer.status_code == 429 or answer.status_code >= 500:
        raise TransientError(f"{host} gave no token: {answer.status_code} {answer.text[:200]}")
    if not answer.ok:
        raise InputError(
            f"{host} refuses connection {conn_id}: {answer.status_code} {answer.text[:200]}; "
            "give its identity the role AcrPush"
        )
    return TOKEN_USER, register_secret(str(answer.json()["refresh_token"]))


def _environment(conn_id: str) -> Environment:
    name = _extra(conn_id, "cloud_environment") or "AzurePublicCloud"
    if name not in ENVIRONMENTS:
        raise InputError(f"connection {conn_id}: {name} is none of {', '.join(ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


def _extra(conn_id: str, name: str) -> str:
    extra = _connection(conn_id).extra_dejson
    return str(extra.get(name) or extra.get(f"extra__azure__{name}") or "")


def _connection(conn_id: str) -> Any:
    from airflow.sdk import BaseHook

    return BaseHook.get_connection(conn_id)
