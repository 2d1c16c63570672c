"""Service accounts."""

from __future__ import annotations

from triplane.sandbox.providers.google.client import Google
from triplane.sandbox.providers.schema import Resource, State

FIELDS = {"display_name": "displayName", "description": "description"}


def _create(cloud: Google, plan: State) -> str:
    project = plan["project"] or cloud.project
    account = {key: plan[name] for name, key in FIELDS.items() if plan[name] is not None}
    body = {"accountId": plan["account_id"], "serviceAccount": account}
    name = str(cloud.call("iam", "POST", f"projects/{project}/serviceAccounts", body)["name"])
    if plan["disabled"]:
        cloud.call("iam", "POST", f"{name}:disable", {})
    return name


def _read(cloud: Google, state: State) -> State:
    found = cloud.call("iam", "GET", state["id"])
    email = found["email"]
    return {
        "account_id": email.partition("@")[0],
        "description": found.get("description", ""),
        "disabled": bool(found.get("disabled")),
        "display_name": found.get("displayName", ""),
        "email": email,
        "member": f"serviceAccount:{email}",
        "name": found["name"],
        "project": found["projectId"],
        "unique_id": found["uniqueId"],
    }


def _update(cloud: Google, before: State, after: State) -> None:
    changed = {key: after[name] or "" for name, key in FIELDS.items() if before[name] != after[name]}
    if changed:
        body = {"serviceAccount": changed, "updateMask": ",".join(changed)}
        cloud.call("iam", "PATCH", after["id"], body)
    if bool(before["disabled"]) != bool(after["disabled"]):
        cloud.call("iam", "POST", f"{after['id']}:{'disable' if after['disabled'] else 'enable'}", {})


def _delete(cloud: Google, state: State) -> None:
    cloud.call("iam", "DELETE", state["id"])


SERVICE_ACCOUNT = Resource(
    name="service_account",
    lines={
        "account_id": "required string replace",
        "description": "optional string",
        "disabled": "optional bool",
        "display_name": "optional string",
        "email": "computed string",
        "id": "optional computed string",
        "member": "computed string",
        "name": "computed string",
        "project": "optional computed string replace",
        "unique_id": "computed string",
    },
    create=_create,
    read=_read,
    update=_update,
    delete=_delete,
)
