"""Deployment slots of function apps: how many a plan allows, and what a swap carries over."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.world import Resource, World

SLOTS = "Microsoft.Web/sites/slots"
# Slots beside production, by the tier of the plan.
ALLOWED = {"Dynamic": 1, "Standard": 4, "ElasticPremium": 2, "PremiumV2": 19, "PremiumV3": 19, "Isolated": 19}
# What stays where it is when slots are swapped.
STAYS = frozenset(
    {"alwaysOn", "cors", "ipSecurityRestrictions", "ipSecurityRestrictionsDefaultAction", "minTlsVersion",
     "scmIpSecurityRestrictions", "functionAppScaleLimit", "healthCheckPath"}
)  # fmt: skip


def check_allowed(world: World, target: Target, site: Resource) -> None:
    """Raises ArmError for one slot more than the plan of ``site`` allows."""
    plan = world.get(site["properties"].get("serverFarmId", "")) or {}
    tier = plan.get("sku", {}).get("tier") or ("Dynamic" if not plan else "Standard")
    if len(list(world.below(site["id"], SLOTS))) >= ALLOWED.get(tier, 0):
        raise ArmError(
            409,
            "Conflict",
            "Cannot complete the operation because the site will exceed the number of slots allowed for the "
            f"'{tier}' SKU.",
        )


def check_idle(world: World, identity: str) -> None:
    """Raises ArmError while the site or slot ``identity`` takes part in a swap."""
    site = world.get(identity)
    if site and (operation := site["properties"].get("inProgressOperationId")):
        raise ArmError(
            409,
            "Conflict",
            "Cannot modify this site because another operation is in progress. Details: "
            f"Id: {operation}, OperationName: SwapSiteSlots",
        )


def swap_partner(world: World, target: Target, body: Mapping[str, Any]) -> tuple[str, str]:
    """The two sites of a swap. Raises ArmError for a slot that is not there."""
    site = target.id.partition("/slots/")[0]
    other = body["targetSlot"]
    partner = site if other.lower() == "production" else f"{site}/slots/{other}"
    if world.get(partner) is None:
        raise ArmError(404, "NotFound", f"Cannot find slot with name {other}.")
    return target.id, partner


def begin(world: World, one: str, other: str) -> None:
    """Marks both sides as taking part in a swap."""
    operation = str(uuid.uuid4())
    for identity in (one, other):
        check_idle(world, identity)
    for identity in (one, other):
        site = world.get(identity)
        assert site is not None
        site["properties"]["inProgressOperationId"] = operation
        world.put(identity, site)


def end(world: World, one: str, other: str, *, swapped: bool) -> None:
    """Ends a swap; what is not bound to a slot changes sides."""
    for identity in (one, other):
        if site := world.get(identity):
            site["properties"].pop("inProgressOperationId", None)
            world.put(identity, site)
    if not swapped:
        return
    names = world.get(f"{one.partition('/slots/')[0]}/config/slotConfigNames") or {"properties": {}}
    sticky = frozenset(names["properties"].get("appSettingNames") or ())
    _exchange(world, f"{one}/config/appsettings", f"{other}/config/appsettings", sticky)
    _exchange(world, f"{one}/config/web", f"{other}/config/web", STAYS)


def _exchange(world: World, one: str, other: str, stays: frozenset[str]) -> None:
    ids = (one, other)
    found = [
        world.get(each)
        or {
            "id": each,
            "name": each.rpartition("/")[2],
            "type": "Microsoft.Web/sites/config",
            "properties": {},
        }
        for each in ids
    ]
    values = [dict(each["properties"]) for each in found]
    for each, own, others in zip(found, values, reversed(values), strict=True):
        kept = {key: value for key, value in own.items() if key in stays}
        each["properties"] = {key: value for key, value in others.items() if key not in stays} | kept
        world.put(each["id"], each)
