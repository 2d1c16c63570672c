"""EKS clusters and their node groups."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from triplane.sandbox.providers.aws.client import Aws, tag_changes
from triplane.sandbox.providers.aws.network import TAGS
from triplane.sandbox.providers.http import wait
from triplane.sandbox.providers.schema import Block, CloudError, NotFound, Resource, State, objects


def _status(cloud: Aws, path: str, kind: str) -> str:
    status = str(cloud.json("eks", "GET", path)[kind]["status"])
    if "FAILED" in status:
        raise CloudError(f"{path} is {status}")
    return status


def _wait_gone(cloud: Aws, path: str, kind: str) -> None:
    def gone() -> bool:
        try:
            _status(cloud, path, kind)
        except NotFound:
            return True
        return False

    wait(gone, f"deletion of {path}")


def _retag(cloud: Aws, before: State, after: State) -> None:
    added, removed = tag_changes(before, after)
    path = f"/tags/{quote(after['arn'], safe='')}"
    if added:
        cloud.json("eks", "POST", path, {"tags": added})
    if removed:
        keys = "&".join(f"tagKeys={quote(key)}" for key in removed)
        cloud.json("eks", "DELETE", f"{path}?{keys}")


def _network(plan: State) -> dict[str, Any]:
    block = plan["vpc_config"][0]
    wanted = {
        "subnetIds": block["subnet_ids"],
        "securityGroupIds": block["security_group_ids"],
        "endpointPublicAccess": block["endpoint_public_access"],
        "endpointPrivateAccess": block["endpoint_private_access"],
        "publicAccessCidrs": block["public_access_cidrs"],
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _create_cluster(cloud: Aws, plan: State) -> str:
    name = plan["name"]
    body = {"name": name, "roleArn": plan["role_arn"], "resourcesVpcConfig": _network(plan)}
    if plan["version"]:
        body["version"] = plan["version"]
    if plan["tags_all"]:
        body["tags"] = plan["tags_all"]
    cloud.json("eks", "POST", "/clusters", body)
    wait(lambda: _status(cloud, f"/clusters/{name}", "cluster") == "ACTIVE", f"cluster {name}")
    return str(name)


def _read_cluster(cloud: Aws, state: State) -> State:
    cluster = cloud.json("eks", "GET", f"/clusters/{state['id']}")["cluster"]
    network, tags = cluster.get("resourcesVpcConfig", {}), cluster.get("tags") or {}
    issuer = ((cluster.get("identity") or {}).get("oidc") or {}).get("issuer", "")
    return {
        "arn": cluster["arn"],
        "certificate_authority": [{"data": (cluster.get("certificateAuthority") or {}).get("data", "")}],
        "created_at": str(cluster.get("createdAt", "")),
        "endpoint": cluster.get("endpoint", ""),
        "identity": [{"oidc": [{"issuer": issuer}]}],
        "name": cluster["name"],
        "platform_version": cluster.get("platformVersion", ""),
        "role_arn": cluster["roleArn"],
        "status": cluster["status"],
        "tags": tags,
        "tags_all": tags,
        "version": cluster.get("version", ""),
        "vpc_config": [
            {
                "cluster_security_group_id": network.get("clusterSecurityGroupId") or "",
                "endpoint_private_access": bool(network.get("endpointPrivateAccess")),
                "endpoint_public_access": network.get("endpointPublicAccess", True),
                "public_access_cidrs": network.get("publicAccessCidrs") or [],
                "security_group_ids": network.get("securityGroupIds") or [],
                "subnet_ids": network.get("subnetIds") or [],
                "vpc_id": network.get("vpcId") or "",
            }
        ],
    }


def _update_cluster(cloud: Aws, before: State, after: State) -> None:
    path = f"/clusters/{after['id']}"
    if before["version"] != after["version"]:
        cloud.json("eks", "POST", f"{path}/updates", {"version": after["version"]})
        wait(lambda: _status(cloud, path, "cluster") == "ACTIVE", after["id"])
    if before["vpc_config"] != after["vpc_config"]:
        cloud.json("eks", "POST", f"{path}/update-config", {"resourcesVpcConfig": _network(after)})
        wait(lambda: _status(cloud, path, "cluster") == "ACTIVE", after["id"])
    _retag(cloud, before, after)


def _delete_cluster(cloud: Aws, state: State) -> None:
    path = f"/clusters/{state['id']}"
    cloud.json("eks", "DELETE", path)
    _wait_gone(cloud, path, "cluster")


CLUSTER = Resource(
    name="eks_cluster",
    lines={
        "arn": "computed string",
        "certificate_authority": objects(data="computed string"),
        "created_at": "computed string",
        "endpoint": "computed string",
        "id": "optional computed string",
        "identity": objects(oidc=objects(issuer="computed string")),
        "name": "required string replace",
        "platform_version": "computed string after=version",
        "role_arn": "required string replace",
        "status": "computed string",
        "version": "optional computed string",
        **TAGS,
    },
    blocks={
        "vpc_config": Block(
            {
                "cluster_security_group_id": "computed string",
                "endpoint_private_access": "optional bool default=false",
                "endpoint_public_access": "optional bool default=true",
                "public_access_cidrs": "optional computed set(string)",
                "security_group_ids": "optional set(string)",
                "subnet_ids": "required set(string)",
                "vpc_id": "computed string",
            },
            required=True,
        )
    },
    create=_create_cluster,
    read=_read_cluster,
    update=_update_cluster,
    delete=_delete_cluster,
)


def _scaling(plan: State) -> dict[str, int]:
    block = plan["scaling_config"][0]
    return {"desiredSize": block["desired_size"], "maxSize": block["max_size"], "minSize": block["min_size"]}


def _node_group_path(identifier: str) -> str:
    cluster, _, group = identifier.partition(":")
    return f"/clusters/{cluster}/node-groups/{group}"


def _create_node_group(cloud: Aws, plan: State) -> str:
    cluster, name = plan["cluster_name"], plan["node_group_name"]
    optional = {
        "amiType": plan["ami_type"],
        "capacityType": plan["capacity_type"],
        "instanceTypes": plan["instance_types"],
        "labels": plan["labels"],
        "tags": plan["tags_all"],
    }
    body = {
        "nodegroupName": name,
        "nodeRole": plan["node_role_arn"],
        "scalingConfig": _scaling(plan),
        "subnets": plan["subnet_ids"],
    } | {key: value for key, value in optional.items() if value}
    cloud.json("eks", "POST", f"/clusters/{cluster}/node-groups", body)
    identifier = f"{cluster}:{name}"
    path = _node_group_path(identifier)
    wait(lambda: _status(cloud, path, "nodegroup") == "ACTIVE", f"node group {name}")
    return identifier


def _read_node_group(cloud: Aws, state: State) -> State:
    group = cloud.json("eks", "GET", _node_group_path(state["id"]))["nodegroup"]
    scaling, tags = group.get("scalingConfig") or {}, group.get("tags") or {}
    sizes = {f"{name}_size": scaling.get(f"{name}Size") for name in ("desired", "max", "min")}
    return {
        "ami_type": group.get("amiType") or "",
        "arn": group["nodegroupArn"],
        "capacity_type": group.get("capacityType") or "",
        "cluster_name": group["clusterName"],
        "instance_types": group.get("instanceTypes") or [],
        "labels": group.get("labels") or {},
        "node_group_name": group["nodegroupName"],
        "node_role_arn": group["nodeRole"],
        "scaling_config": [sizes],
        "status": group["status"],
        "subnet_ids": group.get("subnets") or [],
        "tags": tags,
        "tags_all": tags,
        "version": group.get("version") or "",
    }


def _update_node_group(cloud: Aws, before: State, after: State) -> None:
    path = _node_group_path(after["id"])
    body: dict[str, Any] = {}
    if before["scaling_config"] != after["scaling_config"]:
        body["scalingConfig"] = _scaling(after)
    old, new = before["labels"] or {}, after["labels"] or {}
    if old != new:
        body["labels"] = {"addOrUpdateLabels": new, "removeLabels": sorted(set(old) - set(new))}
    if body:
        cloud.json("eks", "POST", f"{path}/update-config", body)
        wait(lambda: _status(cloud, path, "nodegroup") == "ACTIVE", after["id"])
    _retag(cloud, before, after)


def _delete_node_group(cloud: Aws, state: State) -> None:
    path = _node_group_path(state["id"])
    cloud.json("eks", "DELETE", path)
    _wait_gone(cloud, path, "nodegroup")


NODE_GROUP = Resource(
    name="eks_node_group",
    lines={
        "ami_type": "optional computed string replace",
        "arn": "computed string",
        "capacity_type": "optional computed string replace",
        "cluster_name": "required string replace",
        "id": "optional computed string",
        "instance_types": "optional computed list(string) replace",
        "labels": "optional map(string)",
        "node_group_name": "optional computed string replace",
        "node_role_arn": "required string replace",
        "status": "computed string",
        "subnet_ids": "required set(string) replace",
        "version": "optional computed string",
        **TAGS,
    },
    blocks={
        "scaling_config": Block(
            {
                "desired_size": "required number",
                "max_size": "required number",
                "min_size": "required number",
            },
            required=True,
        )
    },
    create=_create_node_group,
    read=_read_node_group,
    update=_update_node_group,
    delete=_delete_node_group,
)
