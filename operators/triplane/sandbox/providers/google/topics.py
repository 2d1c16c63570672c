"""Pub/Sub topics."""

from __future__ import annotations

from typing import Any

from triplane.sandbox.providers.google.client import Google, label_lines, seen_labels
from triplane.sandbox.providers.schema import Resource, State

FIELDS = {
    "kms_key_name": "kmsKeyName",
    "labels": "labels",
    "message_retention_duration": "messageRetentionDuration",
}


def _body(plan: State) -> dict[str, Any]:
    return {key: plan[name] for name, key in FIELDS.items() if plan[name] is not None}


def _create(cloud: Google, plan: State) -> str:
    path = f"projects/{plan['project'] or cloud.project}/topics/{plan['name']}"
    cloud.call("pubsub", "PUT", path, _body(plan))
    return path


def _read(cloud: Google, state: State) -> State:
    found = cloud.call("pubsub", "GET", state["id"])
    _, project, _, name = found["name"].split("/")
    return {
        "kms_key_name": found.get("kmsKeyName", ""),
        "message_retention_duration": found.get("messageRetentionDuration", ""),
        "name": name,
        "project": project,
    } | seen_labels("labels", state, found.get("labels"))


def _update(cloud: Google, before: State, after: State) -> None:
    changed = [
        FIELDS[name] for name in ("labels", "message_retention_duration") if before[name] != after[name]
    ]
    if changed:
        topic = {"name": after["id"]} | _body(after)
        cloud.call("pubsub", "PATCH", after["id"], {"topic": topic, "updateMask": ",".join(changed)})


def _delete(cloud: Google, state: State) -> None:
    cloud.call("pubsub", "DELETE", state["id"])


TOPIC = Resource(
    name="pubsub_topic",
    lines={
        "id": "optional computed string",
        "kms_key_name": "optional string replace",
        "message_retention_duration": "optional string",
        "name": "required string replace",
        "project": "optional computed string replace",
        **label_lines("labels"),
    },
    create=_create,
    read=_read,
    update=_update,
    delete=_delete,
)
