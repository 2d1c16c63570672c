"""Security groups and what they let in."""

from __future__ import annotations

from typing import Any

from triplane.sandbox.providers.aws.client import Aws, text
from triplane.sandbox.providers.aws.network import TAGS, retag, seen_tags, tag_specification, void
from triplane.sandbox.providers.schema import Attribute, Resource, State

DESCRIPTION = "Managed by Terraform"


def _create_group(cloud: Aws, plan: State) -> str:
    answer = cloud.query(
        "ec2",
        "CreateSecurityGroup",
        GroupName=plan["name"],
        GroupDescription=plan["description"] or DESCRIPTION,
        VpcId=plan["vpc_id"],
        TagSpecification=tag_specification("security-group", plan),
    )
    return text(answer, "groupId")


def _read_group(cloud: Aws, state: State) -> State:
    answer = cloud.query("ec2", "DescribeSecurityGroups", GroupId=[state["id"]])
    item = answer.find("securityGroupInfo/item")
    owner = text(item, "ownerId")
    return seen_tags(item) | {
        "arn": f"arn:aws:ec2:{cloud.region}:{owner}:security-group/{state['id']}",
        "description": text(item, "groupDescription"),
        "name": text(item, "groupName"),
        "owner_id": owner,
        "vpc_id": text(item, "vpcId"),
    }


SECURITY_GROUP = Resource(
    name="security_group",
    lines={
        "arn": "computed string",
        "description": Attribute(type="string", optional=True, default=DESCRIPTION, replace=True),
        "id": "optional computed string",
        "name": "optional computed string replace",
        "owner_id": "computed string",
        "vpc_id": "optional computed string replace",
        **TAGS,
    },
    create=_create_group,
    read=_read_group,
    update=retag,
    delete=lambda cloud, state: void(cloud.query("ec2", "DeleteSecurityGroup", GroupId=state["id"])),
)


def _create_rule(cloud: Aws, plan: State) -> str:
    permission: dict[str, Any] = {
        "IpProtocol": plan["ip_protocol"],
        "FromPort": plan["from_port"],
        "ToPort": plan["to_port"],
        "IpRanges": [{"CidrIp": plan["cidr_ipv4"], "Description": plan["description"]}],
    }
    answer = cloud.query(
        "ec2",
        "AuthorizeSecurityGroupIngress",
        GroupId=plan["security_group_id"],
        IpPermissions=[permission],
        TagSpecification=tag_specification("security-group-rule", plan),
    )
    return text(answer, "securityGroupRuleSet/item/securityGroupRuleId")


def _read_rule(cloud: Aws, state: State) -> State:
    answer = cloud.query("ec2", "DescribeSecurityGroupRules", SecurityGroupRuleId=[state["id"]])
    item = answer.find("securityGroupRuleSet/item")
    owner = text(item, "groupOwnerId")
    return seen_tags(item) | {
        "arn": f"arn:aws:ec2:{cloud.region}:{owner}:security-group-rule/{state['id']}",
        "cidr_ipv4": text(item, "cidrIpv4"),
        "description": text(item, "description"),
        "from_port": int(text(item, "fromPort", "-1")),
        "ip_protocol": text(item, "ipProtocol"),
        "security_group_id": text(item, "groupId"),
        "security_group_rule_id": state["id"],
        "to_port": int(text(item, "toPort", "-1")),
    }


def _delete_rule(cloud: Aws, state: State) -> None:
    rules = [state["id"]]
    cloud.query(
        "ec2", "RevokeSecurityGroupIngress", GroupId=state["security_group_id"], SecurityGroupRuleId=rules
    )


INGRESS_RULE = Resource(
    name="vpc_security_group_ingress_rule",
    lines={
        "arn": "computed string",
        "cidr_ipv4": "optional string replace",
        "description": "optional string replace",
        "from_port": "optional number replace",
        "id": "computed string",
        "ip_protocol": "required string replace",
        "security_group_id": "required string replace",
        "security_group_rule_id": "computed string",
        "tags": "optional map(string)",
        "tags_all": "computed map(string) copies=tags",
        "to_port": "optional number replace",
    },
    create=_create_rule,
    read=_read_rule,
    update=retag,
    delete=_delete_rule,
)
