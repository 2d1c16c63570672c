"""Networks and subnetworks."""

from __future__ import annotations

from triplane.sandbox.providers.google.client import Google, as_known
from triplane.sandbox.providers.schema import Resource, State


def _create_network(cloud: Google, plan: State) -> str:
    project = plan["project"] or cloud.project
    automatic = plan["auto_create_subnetworks"]
    body = {
        "name": plan["name"],
        "autoCreateSubnetworks": automatic is None or automatic,
        "description": plan["description"],
        "mtu": plan["mtu"],
        "routingConfig": {"routingMode": plan["routing_mode"] or "REGIONAL"},
    }
    present = {key: value for key, value in body.items() if value is not None}
    cloud.act("compute", "POST", f"projects/{project}/global/networks", present)
    return f"projects/{project}/global/networks/{plan['name']}"


def _read_network(cloud: Google, state: State) -> State:
    found = cloud.call("compute", "GET", state["id"])
    return {
        "auto_create_subnetworks": found.get("autoCreateSubnetworks", False),
        "description": found.get("description", ""),
        "gateway_ipv4": found.get("gatewayIPv4", ""),
        "mtu": found.get("mtu", 0),
        "name": found["name"],
        "network_id": str(found["id"]),
        "numeric_id": str(found["id"]),
        "project": state["id"].split("/")[1],
        "routing_mode": (found.get("routingConfig") or {}).get("routingMode", ""),
        "self_link": found["selfLink"],
    }


def _update_network(cloud: Google, before: State, after: State) -> None:
    if before["routing_mode"] != after["routing_mode"]:
        cloud.act("compute", "PATCH", after["id"], {"routingConfig": {"routingMode": after["routing_mode"]}})


NETWORK = Resource(
    name="compute_network",
    lines={
        "auto_create_subnetworks": "optional bool default=true replace",
        "description": "optional string replace",
        "gateway_ipv4": "computed string",
        "id": "optional computed string",
        "mtu": "optional computed number replace",
        "name": "required string replace",
        "network_id": "computed string",
        "numeric_id": "computed string",
        "project": "optional computed string replace",
        "routing_mode": "optional computed string",
        "self_link": "computed string",
    },
    create=_create_network,
    read=_read_network,
    update=_update_network,
    delete=lambda cloud, state: cloud.act("compute", "DELETE", state["id"]),
)


def _create_subnetwork(cloud: Google, plan: State) -> str:
    project, region = plan["project"] or cloud.project, cloud.place(plan)
    network = plan["network"]
    body = {
        "name": plan["name"],
        "network": network if "/" in network else f"projects/{project}/global/networks/{network}",
        "ipCidrRange": plan["ip_cidr_range"],
        "description": plan["description"],
        "privateIpGoogleAccess": plan["private_ip_google_access"],
    }
    present = {key: value for key, value in body.items() if value is not None}
    collection = f"projects/{project}/regions/{region}/subnetworks"
    cloud.act("compute", "POST", collection, present)
    return f"{collection}/{plan['name']}"


def _read_subnetwork(cloud: Google, state: State) -> State:
    found = cloud.call("compute", "GET", state["id"])
    _, project, _, region, *_ = state["id"].split("/")
    return {
        "creation_timestamp": found["creationTimestamp"],
        "description": found.get("description", ""),
        "fingerprint": found.get("fingerprint", ""),
        "gateway_address": found.get("gatewayAddress", ""),
        "ip_cidr_range": found["ipCidrRange"],
        "name": found["name"],
        "network": as_known(state["network"], found["network"]),
        "private_ip_google_access": found.get("privateIpGoogleAccess", False),
        "project": project,
        "purpose": found.get("purpose", ""),
        "region": region,
        "self_link": found["selfLink"],
        "stack_type": found.get("stackType", ""),
    }


def _update_subnetwork(cloud: Google, before: State, after: State) -> None:
    access = after["private_ip_google_access"]
    if before["private_ip_google_access"] != access:
        body = {"privateIpGoogleAccess": bool(access)}
        cloud.act("compute", "POST", f"{after['id']}/setPrivateIpGoogleAccess", body)


SUBNETWORK = Resource(
    name="compute_subnetwork",
    lines={
        "creation_timestamp": "computed string",
        "description": "optional string replace",
        "fingerprint": "computed string after=private_ip_google_access",
        "gateway_address": "computed string",
        "id": "optional computed string",
        "ip_cidr_range": "optional computed string replace",
        "name": "required string replace",
        "network": "required string replace",
        "private_ip_google_access": "optional computed bool",
        "project": "optional computed string replace",
        "purpose": "optional computed string replace",
        "region": "optional computed string replace",
        "self_link": "computed string",
        "stack_type": "optional computed string",
    },
    create=_create_subnetwork,
    read=_read_subnetwork,
    update=_update_subnetwork,
    delete=lambda cloud, state: cloud.act("compute", "DELETE", state["id"]),
)
