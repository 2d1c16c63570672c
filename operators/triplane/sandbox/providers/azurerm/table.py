"""The resource types of the stand-in for hashicorp/azurerm."""

from __future__ import annotations

from triplane.sandbox.providers.azurerm.client import Azure, connect
from triplane.sandbox.providers.azurerm.cluster import KUBERNETES_CLUSTER
from triplane.sandbox.providers.azurerm.data import POSTGRESQL_SERVER, STORAGE_ACCOUNT
from triplane.sandbox.providers.azurerm.event_hubs import HUB, NAMESPACE
from triplane.sandbox.providers.azurerm.identity import USER_ASSIGNED_IDENTITY
from triplane.sandbox.providers.azurerm.network import SUBNET, VIRTUAL_NETWORK
from triplane.sandbox.providers.schema import Block, Body, Provider

PROVIDER: Provider[Azure] = Provider(
    name="azurerm",
    version="4.55.0",
    arguments=Body(
        {
            "client_id": "optional string",
            "client_secret": "optional string sensitive",
            "subscription_id": "optional string",
            "tenant_id": "optional string",
        },
        {"features": Block({}, required=True)},
    ),
    resources=(
        VIRTUAL_NETWORK,
        SUBNET,
        STORAGE_ACCOUNT,
        USER_ASSIGNED_IDENTITY,
        KUBERNETES_CLUSTER,
        POSTGRESQL_SERVER,
        NAMESPACE,
        HUB,
    ),
    connect=connect,
)
