"""IAM roles, their own policies and those attached to them."""

from __future__ import annotations

from urllib.parse import unquote

from triplane.sandbox.providers.aws.client import Aws, tag_changes, tag_pairs, tags_of, text
from triplane.sandbox.providers.aws.network import TAGS, void
from triplane.sandbox.providers.schema import NotFound, Resource, State


def _create_role(cloud: Aws, plan: State) -> str:
    cloud.query(
        "iam",
        "CreateRole",
        RoleName=plan["name"],
        Path=plan["path"],
        AssumeRolePolicyDocument=plan["assume_role_policy"],
        Description=plan["description"],
        MaxSessionDuration=plan["max_session_duration"],
        Tags={"member": tag_pairs(plan["tags_all"])},
    )
    return str(plan["name"])


def _read_role(cloud: Aws, state: State) -> State:
    role = cloud.query("iam", "GetRole", RoleName=state["id"]).find(".//Role")
    tags = tags_of(role, "Tags/member")
    return {
        "arn": text(role, "Arn"),
        "assume_role_policy": unquote(text(role, "AssumeRolePolicyDocument")),
        "create_date": text(role, "CreateDate"),
        "description": text(role, "Description"),
        "max_session_duration": int(text(role, "MaxSessionDuration", "3600")),
        "name": text(role, "RoleName"),
        "path": text(role, "Path", "/"),
        "tags": tags,
        "tags_all": tags,
        "unique_id": text(role, "RoleId"),
    }


def _update_role(cloud: Aws, before: State, after: State) -> None:
    name = after["id"]
    if before["assume_role_policy"] != after["assume_role_policy"]:
        document = after["assume_role_policy"]
        cloud.query("iam", "UpdateAssumeRolePolicy", RoleName=name, PolicyDocument=document)
    if any(before[key] != after[key] for key in ("description", "max_session_duration")):
        cloud.query(
            "iam",
            "UpdateRole",
            RoleName=name,
            Description=after["description"] or "",
            MaxSessionDuration=after["max_session_duration"] or 3600,
        )
    added, removed = tag_changes(before, after)
    if added:
        cloud.query("iam", "TagRole", RoleName=name, Tags={"member": tag_pairs(added)})
    if removed:
        cloud.query("iam", "UntagRole", RoleName=name, TagKeys={"member": removed})


def _attached(cloud: Aws, role: str) -> list[str]:
    answer = cloud.query("iam", "ListAttachedRolePolicies", RoleName=role)
    return [text(item, "PolicyArn") for item in answer.findall(".//AttachedPolicies/member")]


def _delete_role(cloud: Aws, state: State) -> None:
    if state["force_detach_policies"]:
        for arn in _attached(cloud, state["id"]):
            cloud.query("iam", "DetachRolePolicy", RoleName=state["id"], PolicyArn=arn)
    cloud.query("iam", "DeleteRole", RoleName=state["id"])


ROLE = Resource(
    name="iam_role",
    lines={
        "arn": "computed string",
        "assume_role_policy": "required string json",
        "create_date": "computed string",
        "description": "optional string",
        "force_detach_policies": "optional bool",
        "id": "optional computed string",
        "max_session_duration": "optional number default=3600",
        "name": "optional computed string replace",
        "path": 'optional string default="/" replace',
        "unique_id": "computed string",
        **TAGS,
    },
    create=_create_role,
    read=_read_role,
    update=_update_role,
    delete=_delete_role,
)


def _put_policy(cloud: Aws, plan: State) -> str:
    role, name = plan["role"], plan["name"]
    cloud.query("iam", "PutRolePolicy", RoleName=role, PolicyName=name, PolicyDocument=plan["policy"])
    return f"{role}:{name}"


def _read_policy(cloud: Aws, state: State) -> State:
    role, _, name = state["id"].partition(":")
    found = cloud.query("iam", "GetRolePolicy", RoleName=role, PolicyName=name)
    return {"name": name, "policy": unquote(text(found, ".//PolicyDocument")), "role": role}


ROLE_POLICY = Resource(
    name="iam_role_policy",
    lines={
        "id": "optional computed string",
        "name": "optional computed string replace",
        "policy": "required string json",
        "role": "required string replace",
    },
    create=_put_policy,
    read=_read_policy,
    update=lambda cloud, before, after: void(_put_policy(cloud, after)),
    delete=lambda cloud, state: void(
        cloud.query("iam", "DeleteRolePolicy", RoleName=state["role"], PolicyName=state["name"])
    ),
)


def _attach(cloud: Aws, plan: State) -> str:
    cloud.query("iam", "AttachRolePolicy", RoleName=plan["role"], PolicyArn=plan["policy_arn"])
    return f"{plan['role']}/{plan['policy_arn']}"


def _read_attachment(cloud: Aws, state: State) -> State:
    role, _, arn = state["id"].partition("/")
    if arn not in _attached(cloud, role):
        raise NotFound(f"{arn} is not attached to {role}")
    return {"role": role, "policy_arn": arn}


ROLE_POLICY_ATTACHMENT = Resource(
    name="iam_role_policy_attachment",
    lines={
        "id": "optional computed string",
        "policy_arn": "required string replace",
        "role": "required string replace",
    },
    create=_attach,
    read=_read_attachment,
    delete=lambda cloud, state: void(
        cloud.query("iam", "DetachRolePolicy", RoleName=state["role"], PolicyArn=state["policy_arn"])
    ),
)
