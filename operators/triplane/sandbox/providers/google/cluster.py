"""GKE clusters."""

from __future__ import annotations

from typing import Any

from triplane.sandbox.providers.google.client import Google, as_known, label_lines, relative, seen_labels
from triplane.sandbox.providers.schema import CloudError, Resource, State


def _create(cloud: Google, plan: State) -> str:
    project, location = plan["project"] or cloud.project, cloud.place(plan)
    cluster: dict[str, Any] = {
        "name": plan["name"],
        "description": plan["description"],
        "initialClusterVersion": plan["min_master_version"],
        "initialNodeCount": plan["initial_node_count"],
        "network": relative(plan["network"]) if plan["network"] else None,
        "subnetwork": relative(plan["subnetwork"]) if plan["subnetwork"] else None,
        "resourceLabels": plan["resource_labels"],
        "autopilot": {"enabled": True} if plan["enable_autopilot"] else None,
    }
    parent = f"projects/{project}/locations/{location}"
    body = {"cluster": {key: value for key, value in cluster.items() if value is not None}}
    cloud.act("container", "POST", f"{parent}/clusters", body)
    return f"{parent}/clusters/{plan['name']}"


def _read(cloud: Google, state: State) -> State:
    found = cloud.call("container", "GET", state["id"])
    return {
        "cluster_ipv4_cidr": found.get("clusterIpv4Cidr", ""),
        "description": found.get("description", ""),
        "enable_autopilot": bool((found.get("autopilot") or {}).get("enabled")),
        "endpoint": found.get("endpoint", ""),
        "label_fingerprint": found.get("labelFingerprint", ""),
        "location": found["location"],
        "master_version": found.get("currentMasterVersion", ""),
        "name": found["name"],
        "network": as_known(state["network"], found.get("network", "")),
        "project": state["id"].split("/")[1],
        "self_link": found["selfLink"],
        "services_ipv4_cidr": found.get("servicesIpv4Cidr", ""),
        "subnetwork": as_known(state["subnetwork"], found.get("subnetwork", "")),
    } | seen_labels("resource_labels", state, found.get("resourceLabels"))


def _update(cloud: Google, before: State, after: State) -> None:
    path = after["id"]
    if before["resource_labels"] != after["resource_labels"]:
        found = cloud.call("container", "GET", path)
        removed = set(before["resource_labels"] or {}) - set(after["resource_labels"] or {})
        kept = {key: value for key, value in found.get("resourceLabels", {}).items() if key not in removed}
        labels = kept | (after["resource_labels"] or {})
        body = {"resourceLabels": labels, "labelFingerprint": found.get("labelFingerprint", "")}
        cloud.act("container", "POST", f"{path}:setResourceLabels", body)
    version = after["min_master_version"]
    if version and version != before["min_master_version"]:
        cloud.act("container", "PUT", path, {"update": {"desiredMasterVersion": version}})


def _delete(cloud: Google, state: State) -> None:
    if state["deletion_protection"] is None or state["deletion_protection"]:
        raise CloudError(
            "Cannot destroy cluster because deletion_protection is set to true. "
            "Set it to false to proceed with instance deletion."
        )
    cloud.act("container", "DELETE", state["id"])


CLUSTER = Resource(
    name="container_cluster",
    lines={
        "cluster_ipv4_cidr": "optional computed string replace",
        "deletion_protection": "optional bool",
        "description": "optional string replace",
        "enable_autopilot": "optional bool replace",
        "endpoint": "computed string",
        "id": "optional computed string",
        "initial_node_count": "optional number replace",
        "label_fingerprint": "computed string after=resource_labels",
        "location": "optional computed string replace",
        "master_version": "computed string after=min_master_version",
        "min_master_version": "optional string",
        "name": "required string replace",
        "network": "optional string replace",
        "project": "optional computed string replace",
        "self_link": "computed string",
        "services_ipv4_cidr": "computed string",
        "subnetwork": "optional computed string replace",
        **label_lines("resource_labels"),
    },
    create=_create,
    read=_read,
    update=_update,
    delete=_delete,
)
