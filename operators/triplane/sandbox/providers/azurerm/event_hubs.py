"""Event Hubs: namespaces and their event hubs."""

from __future__ import annotations

from typing import Any

from triplane.sandbox.providers.azurerm.client import COMMON, Azure, common, part, present
from triplane.sandbox.providers.azurerm.network import delete
from triplane.sandbox.providers.schema import CloudError, Resource, State

VERSION = "2024-01-01"
KIND = "Microsoft.EventHub/namespaces"


def _namespace_body(plan: State) -> dict[str, Any]:
    public, local = (plan[name] for name in ("public_network_access_enabled", "local_authentication_enabled"))
    properties = {
        "disableLocalAuth": local is False,
        "isAutoInflateEnabled": bool(plan["auto_inflate_enabled"]),
        "maximumThroughputUnits": plan["maximum_throughput_units"],
        "minimumTlsVersion": plan["minimum_tls_version"] or "1.2",
        "publicNetworkAccess": "Disabled" if public is False else "Enabled",
    }
    sku = {"name": plan["sku"], "tier": plan["sku"], "capacity": plan["capacity"] or 1}
    return {
        "location": plan["location"],
        "sku": sku,
        "tags": plan["tags"] or {},
        "properties": present(properties),
    }


def _create_namespace(cloud: Azure, plan: State) -> str:
    resource = cloud.id(plan["resource_group_name"], KIND, plan["name"])
    cloud.act("PUT", resource, _namespace_body(plan), VERSION)
    return resource


def _read_namespace(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], VERSION)
    properties = found["properties"]
    return common(state, found) | {
        "auto_inflate_enabled": properties.get("isAutoInflateEnabled", False),
        "capacity": found["sku"].get("capacity", 1),
        "local_authentication_enabled": not properties.get("disableLocalAuth", False),
        "maximum_throughput_units": properties.get("maximumThroughputUnits", 0),
        "minimum_tls_version": properties.get("minimumTlsVersion", "1.2"),
        "public_network_access_enabled": properties.get("publicNetworkAccess", "Enabled") == "Enabled",
        "sku": found["sku"]["name"],
    }


NAMESPACE = Resource(
    name="eventhub_namespace",
    lines={
        **COMMON,
        "auto_inflate_enabled": "optional bool",
        "capacity": "optional number default=1",
        "local_authentication_enabled": "optional bool default=true",
        "maximum_throughput_units": "optional number",
        "minimum_tls_version": 'optional string default="1.2"',
        "public_network_access_enabled": "optional bool default=true",
        "sku": "required string",
    },
    create=_create_namespace,
    read=_read_namespace,
    update=lambda cloud, before, after: cloud.act("PUT", after["id"], _namespace_body(after), VERSION),
    delete=delete(VERSION),
)


def _hub_body(plan: State) -> dict[str, Any]:
    properties = {
        "messageRetentionInDays": plan["message_retention"],
        "partitionCount": plan["partition_count"],
        "status": plan["status"] or "Active",
    }
    return {"properties": present(properties)}


def _create_hub(cloud: Azure, plan: State) -> str:
    namespace = plan["namespace_id"]
    if not namespace:
        group, name = plan["resource_group_name"], plan["namespace_name"]
        if not group or not name:
            raise CloudError(
                "one of `namespace_id`, or `namespace_name` and `resource_group_name`, must be set"
            )
        namespace = cloud.id(group, KIND, name)
    resource = f"{namespace}/eventhubs/{plan['name']}"
    cloud.act("PUT", resource, _hub_body(plan), VERSION)
    return resource


def _read_hub(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], VERSION)
    properties = found["properties"]
    return {
        "message_retention": properties["messageRetentionInDays"],
        "name": found["name"],
        "namespace_id": state["id"].partition("/eventhubs/")[0],
        "namespace_name": part(state["id"], "namespaces"),
        "partition_count": properties["partitionCount"],
        "partition_ids": properties["partitionIds"],
        "resource_group_name": part(state["id"], "resourceGroups"),
        "status": properties.get("status", "Active"),
    }


HUB = Resource(
    name="eventhub",
    lines={
        "id": "optional computed string",
        "message_retention": "optional computed number",
        "name": "required string replace",
        "namespace_id": "optional computed string replace",
        "namespace_name": "optional computed string replace",
        "partition_count": "required number",
        "partition_ids": "computed set(string) after=partition_count",
        "resource_group_name": "optional computed string replace",
        "status": 'optional string default="Active"',
    },
    create=_create_hub,
    read=_read_hub,
    update=lambda cloud, before, after: cloud.act("PUT", after["id"], _hub_body(after), VERSION),
    delete=delete(VERSION),
)
