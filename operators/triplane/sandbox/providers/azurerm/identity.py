"""User-assigned identities."""

from __future__ import annotations

from triplane.sandbox.providers.azurerm.client import COMMON, Azure, common
from triplane.sandbox.providers.azurerm.network import delete
from triplane.sandbox.providers.schema import Resource, State

VERSION = "2024-11-30"


def _create(cloud: Azure, plan: State) -> str:
    kind = "Microsoft.ManagedIdentity/userAssignedIdentities"
    resource = cloud.id(plan["resource_group_name"], kind, plan["name"])
    cloud.act("PUT", resource, {"location": plan["location"], "tags": plan["tags"] or {}}, VERSION)
    return resource


def _read(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], VERSION)
    properties = found["properties"]
    return common(state, found) | {
        "client_id": properties["clientId"],
        "principal_id": properties["principalId"],
        "tenant_id": properties["tenantId"],
    }


def _update(cloud: Azure, before: State, after: State) -> None:
    cloud.act("PATCH", after["id"], {"tags": after["tags"] or {}}, VERSION)


USER_ASSIGNED_IDENTITY = Resource(
    name="user_assigned_identity",
    lines={
        **COMMON,
        "client_id": "computed string",
        "principal_id": "computed string",
        "tenant_id": "computed string",
    },
    create=_create,
    read=_read,
    update=_update,
    delete=delete(VERSION),
)
