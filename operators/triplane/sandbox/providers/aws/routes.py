"""Routes of a route table."""

from __future__ import annotations

from triplane.sandbox.providers.aws.client import Aws, text
from triplane.sandbox.providers.schema import NotFound, Resource, State


def _arguments(state: State) -> dict[str, str | None]:
    return {
        "RouteTableId": state["route_table_id"],
        "DestinationCidrBlock": state["destination_cidr_block"],
        "GatewayId": state["gateway_id"],
    }


def _create(cloud: Aws, plan: State) -> str:
    cloud.query("ec2", "CreateRoute", **_arguments(plan))
    return f"r-{plan['route_table_id']}-{plan['destination_cidr_block']}"


def _read(cloud: Aws, state: State) -> State:
    table = state["route_table_id"]
    answer = cloud.query("ec2", "DescribeRouteTables", RouteTableId=[table])
    for route in answer.findall("routeTableSet/item/routeSet/item"):
        if text(route, "destinationCidrBlock") == state["destination_cidr_block"]:
            return {
                "gateway_id": text(route, "gatewayId"),
                "origin": text(route, "origin"),
                "state": text(route, "state"),
            }
    raise NotFound(f"no route to {state['destination_cidr_block']} in {table}")


def _update(cloud: Aws, before: State, after: State) -> None:
    cloud.query("ec2", "ReplaceRoute", **_arguments(after))


def _delete(cloud: Aws, state: State) -> None:
    destination = state["destination_cidr_block"]
    cloud.query("ec2", "DeleteRoute", RouteTableId=state["route_table_id"], DestinationCidrBlock=destination)


ROUTE = Resource(
    name="route",
    lines={
        "destination_cidr_block": "optional string replace",
        "gateway_id": "optional string",
        "id": "optional computed string",
        "origin": "computed string",
        "route_table_id": "required string replace",
        "state": "computed string",
    },
    create=_create,
    read=_read,
    update=_update,
    delete=_delete,
)
