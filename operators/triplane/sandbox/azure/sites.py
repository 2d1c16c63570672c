"""Function apps and their slots as resources: what comes with a site, and what is read with it."""

from __future__ import annotations

from collections.abc import Mapping

from triplane.sandbox.azure import slots
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.world import Resource, World, now

SITES = "Microsoft.Web/sites"
# The part of a site's configuration that reading the site itself shows.
SHOWN = ("linuxFxVersion", "alwaysOn", "http20Enabled", "numberOfWorkers", "functionAppScaleLimit")


def label(identity: str) -> str:
    """The first label of the host of a site or slot: ``app`` or ``app-staging``."""
    site, _, slot = identity.partition("/slots/")
    return "-".join(part for part in (site.rpartition("/")[2], slot) if part)


def find(world: World, host: str) -> Resource | None:
    """The site or slot that answers at ``<host>.azurewebsites.net``."""
    if site := world.find(SITES, host):
        return site
    found = world.below(f"/subscriptions/{world.settings.subscription}", slots.SLOTS)
    return next((slot for slot in found if label(slot["id"]).lower() == host.lower()), None)


def fill(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """A site or a slot."""
    properties = resource["properties"]
    slots.check_idle(world, target.id)
    parent = world.get(target.id.partition("/slots/")[0]) if "/slots/" in target.id else None
    if parent is not None and before is None:
        slots.check_allowed(world, target, parent)
    plan = properties.get("serverFarmId")
    if plan and world.get(plan) is None:
        raise ArmError(404, "NotFound", f"Cannot find serverfarm with name {plan.rpartition('/')[2]}.")
    name = label(target.id)
    other = find(world, name)
    if other and other["id"].lower() != target.id.lower():
        raise ArmError(409, "Conflict", f"Website with given name {name} already exists.")
    host, scm = f"{name}.azurewebsites.net", f"{name}.scm.azurewebsites.net"
    properties |= {
        "defaultHostName": host,
        "hostNames": [host],
        "enabledHostNames": [host, scm],
        "repositorySiteName": name,
        "resourceGroup": target.group,
        "usageState": "Normal",
        "availabilityState": "Normal",
        "lastModifiedTimeUtc": now(),
    }
    if parent is not None:
        resource["name"] = f"{parent['name']}/{target.name}"
        if parent["properties"].get("serverFarmId"):
            properties.setdefault("serverFarmId", parent["properties"]["serverFarmId"])
    for identity in resource.get("identity", {}).get("userAssignedIdentities", {}):
        owned = {"principalId": f"principal {identity}", "clientId": f"client {identity}"}
        resource["identity"]["userAssignedIdentities"][identity] = {
            key: world.identity(value) for key, value in owned.items()
        }
    properties.setdefault("state", before["properties"]["state"] if before else "Running")
    properties.setdefault("enabled", True)
    _settings(world, target, properties)


def configure(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """A part of the configuration."""
    slots.check_idle(world, target.id.rpartition("/config/")[0])


def _settings(world: World, target: Target, properties: Resource) -> None:
    """Configuration and application settings that come with a site are resources of their own."""
    given = properties.pop("siteConfig", {})
    settings = given.pop("appSettings", None)
    if settings is not None:
        pairs = {item["name"]: item.get("value", "") for item in settings}
        part = f"{target.id}/config/appsettings"
        world.put(part, settings_resource(part, pairs))
    _part(world, target.id, "web", given)
    if "/slots/" not in target.id:
        _part(world, target.id, "slotConfigNames", {})


def _part(world: World, site: str, name: str, values: Mapping[str, object]) -> None:
    identity = f"{site}/config/{name}"
    kind = "Microsoft.Web/sites/config"
    config = world.get(identity) or {"id": identity, "name": name, "type": kind, "properties": {}}
    config["properties"] |= values
    world.put(identity, config)


def settings_resource(identity: str, values: Mapping[str, str]) -> Resource:
    """A dictionary of a site, such as its application settings, as a resource."""
    name = identity.rpartition("/")[2]
    return {"id": identity, "name": name, "type": "Microsoft.Web/sites/config", "properties": dict(values)}


def shown(world: World, resource: Resource) -> Resource:
    """A site as it is read."""
    config = world.get(f"{resource['id']}/config/web") or {"properties": {}}
    resource["properties"]["siteConfig"] = {key: config["properties"].get(key) for key in SHOWN}
    return resource
