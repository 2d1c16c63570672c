"""What holds data: buckets and Cloud SQL instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from triplane.sandbox.providers.google.client import Google, label_lines, seen_labels
from triplane.sandbox.providers.schema import Block, CloudError, Resource, State


def _bucket_body(plan: State) -> dict[str, Any]:
    body: dict[str, Any] = {"labels": plan["labels"], "storageClass": plan["storage_class"]}
    access: dict[str, Any] = {"publicAccessPrevention": plan["public_access_prevention"]}
    if plan["uniform_bucket_level_access"] is not None:
        access["uniformBucketLevelAccess"] = {"enabled": plan["uniform_bucket_level_access"]}
    body["iamConfiguration"] = _present(access) or None
    if plan["versioning"]:
        body["versioning"] = {"enabled": plan["versioning"][0]["enabled"]}
    return _present(body)


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _create_bucket(cloud: Google, plan: State) -> str:
    body = _bucket_body(plan) | {"name": plan["name"], "location": plan["location"]}
    cloud.call("storage", "POST", "b", body, {"project": plan["project"] or cloud.project})
    return str(plan["name"])


def _read_bucket(cloud: Google, state: State) -> State:
    found = cloud.call("storage", "GET", f"b/{state['id']}")
    known, location = str(state["location"] or ""), str(found.get("location", ""))
    access = found.get("iamConfiguration") or {}
    observed = {
        "location": known if known.upper() == location.upper() else location,
        "name": found["name"],
        "project": state["project"] or cloud.project,
        "self_link": found.get("selfLink") or f"https://www.googleapis.com/storage/v1/b/{found['name']}",
        "storage_class": found.get("storageClass", "STANDARD"),
        "time_created": found.get("timeCreated", ""),
        "uniform_bucket_level_access": bool((access.get("uniformBucketLevelAccess") or {}).get("enabled")),
        "public_access_prevention": access.get("publicAccessPrevention", "inherited"),
        "url": f"gs://{found['name']}",
        "versioning": [{"enabled": bool((found.get("versioning") or {}).get("enabled"))}],
    }
    return observed | seen_labels("labels", state, found.get("labels"))


def _update_bucket(cloud: Google, before: State, after: State) -> None:
    removed = set(before["labels"] or {}) - set(after["labels"] or {})
    body = _bucket_body(after)
    body["labels"] = dict.fromkeys(removed) | (after["labels"] or {})
    if before["storage_class"] == after["storage_class"]:
        body.pop("storageClass", None)
    cloud.call("storage", "PATCH", f"b/{after['id']}", body)


def _delete_bucket(cloud: Google, state: State) -> None:
    path = f"b/{state['id']}"
    while state["force_destroy"]:
        items = cloud.call("storage", "GET", f"{path}/o", query={"versions": "true"}).get("items") or []
        if not items:
            break
        for item in items:
            name, generation = quote(item["name"], safe=""), {"generation": str(item["generation"])}
            cloud.call("storage", "DELETE", f"{path}/o/{name}", query=generation)
    cloud.call("storage", "DELETE", path)


BUCKET = Resource(
    name="storage_bucket",
    lines={
        "force_destroy": "optional bool",
        "id": "optional computed string",
        "location": "required string replace",
        "name": "required string replace",
        "project": "optional computed string replace",
        "public_access_prevention": "optional computed string",
        "self_link": "computed string",
        "storage_class": 'optional string default="STANDARD"',
        "time_created": "computed string",
        "uniform_bucket_level_access": "optional computed bool",
        "url": "computed string",
        **label_lines("labels"),
    },
    blocks={"versioning": Block({"enabled": "required bool"})},
    create=_create_bucket,
    read=_read_bucket,
    update=_update_bucket,
    delete=_delete_bucket,
)


def _settings(plan: State) -> dict[str, Any]:
    block = plan["settings"][0]
    body: dict[str, Any] = {
        "tier": block["tier"],
        "availabilityType": block["availability_type"],
        "dataDiskSizeGb": None if block["disk_size"] is None else str(block["disk_size"]),
        "dataDiskType": block["disk_type"],
        "edition": block["edition"],
        "deletionProtectionEnabled": block["deletion_protection_enabled"],
        "userLabels": block["user_labels"],
    }
    for network in block["ip_configuration"] or []:
        fields = {"ipv4Enabled": network["ipv4_enabled"], "sslMode": network["ssl_mode"]}
        body["ipConfiguration"] = _present(fields)
    for backup in block["backup_configuration"] or []:
        fields = {"enabled": backup["enabled"], "startTime": backup["start_time"]}
        body["backupConfiguration"] = _present(fields)
    return _present(body)


def _create_database(cloud: Google, plan: State) -> str:
    project = plan["project"] or cloud.project
    body = {
        "name": plan["name"],
        "databaseVersion": plan["database_version"],
        "region": cloud.place(plan),
        "rootPassword": plan["root_password"],
        "settings": _settings(plan),
    }
    cloud.act("sqladmin", "POST", f"projects/{project}/instances", _present(body))
    return str(plan["name"])


def _path(cloud: Google, state: State) -> str:
    return f"projects/{state['project'] or cloud.project}/instances/{state['id']}"


def _read_database(cloud: Google, state: State) -> State:
    found = cloud.call("sqladmin", "GET", _path(cloud, state))
    addresses = found.get("ipAddresses") or []
    public = next((item["ipAddress"] for item in addresses if item["type"] == "PRIMARY"), "")
    return {
        "connection_name": found["connectionName"],
        "database_version": found["databaseVersion"],
        "first_ip_address": addresses[0]["ipAddress"] if addresses else "",
        "name": found["name"],
        "project": found["project"],
        "public_ip_address": public,
        "region": found["region"],
        "self_link": found["selfLink"],
        "service_account_email_address": found.get("serviceAccountEmailAddress", ""),
        "settings": [_read_settings(found["settings"])],
    }


def _read_settings(settings: Mapping[str, Any]) -> State:
    network, backup = settings.get("ipConfiguration") or {}, settings.get("backupConfiguration") or {}
    return {
        "availability_type": settings.get("availabilityType", ""),
        "backup_configuration": [
            {"enabled": bool(backup.get("enabled")), "start_time": backup.get("startTime", "")}
        ],
        "deletion_protection_enabled": bool(settings.get("deletionProtectionEnabled")),
        "disk_size": int(settings.get("dataDiskSizeGb") or 0),
        "disk_type": settings.get("dataDiskType", ""),
        "edition": settings.get("edition", ""),
        "ip_configuration": [
            {"ipv4_enabled": network.get("ipv4Enabled", True), "ssl_mode": network.get("sslMode", "")}
        ],
        "tier": settings["tier"],
        "user_labels": settings.get("userLabels") or {},
    }


def _update_database(cloud: Google, before: State, after: State) -> None:
    path, body = _path(cloud, after), {}
    if before["settings"] != after["settings"]:
        current = cloud.call("sqladmin", "GET", path)["settings"]["settingsVersion"]
        body["settings"] = _settings(after) | {"settingsVersion": current}
    if before["database_version"] != after["database_version"]:
        body["databaseVersion"] = after["database_version"]
    if before["root_password"] != after["root_password"]:
        body["rootPassword"] = after["root_password"]
    if body:
        cloud.act("sqladmin", "PATCH", path, body)


def _delete_database(cloud: Google, state: State) -> None:
    if state["deletion_protection"] is None or state["deletion_protection"]:
        raise CloudError(
            "failed to delete instance because deletion_protection is set to true. "
            "Set it to false to proceed with instance deletion"
        )
    cloud.act("sqladmin", "DELETE", _path(cloud, state))


DATABASE = Resource(
    name="sql_database_instance",
    lines={
        "connection_name": "computed string",
        "database_version": "required string",
        "deletion_protection": "optional bool",
        "first_ip_address": "computed string",
        "id": "optional computed string",
        "name": "optional computed string replace",
        "project": "optional computed string replace",
        "public_ip_address": "computed string",
        "region": "optional computed string replace",
        "root_password": "optional string sensitive",
        "self_link": "computed string",
        "service_account_email_address": "computed string",
    },
    blocks={
        "settings": Block(
            {
                "availability_type": 'optional string default="ZONAL"',
                "deletion_protection_enabled": "optional bool",
                "disk_size": "optional computed number",
                "disk_type": "optional computed string",
                "edition": "optional computed string",
                "tier": "required string",
                "user_labels": "optional computed map(string)",
            },
            {
                "backup_configuration": Block(
                    {"enabled": "optional bool", "start_time": "optional computed string"}
                ),
                "ip_configuration": Block(
                    {"ipv4_enabled": "optional bool default=true", "ssl_mode": "optional computed string"}
                ),
            },
        )
    },
    create=_create_database,
    read=_read_database,
    update=_update_database,
    delete=_delete_database,
)
