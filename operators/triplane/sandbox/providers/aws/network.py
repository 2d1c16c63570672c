"""VPC, subnets and the way to the internet."""

from __future__ import annotations

from xml.etree import ElementTree

from triplane.sandbox.providers.aws.client import Aws, tag_changes, tag_pairs, tags_of, text
from triplane.sandbox.providers.http import wait
from triplane.sandbox.providers.schema import Resource, State

TAGS = {
    "tags": "optional map(string)",
    "tags_all": "optional computed map(string) copies=tags",
}


def tag_specification(kind: str, plan: State) -> list[dict[str, object]]:
    """Tags to give to a new thing of ``kind``."""
    pairs = tag_pairs(plan.get("tags_all"))
    return [{"ResourceType": kind, "Tag": pairs}] if pairs else []


def retag(cloud: Aws, before: State, after: State) -> None:
    """Bring the tags of an EC2 resource up to date."""
    added, removed = tag_changes(before, after)
    if added:
        cloud.query("ec2", "CreateTags", ResourceId=[after["id"]], Tag=tag_pairs(added))
    if removed:
        cloud.query("ec2", "DeleteTags", ResourceId=[after["id"]], Tag=[{"Key": key} for key in removed])


def seen_tags(item: ElementTree.Element | None) -> State:
    """Tags of an EC2 resource."""
    tags = tags_of(item, "tagSet/item", "key", "value")
    return {"tags": tags, "tags_all": tags}


VPC_SWITCHES = {"enable_dns_support": "EnableDnsSupport", "enable_dns_hostnames": "EnableDnsHostnames"}


def _create_vpc(cloud: Aws, plan: State) -> str:
    answer = cloud.query(
        "ec2",
        "CreateVpc",
        CidrBlock=plan["cidr_block"],
        InstanceTenancy=plan["instance_tenancy"],
        TagSpecification=tag_specification("vpc", plan),
    )
    vpc_id = text(answer, "vpc/vpcId")
    wait(lambda: _vpc_available(cloud, vpc_id), vpc_id)
    _switch_vpc(cloud, vpc_id, {}, plan)
    return vpc_id


def _vpc_available(cloud: Aws, vpc_id: str) -> bool:
    return text(cloud.query("ec2", "DescribeVpcs", VpcId=[vpc_id]), "vpcSet/item/state") == "available"


def _switch_vpc(cloud: Aws, vpc_id: str, before: State, after: State) -> None:
    for name, parameter in VPC_SWITCHES.items():
        if after[name] != before.get(name):
            # Names are resolved unless that is turned off; hosts have names only if that is turned on.
            wanted = name == "enable_dns_support" if after[name] is None else after[name]
            cloud.query("ec2", "ModifyVpcAttribute", VpcId=vpc_id, **{parameter: {"Value": wanted}})


def _read_vpc(cloud: Aws, state: State) -> State:
    vpc_id = state["id"]
    item = cloud.query("ec2", "DescribeVpcs", VpcId=[vpc_id]).find("vpcSet/item")
    switches = {}
    for name, parameter in VPC_SWITCHES.items():
        attribute = parameter[0].lower() + parameter[1:]
        answer = cloud.query("ec2", "DescribeVpcAttribute", VpcId=vpc_id, Attribute=attribute)
        switches[name] = text(answer, f"{attribute}/value") == "true"
    owner = text(item, "ownerId")
    return (
        seen_tags(item)
        | switches
        | {
            "arn": f"arn:aws:ec2:{cloud.region}:{owner}:vpc/{vpc_id}",
            "cidr_block": text(item, "cidrBlock"),
            "default_security_group_id": _vpc_default(
                cloud, "SecurityGroup", "group-name", "default", vpc_id
            ),
            "instance_tenancy": text(item, "instanceTenancy", "default"),
            "main_route_table_id": _vpc_default(cloud, "RouteTable", "association.main", "true", vpc_id),
            "owner_id": owner,
        }
    )


def _vpc_default(cloud: Aws, kind: str, name: str, value: str, vpc_id: str) -> str:
    """Id of the main route table or the default security group that AWS makes with a VPC."""
    filters = [{"Name": "vpc-id", "Value": [vpc_id]}, {"Name": name, "Value": [value]}]
    answer = cloud.query("ec2", f"Describe{kind}s", Filter=filters)
    paths = {
        "RouteTable": "routeTableSet/item/routeTableId",
        "SecurityGroup": "securityGroupInfo/item/groupId",
    }
    return text(answer, paths[kind])


def _update_vpc(cloud: Aws, before: State, after: State) -> None:
    _switch_vpc(cloud, after["id"], before, after)
    retag(cloud, before, after)


