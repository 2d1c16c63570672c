"""AKS clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.sandbox.providers.azurerm.client import COMMON, Azure, common, present
from triplane.sandbox.providers.azurerm.network import delete
from triplane.sandbox.providers.schema import Block, Resource, State

VERSION = "2026-08-01"


def _pool_body(plan: State) -> dict[str, Any]:
    block = plan["default_node_pool"][0]
    pool = {
        "name": block["name"],
        "mode": "System",
        "osType": "Linux",
        "type": "VirtualMachineScaleSets",
        "vmSize": block["vm_size"],
        "count": block["node_count"],
        "vnetSubnetID": block["vnet_subnet_id"],
        "enableAutoScaling": block["auto_scaling_enabled"],
        "minCount": block["min_count"],
        "maxCount": block["max_count"],
    }
    return present(pool)


def _body(plan: State) -> dict[str, Any]:
    properties = {
        "agentPoolProfiles": [_pool_body(plan)],
        "dnsPrefix": plan["dns_prefix"],
        "enableRBAC": True,
        "kubernetesVersion": plan["kubernetes_version"],
        "nodeResourceGroup": plan["node_resource_group"],
    }
    body: dict[str, Any] = {
        "location": plan["location"],
        "tags": plan["tags"] or {},
        "sku": {"name": "Base", "tier": plan["sku_tier"] or "Free"},
        "properties": present(properties),
    }
    for identity in plan["identity"] or []:
        users: dict[str, Any] = {name: {} for name in identity["identity_ids"] or []}
        body["identity"] = {"type": identity["type"]} | ({"userAssignedIdentities": users} if users else {})
    return body


def _create(cloud: Azure, plan: State) -> str:
    kind = "Microsoft.ContainerService/managedClusters"
    resource = cloud.id(plan["resource_group_name"], kind, plan["name"])
    cloud.act("PUT", resource, _body(plan), VERSION)
    return resource


def _read(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], VERSION)
    properties, identity = found["properties"], found.get("identity") or {}
    return common(state, found) | {
        "current_kubernetes_version": properties.get("currentKubernetesVersion", ""),
        "default_node_pool": [_read_pool(pool) for pool in (properties.get("agentPoolProfiles") or [])[:1]],
        "dns_prefix": properties.get("dnsPrefix", ""),
        "fqdn": properties.get("fqdn", ""),
        "identity": [
            {
                "identity_ids": sorted(identity.get("userAssignedIdentities") or {}),
                "principal_id": identity.get("principalId", ""),
                "tenant_id": identity.get("tenantId", ""),
                "type": identity.get("type", ""),
            }
        ],
        "kubernetes_version": properties.get("kubernetesVersion", ""),
        "node_resource_group": properties.get("nodeResourceGroup", ""),
        "sku_tier": (found.get("sku") or {}).get("tier", "Free"),
    }


def _read_pool(pool: Mapping[str, Any]) -> State:
    return {
        "auto_scaling_enabled": bool(pool.get("enableAutoScaling")),
        "max_count": pool.get("maxCount"),
        "min_count": pool.get("minCount"),
        "name": pool["name"],
        "node_count": pool.get("count"),
        "vm_size": pool.get("vmSize", ""),
        "vnet_subnet_id": pool.get("vnetSubnetID", ""),
    }


def _update(cloud: Azure, before: State, after: State) -> None:
    cloud.act("PUT", after["id"], _body(after), VERSION)


KUBERNETES_CLUSTER = Resource(
    name="kubernetes_cluster",
    lines={
        **COMMON,
        "current_kubernetes_version": "computed string after=kubernetes_version",
        "dns_prefix": "optional string replace",
        "fqdn": "computed string",
        "kubernetes_version": "optional computed string",
        "node_resource_group": "optional computed string replace",
        "sku_tier": 'optional string default="Free"',
    },
    blocks={
        "default_node_pool": Block(
            {
                "auto_scaling_enabled": "optional bool",
                "max_count": "optional number",
                "min_count": "optional number",
                "name": "required string",
                "node_count": "optional computed number",
                "vm_size": "optional computed string",
                "vnet_subnet_id": "optional string",
            },
            required=True,
        ),
        "identity": Block(
            {
                "identity_ids": "optional set(string)",
                "principal_id": "computed string",
                "tenant_id": "computed string",
                "type": "required string",
            }
        ),
    },
    create=_create,
    read=_read,
    update=_update,
    delete=delete(VERSION),
)
