"""Virtual networks and their subnets."""

from __future__ import annotations

from typing import Any

from triplane.sandbox.providers.azurerm.client import COMMON, Azure, common, part, present
from triplane.sandbox.providers.schema import Resource, State

VERSION = "2026-03-01"
NETWORK_KIND = "Microsoft.Network/virtualNetworks"


def _network_body(plan: State) -> dict[str, Any]:
    properties: dict[str, Any] = {"addressSpace": {"addressPrefixes": plan["address_space"]}}
    if plan["dns_servers"]:
        properties["dhcpOptions"] = {"dnsServers": plan["dns_servers"]}
    return {"location": plan["location"], "tags": plan["tags"] or {}, "properties": properties}


def _create_network(cloud: Azure, plan: State) -> str:
    resource = cloud.id(plan["resource_group_name"], NETWORK_KIND, plan["name"])
    cloud.act("PUT", resource, _network_body(plan), VERSION)
    return resource


def _read_network(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], VERSION)
    properties = found["properties"]
    return common(state, found) | {
        "address_space": properties["addressSpace"]["addressPrefixes"],
        "dns_servers": (properties.get("dhcpOptions") or {}).get("dnsServers") or [],
        "guid": properties.get("resourceGuid", ""),
    }


def _update_network(cloud: Azure, before: State, after: State) -> None:
    """Puts the subnets that are there along: a network without them would lose them."""
    subnets = cloud.get(after["id"], VERSION)["properties"].get("subnets") or []
    body = _network_body(after)
    keys = ("addressPrefix", "addressPrefixes", "serviceEndpoints")
    body["properties"]["subnets"] = [
        {
            "name": subnet["name"],
            "properties": {key: value for key, value in subnet["properties"].items() if key in keys},
        }
        for subnet in subnets
    ]
    cloud.act("PUT", after["id"], body, VERSION)


def delete(version: str) -> Any:
    """Deletes a resource by its id and waits."""
    return lambda cloud, state: cloud.act("DELETE", state["id"], None, version)


VIRTUAL_NETWORK = Resource(
    name="virtual_network",
    lines={
        **COMMON,
        "address_space": "optional set(string)",
        "dns_servers": "optional computed list(string)",
        "guid": "computed string",
    },
    create=_create_network,
    read=_read_network,
    update=_update_network,
    delete=delete(VERSION),
)


def _subnet_body(plan: State) -> dict[str, Any]:
    endpoints = [{"service": name} for name in plan["service_endpoints"] or []] or None
    properties = {"addressPrefixes": plan["address_prefixes"], "serviceEndpoints": endpoints}
    return {"properties": present(properties)}


def _create_subnet(cloud: Azure, plan: State) -> str:
    names = (plan["virtual_network_name"], plan["name"])
    resource = cloud.id(plan["resource_group_name"], f"{NETWORK_KIND}/subnets", *names)
    cloud.act("PUT", resource, _subnet_body(plan), VERSION)
    return resource


def _read_subnet(cloud: Azure, state: State) -> State:
    found = cloud.get(state["id"], VERSION)
    properties = found["properties"]
    return {
        "address_prefixes": properties.get("addressPrefixes") or [properties.get("addressPrefix", "")],
        "name": found["name"],
        "resource_group_name": part(state["id"], "resourceGroups"),
        "service_endpoints": [item["service"] for item in properties.get("serviceEndpoints") or []],
        "virtual_network_name": part(state["id"], "virtualNetworks"),
    }


SUBNET = Resource(
    name="subnet",
    lines={
        "address_prefixes": "optional list(string)",
        "id": "optional computed string",
        "name": "required string replace",
        "resource_group_name": "required string replace",
        "service_endpoints": "optional set(string)",
        "virtual_network_name": "required string replace",
    },
    create=_create_subnet,
    read=_read_subnet,
    update=lambda cloud, before, after: cloud.act("PUT", after["id"], _subnet_body(after), VERSION),
    delete=delete(VERSION),
)
