"""Event Hubs as resources: namespaces, event hubs and consumer groups. No event ever arrives."""

from __future__ import annotations

import re

from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.world import Resource, World, now

NAMESPACES = "Microsoft.EventHub/namespaces"
GROUPS = f"{NAMESPACES}/eventhubs/consumergroups"
DEFAULT = "$Default"
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
# By the tier of the namespace: consumer groups of an event hub, its partitions, days that it keeps events.
MOST_GROUPS = {"Basic": 1, "Standard": 20, "Premium": 100}
MOST_PARTITIONS = {"Basic": 32, "Standard": 32, "Premium": 100}
MOST_DAYS = {"Basic": 1, "Standard": 7, "Premium": 90}


def fill_namespace(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """A namespace; its name is unique in the world."""
    if not resource.get("location"):
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]", target.name):
        raise _wrong(f"The specified service namespace '{target.name}' is invalid.")
    sku = resource.setdefault("sku", dict((before or {}).get("sku") or {"name": "Standard"}))
    if sku.get("name") not in MOST_GROUPS:
        raise _wrong(f"The SKU name '{sku.get('name')}' is invalid.")
    sku.setdefault("tier", sku["name"])
    sku.setdefault("capacity", 1)
    resource["properties"] |= {
        "status": "Active",
        "serviceBusEndpoint": f"https://{target.name}.servicebus.windows.net:443/",
        "metricId": f"{world.settings.subscription}:{target.name}",
        "createdAt": before["properties"]["createdAt"] if before else now(),
        "updatedAt": now(),
    }


def fill_hub(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """An event hub, which has a consumer group from the start."""
    _named(target, 256)
    tier = _tier(world, target)
    properties = resource["properties"]
    count = properties.setdefault("partitionCount", before["properties"]["partitionCount"] if before else 4)
    if not 1 <= count <= MOST_PARTITIONS[tier]:
        raise _wrong(f"The partition count should be between 1 and {MOST_PARTITIONS[tier]}.")
    if before and tier != "Premium" and count != before["properties"]["partitionCount"]:
        raise _wrong("The partition count of an event hub cannot be changed in this tier.")
    days = properties.setdefault("messageRetentionInDays", 1)
    if not 1 <= days <= MOST_DAYS[tier]:
        raise _wrong(f"The message retention should be between 1 and {MOST_DAYS[tier]} days.")
    properties.setdefault("status", "Active")
    properties["partitionIds"] = [str(number) for number in range(count)]
    properties |= {"createdAt": before["properties"]["createdAt"] if before else now(), "updatedAt": now()}
    group = f"{target.id}/consumergroups/{DEFAULT}"
    if world.get(group) is None:
        made = {"createdAt": now(), "updatedAt": now()}
        world.put(group, {"id": group, "name": DEFAULT, "type": GROUPS, "properties": made})


def fill_group(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """A consumer group, as many of them as the tier allows."""
    if target.name != DEFAULT:
        _named(target, 50)
    hub, tier = target.id.rpartition("/consumergroups/")[0], _tier(world, target)
    if before is None and len(list(world.below(hub, GROUPS))) >= MOST_GROUPS[tier]:
        raise ArmError(
            403,
            "QuotaExceeded",
            f"The maximum number of consumer groups ({MOST_GROUPS[tier]}) of event hub "
            f"'{hub.rpartition('/')[2]}' in tier '{tier}' has been reached.",
        )
    properties = resource["properties"]
    if len(str(properties.get("userMetadata") or "")) > 1024:
        raise _wrong("The user metadata must not be longer than 1024 characters.")
    properties |= {"createdAt": before["properties"]["createdAt"] if before else now(), "updatedAt": now()}


def keep_group(world: World, target: Target) -> None:
    """The group that an event hub has from the start stays."""
    if target.name.lower() == DEFAULT.lower():
        raise _wrong(f"The consumer group '{DEFAULT}' cannot be deleted.")


def _named(target: Target, most: int) -> None:
    if len(target.name) > most or not NAME.fullmatch(target.name):
        raise _wrong(
            f"'{target.name}' is not a valid name: 1 to {most} letters, digits, periods, hyphens and underscores."
        )


def _tier(world: World, target: Target) -> str:
    namespace = world.get(target.id.partition("/eventhubs/")[0])
    if namespace is None:
        raise ArmError(404, "ParentResourceNotFound", f"The namespace of '{target.name}' could not be found.")
    return str(namespace["sku"]["name"])


def _wrong(message: str) -> ArmError:
    return ArmError(400, "BadRequest", f"{message} CorrelationId: sandbox")