VPC = Resource(
    name="vpc",
    lines={
        "arn": "computed string",
        "cidr_block": "optional computed string replace",
        "default_security_group_id": "computed string",
        "enable_dns_hostnames": "optional computed bool",
        "enable_dns_support": "optional bool default=true",
        "id": "optional computed string",
        "instance_tenancy": 'optional string default="default" replace',
        "main_route_table_id": "computed string",
        "owner_id": "computed string",
        **TAGS,
    },
    create=_create_vpc,
    read=_read_vpc,
    update=_update_vpc,
    delete=lambda cloud, state: void(cloud.query("ec2", "DeleteVpc", VpcId=state["id"])),
)


def void(_: object) -> None:
    """Drops an answer."""


def _create_subnet(cloud: Aws, plan: State) -> str:
    answer = cloud.query(
        "ec2",
        "CreateSubnet",
        VpcId=plan["vpc_id"],
        CidrBlock=plan["cidr_block"],
        AvailabilityZone=plan["availability_zone"],
        TagSpecification=tag_specification("subnet", plan),
    )
    subnet_id = text(answer, "subnet/subnetId")
    if plan["map_public_ip_on_launch"]:
        _map_public_ip(cloud, subnet_id, True)
    return subnet_id


def _map_public_ip(cloud: Aws, subnet_id: str, value: bool | None) -> None:
    switch = {"Value": bool(value)}
    cloud.query("ec2", "ModifySubnetAttribute", SubnetId=subnet_id, MapPublicIpOnLaunch=switch)


def _read_subnet(cloud: Aws, state: State) -> State:
    item = cloud.query("ec2", "DescribeSubnets", SubnetId=[state["id"]]).find("subnetSet/item")
    return seen_tags(item) | {
        "arn": text(item, "subnetArn"),
        "availability_zone": text(item, "availabilityZone"),
        "availability_zone_id": text(item, "availabilityZoneId"),
        "cidr_block": text(item, "cidrBlock"),
        "map_public_ip_on_launch": text(item, "mapPublicIpOnLaunch") == "true",
        "owner_id": text(item, "ownerId"),
        "vpc_id": text(item, "vpcId"),
    }


def _update_subnet(cloud: Aws, before: State, after: State) -> None:
    if before["map_public_ip_on_launch"] != after["map_public_ip_on_launch"]:
        _map_public_ip(cloud, after["id"], after["map_public_ip_on_launch"])
    retag(cloud, before, after)


SUBNET = Resource(
    name="subnet",
    lines={
        "arn": "computed string",
        "availability_zone": "optional computed string replace",
        "availability_zone_id": "optional computed string replace",
        "cidr_block": "optional string replace",
        "id": "optional computed string",
        "map_public_ip_on_launch": "optional bool",
        "owner_id": "computed string",
        "vpc_id": "required string replace",
        **TAGS,
    },
    create=_create_subnet,
    read=_read_subnet,
    update=_update_subnet,
    delete=lambda cloud, state: void(cloud.query("ec2", "DeleteSubnet", SubnetId=state["id"])),
)


def _create_gateway(cloud: Aws, plan: State) -> str:
    answer = cloud.query(
        "ec2", "CreateInternetGateway", TagSpecification=tag_specification("internet-gateway", plan)
    )
    gateway_id = text(answer, "internetGateway/internetGatewayId")
    if plan["vpc_id"]:
        cloud.query("ec2", "AttachInternetGateway", InternetGatewayId=gateway_id, VpcId=plan["vpc_id"])
    return gateway_id


def _read_gateway(cloud: Aws, state: State) -> State:
    answer = cloud.query("ec2", "DescribeInternetGateways", InternetGatewayId=[state["id"]])
    item = answer.find("internetGatewaySet/item")
    owner = text(item, "ownerId")
    return seen_tags(item) | {
        "arn": f"arn:aws:ec2:{cloud.region}:{owner}:internet-gateway/{state['id']}",
        "owner_id": owner,
        "vpc_id": text(item, "attachmentSet/item/vpcId"),
    }


def _update_gateway(cloud: Aws, before: State, after: State) -> None:
    gateway_id = after["id"]
    if before["vpc_id"] != after["vpc_id"]:
        if before["vpc_id"]:
            cloud.query("ec2", "DetachInternetGateway", InternetGatewayId=gateway_id, VpcId=before["vpc_id"])
        if after["vpc_id"]:
            cloud.query("ec2", "AttachInternetGateway", InternetGatewayId=gateway_id, VpcId=after["vpc_id"])
    retag(cloud, before, after)


def _delete_gateway(cloud: Aws, state: State) -> None:
    if state["vpc_id"]:
        cloud.query("ec2", "DetachInternetGateway", InternetGatewayId=state["id"], VpcId=state["vpc_id"])
    cloud.query("ec2", "DeleteInternetGateway", InternetGatewayId=state["id"])


INTERNET_GATEWAY = Resource(
    name="internet_gateway",
    lines={
        "arn": "computed string",
        "id": "optional computed string",
        "owner_id": "computed string",
        "vpc_id": "optional computed string",
        **TAGS,
    },
    create=_create_gateway,
    read=_read_gateway,
    update=_update_gateway,
    delete=_delete_gateway,
)
