"""What holds data: storage accounts and PostgreSQL servers."""

from __future__ import annotations

from typing import Any

from triplane.sandbox.providers.azurerm.client import COMMON, Azure, common, present
from triplane.sandbox.providers.azurerm.network import delete
from triplane.sandbox.providers.schema import Resource, State

STORAGE_VERSION = "2023-05-01"
POSTGRESQL_VERSION = "2026-10-01"
TIERS = {"B": "Burstable", "GP": "GeneralPurpose", "MO": "MemoryOptimized"}


def _account_body(plan: State) -> dict[str, Any]:
    properties = {
        "accessTier": plan["access_tier"],
        "allowBlobPublicAccess": _default(plan["allow_nested_items_to_be_public"], True),
        "minimumTlsVersion": plan["min_tls_version"] or "TLS1_2",
        "supportsHttpsTrafficOnly": _default(plan["https_traffic_only_enabled"], True),
    }
    return {
        "sku": {"name": f"{plan['account_tier']}_{plan['account_replication_type']}"},
        "tags": plan["tags"] or {},
        "properties": present(properties),
    }


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _create_account(cloud: Azure, plan: State) -> str:
    resource = cloud.id(plan["resource_group_name"], "Microsoft.Storage/storageAccounts", plan["name"])
    body = _account_body(plan) | {"location": plan["location"], "kind": plan["account_kind"] or "StorageV2"}
    cloud.act("PUT", resource, body, STORAGE_VERSION)
    return resource


def _read_account(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], STORAGE_VERSION)
    properties = found["properties"]
    keys = cloud.call("POST", f"{state['id']}/listKeys", None, STORAGE_VERSION).json()["keys"]
    tier, _, replication = found["sku"]["name"].partition("_")
    return common(state, found) | {
        "access_tier": properties.get("accessTier", "Hot"),
        "account_kind": found.get("kind", "StorageV2"),
        "account_replication_type": replication,
        "account_tier": tier,
        "allow_nested_items_to_be_public": properties.get("allowBlobPublicAccess", True),
        "https_traffic_only_enabled": properties.get("supportsHttpsTrafficOnly", True),
        "min_tls_version": properties.get("minimumTlsVersion", "TLS1_2"),
        "primary_access_key": keys[0]["value"],
        "primary_blob_endpoint": properties["primaryEndpoints"]["blob"],
        "primary_location": properties.get("primaryLocation", ""),
    }


STORAGE_ACCOUNT = Resource(
    name="storage_account",
    lines={
        **COMMON,
        "access_tier": "optional computed string",
        "account_kind": 'optional string default="StorageV2" replace',
        "account_replication_type": "required string",
        "account_tier": "required string replace",
        "allow_nested_items_to_be_public": "optional bool default=true",
        "https_traffic_only_enabled": "optional bool default=true",
        "min_tls_version": 'optional string default="TLS1_2"',
        "primary_access_key": "computed string sensitive",
        "primary_blob_endpoint": "computed string",
        "primary_location": "computed string",
    },
    create=_create_account,
    read=_read_account,
    update=lambda cloud, before, after: cloud.act(
        "PATCH", after["id"], _account_body(after), STORAGE_VERSION
    ),
    delete=delete(STORAGE_VERSION),
)


def _server_properties(plan: State) -> dict[str, Any]:
    public = _default(plan["public_network_access_enabled"], True)
    size, days = plan["storage_mb"], plan["backup_retention_days"]
    properties = {
        "administratorLoginPassword": plan["administrator_password"],
        "backup": {"backupRetentionDays": days} if days else None,
        "network": {"publicNetworkAccess": "Enabled" if public else "Disabled"},
        "storage": {"storageSizeGB": size // 1024} if size else None,
        "version": plan["version"],
    }
    return present(properties)


def _sku(plan: State) -> dict[str, str] | None:
    """``GP_Standard_D2s_v3`` is the size ``Standard_D2s_v3`` of the tier for general purposes."""
    if not plan["sku_name"]:
        return None
    tier, _, name = plan["sku_name"].partition("_")
    return {"name": name, "tier": TIERS[tier]}


def _create_server(cloud: Azure, plan: State) -> str:
    kind = "Microsoft.DBforPostgreSQL/flexibleServers"
    resource = cloud.id(plan["resource_group_name"], kind, plan["name"])
    first = {
        "administratorLogin": plan["administrator_login"],
        "availabilityZone": plan["zone"],
        "createMode": "Create",
    }
    body = {
        "location": plan["location"],
        "sku": _sku(plan),
        "tags": plan["tags"] or {},
        "properties": _server_properties(plan) | present(first),
    }
    cloud.act("PUT", resource, present(body), POSTGRESQL_VERSION)
    return resource


def _read_server(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], POSTGRESQL_VERSION)
    properties, sku = found["properties"], found.get("sku") or {}
    letters = next((key for key, tier in TIERS.items() if tier == sku.get("tier")), "")
    network = properties.get("network") or {}
    return common(state, found) | {
        "administrator_login": properties.get("administratorLogin", ""),
        "backup_retention_days": (properties.get("backup") or {}).get("backupRetentionDays", 7),
        "fqdn": properties["fullyQualifiedDomainName"],
        "public_network_access_enabled": network.get("publicNetworkAccess", "Enabled") == "Enabled",
        "sku_name": f"{letters}_{sku.get('name', '')}" if letters else "",
        "storage_mb": 1024 * (properties.get("storage") or {}).get("storageSizeGB", 32),
        "version": properties.get("version", ""),
        "zone": properties.get("availabilityZone", ""),
    }


def _update_server(cloud: Azure, before: State, after: State) -> None:
    properties = _server_properties(after)
    if before["administrator_password"] == after["administrator_password"]:
        properties.pop("administratorLoginPassword", None)
    if before["version"] == after["version"]:
        properties.pop("version", None)
    body = {"sku": _sku(after), "tags": after["tags"] or {}, "properties": properties}
    cloud.act("PATCH", after["id"], present(body), POSTGRESQL_VERSION)


POSTGRESQL_SERVER = Resource(
    name="postgresql_flexible_server",
    lines={
        **COMMON,
        "administrator_login": "optional computed string replace",
        "administrator_password": "optional string sensitive",
        "backup_retention_days": "optional computed number",
        "fqdn": "computed string",
        "public_network_access_enabled": "optional bool default=true",
        "sku_name": "optional computed string",
        "storage_mb": "optional computed number",
        "version": "optional computed string",
        "zone": "optional string",
    },
    create=_create_server,
    read=_read_server,
    update=_update_server,
    delete=delete(POSTGRESQL_VERSION),
)
