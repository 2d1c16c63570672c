"""What each resource type adds to the uniform model: checks, computed properties, actions."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from triplane.sandbox.azure import container_apps, event_hubs, logic, sites
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.world import Resource, World, now

Style = Literal["sync", "operation", "location", "accepted"]
Fill = Callable[[World, Target, Resource, Resource | None], None]
Action = Callable[[World, Target, Mapping[str, Any]], Any]
Fails = Callable[[World, str], ArmError | None]
Done = Callable[[World, str, ArmError | None], None]
Keep = Callable[[World, Target], None]


def _nothing(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a service answers ``put`` and ``delete``, and what it adds.

    ``sync``: at once. ``operation``: with the resource and an operation to poll. ``location``: with nothing but
    where the result will be. ``accepted``: with nothing but an operation. ``fill`` checks the resource and adds
    what the service computes. ``working`` is the state while an operation runs, ``fails`` says what it will end with,
    ``done`` is called at its end. ``keep`` refuses a deletion.
    """

    put: Style = "sync"
    delete: Style = "sync"
    fill: Fill = _nothing
    stateful: bool = True
    working: str = ""
    fails: Fails = lambda world, identity: None
    done: Done = lambda world, identity, error: None
    keep: Keep = lambda world, target: None


def _network(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    properties = resource["properties"]
    properties["resourceGuid"] = world.identity(target.id)
    prefixes = properties.get("addressSpace", {}).get("addressPrefixes") or []
    if not prefixes:
        raise ArmError(400, "InvalidRequestFormat", "Virtual network must have an address space.")
    for prefix in prefixes:
        _prefix(prefix)
    for subnet in properties.pop("subnets", []):
        _add_subnet(world, target, resource, subnet)


def _add_subnet(world: World, target: Target, network: Resource, subnet: Resource) -> None:
    name = subnet.get("name", "")
    identity = f"{target.id}/subnets/{name}"
    kind = "Microsoft.Network/virtualNetworks/subnets"
    item = {"id": identity, "name": name, "type": kind, "properties": dict(subnet.get("properties", {}))}
    _check_subnet(network, item)
    item["properties"]["provisioningState"] = "Succeeded"
    world.put(identity, item)


def _subnet(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    network = world.get(target.id.rpartition("/subnets/")[0])
    assert network is not None
    _check_subnet(network, resource)


def _check_subnet(network: Resource, subnet: Resource) -> None:
    properties = subnet["properties"]
    wanted = properties.get("addressPrefixes") or [properties.get("addressPrefix", "")]
    spaces = [_prefix(item) for item in network["properties"]["addressSpace"]["addressPrefixes"]]
    for prefix in wanted:
        inner = _prefix(prefix)
        if not any(inner.version == space.version and inner.subnet_of(space) for space in spaces):  # type: ignore[arg-type]
            raise ArmError(
                400,
                "NetcfgInvalidSubnet",
                f"Subnet '{subnet['name']}' is not valid in virtual network '{network['name']}'.",
            )


def _prefix(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ArmError(400, "InvalidAddressPrefixFormat", f"Address prefix {text!r}: {error}") from error


def _storage(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    if not re.fullmatch(r"[a-z0-9]{3,24}", target.name):
        raise ArmError(
            400,
            "AccountNameInvalid",
            f"{target.name} is not a valid storage account name. Storage account name must be between 3 and "
            "24 characters in length and use numbers and lower-case letters only.",
        )
    properties = resource["properties"]
    services = ("blob", "queue", "table", "file", "dfs", "web")
    properties["primaryEndpoints"] = {
        name: f"https://{target.name}.{name}.core.windows.net/" for name in services
    }
    properties["primaryLocation"] = resource["location"]
    properties["statusOfPrimary"] = "available"
    properties["creationTime"] = before["properties"]["creationTime"] if before else now()


def _container(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    properties = resource["properties"]
    properties.setdefault("publicAccess", "None")
    properties |= {"leaseStatus": "Unlocked", "leaseState": "Available", "lastModifiedTime": now()}


def _cluster(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    properties = resource["properties"]
    for pool in properties.get("agentPoolProfiles", []):
        subnet = pool.get("vnetSubnetID")
        if subnet and world.get(subnet) is None:
            raise ArmError(404, "ResourceNotFound", f"Subnet {subnet} of agent pool was not found.")
        pool.setdefault("count", 1)
        pool |= {"provisioningState": "Succeeded", "powerState": {"code": "Running"}}
    prefix = properties.setdefault("dnsPrefix", target.name)
    suffix = world.identity(target.id)[:8]
    version = properties.setdefault("kubernetesVersion", "1.20")
    properties.setdefault("nodeResourceGroup", f"MC_{target.group}_{target.name}_{resource['location']}")
    properties["currentKubernetesVersion"] = version
    properties["fqdn"] = f"{prefix}-{suffix}.hcp.{resource['location']}.azmk8s.io"
    properties["powerState"] = {"code": "Running"}


def _registry(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    if not re.fullmatch(r"[a-zA-Z0-9]{5,50}", target.name):
        raise ArmError(
            400,
            "InvalidRegistryName",
            "Registry names may contain alpha numeric characters only and must be between 5 and 50 characters.",
        )
    properties = resource["properties"]
    properties.setdefault("adminUserEnabled", False)
    properties["loginServer"] = f"{target.name.lower()}.azurecr.io"
    properties["creationDate"] = before["properties"]["creationDate"] if before else now()


def _plan(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    resource["properties"] |= {"status": "Ready", "resourceGroup": target.group}


def _postgresql(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    properties = resource["properties"]
    password = properties.pop("administratorLoginPassword", None)
    if before is None and properties.get("administratorLogin") and not password:
        raise ArmError(
            400, "InvalidParameterValue", "administratorLoginPassword is required to create a server."
        )
    properties.setdefault("version", "16")
    properties["fullyQualifiedDomainName"] = f"{target.name}.postgres.database.azure.com"
    properties["state"] = "Ready"


def _identity(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    resource["properties"] |= {
        "tenantId": world.settings.tenant,
        "principalId": world.identity(f"principal {target.id}"),
        "clientId": world.identity(f"client {target.id}"),
    }


KINDS: dict[str, Kind] = {
    "microsoft.resources/resourcegroups": Kind(delete="location"),
    "microsoft.network/virtualnetworks": Kind(put="operation", delete="operation", fill=_network),
    "microsoft.network/virtualnetworks/subnets": Kind(put="operation", delete="operation", fill=_subnet),
    "microsoft.storage/storageaccounts": Kind(put="location", fill=_storage),
    "microsoft.storage/storageaccounts/blobservices/containers": Kind(fill=_container, stateful=False),
    "microsoft.containerservice/managedclusters": Kind(put="operation", delete="operation", fill=_cluster),
    "microsoft.containerservice/managedclusters/agentpools": Kind(put="operation", delete="operation"),
    "microsoft.containerregistry/registries": Kind(put="operation", delete="location", fill=_registry),
    "microsoft.web/serverfarms": Kind(fill=_plan),
    "microsoft.web/sites": Kind(fill=sites.fill),
    "microsoft.web/sites/slots": Kind(fill=sites.fill),
    **{
        f"microsoft.web/sites/{part}": Kind(fill=sites.configure, stateful=False)
        for part in (
            *("config/appsettings", "config/web", "config/metadata", "config/slotconfignames"),
            *("slots/config/appsettings", "slots/config/web"),
        )
    },
    "microsoft.app/managedenvironments": Kind(
        put="operation", delete="operation", fill=container_apps.fill_environment, working="InProgress"
    ),
    "microsoft.app/containerapps": Kind(
        put="operation",
        delete="location",
        fill=container_apps.fill,
        working="InProgress",
        fails=container_apps.fails,
        done=container_apps.done,
    ),
    "microsoft.dbforpostgresql/flexibleservers": Kind(put="accepted", delete="operation", fill=_postgresql),
    "microsoft.dbforpostgresql/flexibleservers/databases": Kind(put="accepted", delete="operation"),
    "microsoft.dbforpostgresql/flexibleservers/firewallrules": Kind(put="accepted", delete="operation"),
    "microsoft.logic/workflows": Kind(fill=logic.fill),
    "microsoft.eventhub/namespaces": Kind(put="operation", delete="location", fill=event_hubs.fill_namespace),
    "microsoft.eventhub/namespaces/eventhubs": Kind(fill=event_hubs.fill_hub, stateful=False),
    "microsoft.eventhub/namespaces/eventhubs/consumergroups": Kind(
        fill=event_hubs.fill_group, keep=event_hubs.keep_group, stateful=False
    ),
    "microsoft.managedidentity/userassignedidentities": Kind(fill=_identity, stateful=False),
}


def shown(world: World, resource: Resource) -> Resource:
    """``resource`` as its service shows it: a network lists its subnets, a plan counts its sites."""
    kind = resource["type"].lower()
    if kind in ("microsoft.web/sites", "microsoft.web/sites/slots"):
        return sites.shown(world, resource)
    if kind.startswith("microsoft.app/containerapps"):
        return container_apps.shown(world, resource)
    if kind == "microsoft.network/virtualnetworks":
        resource["properties"]["subnets"] = list(world.below(resource["id"], f"{kind}/subnets"))
    if kind == "microsoft.web/serverfarms":
        everything = world.below(f"/subscriptions/{world.settings.subscription}", "Microsoft.Web/sites")
        plans = [str(site["properties"].get("serverFarmId", "")).lower() for site in everything]
        resource["properties"]["numberOfSites"] = plans.count(resource["id"].lower())
    return resource


def _list_keys(world: World, target: Target, body: Mapping[str, Any]) -> Any:
    settings = world.settings
    values = [base64.b64encode(world.secret(f"{target.name} key{n}")).decode() for n in (1, 2)]
    if target.name == settings.state_account:
        values[0] = settings.state_key
    return {
        "keys": [
            {"keyName": f"key{index}", "value": value, "permissions": "FULL"}
            for index, value in enumerate(values, 1)
        ]
    }


def _list_credentials(world: World, target: Target, body: Mapping[str, Any]) -> Any:
    registry = world.get(target.id)
    assert registry is not None
    if not registry["properties"].get("adminUserEnabled"):
        raise ArmError(
            400, "UnAuthorizedForCredentialOperations", "Admin user is disabled for this registry."
        )
    values = [world.secret(f"{target.name} password{n}").hex()[:48] for n in (1, 2)]
    names = ("password", "password2")
    passwords = [{"name": name, "value": value} for name, value in zip(names, values, strict=True)]
    return {"username": target.name, "passwords": passwords}


def _list_kubeconfig(world: World, target: Target, body: Mapping[str, Any]) -> Any:
    file = Path(world.settings.home).parent / "kubernetes" / "azure" / "user.kubeconfig"
    if not file.exists():
        raise ArmError(
            404, "NotFound", f"The sandbox runs no Kubernetes API for managed cluster {target.name}."
        )
    return {"kubeconfigs": [{"name": "clusterUser", "value": base64.b64encode(file.read_bytes()).decode()}]}


def _list_settings(world: World, target: Target, body: Mapping[str, Any]) -> Any:
    return world.get(target.id) or sites.settings_resource(target.id, {})


def _set_state(state: str) -> Action:
    def act(world: World, target: Target, body: Mapping[str, Any]) -> None:
        site = world.get(target.id)
        assert site is not None
        site["properties"] |= {"state": state, "lastModifiedTimeUtc": now()}
        world.put(target.id, site)

    return act


def _list_host_keys(world: World, target: Target, body: Mapping[str, Any]) -> Any:
    return {
        "masterKey": host_key(world, target.id),
        "functionKeys": {"default": host_key(world, target.id)},
        "systemKeys": {},
    }


def host_key(world: World, site: str) -> str:
    """The key that callers of a function with ``authLevel`` other than anonymous must send."""
    base = re.split("/host/", site, flags=re.IGNORECASE)[0]
    return base64.urlsafe_b64encode(world.secret(f"host {base}")[:40]).decode().rstrip("=")


# Actions that answer 204; the others answer 200, with or without a body.
WITHOUT_CONTENT = frozenset({"syncfunctiontriggers"})
ACTIONS: dict[tuple[str, str], Action] = {
    ("microsoft.storage/storageaccounts", "listkeys"): _list_keys,
    ("microsoft.containerregistry/registries", "listcredentials"): _list_credentials,
    ("microsoft.containerservice/managedclusters", "listclusterusercredential"): _list_kubeconfig,
    ("microsoft.web/sites/config/appsettings", "list"): _list_settings,
    ("microsoft.web/sites/config/metadata", "list"): _list_settings,
    ("microsoft.web/sites/slots/config/appsettings", "list"): _list_settings,
    ("microsoft.web/sites/host/default", "listkeys"): _list_host_keys,
    ("microsoft.web/sites/slots/host/default", "listkeys"): _list_host_keys,
    **{
        (f"microsoft.web/{kind}", verb): _set_state(state)
        for kind in ("sites", "sites/slots")
        for verb, state in (("restart", "Running"), ("start", "Running"), ("stop", "Stopped"))
    },
    ("microsoft.web/sites", "syncfunctiontriggers"): lambda world, target, body: None,
    **{("microsoft.logic/workflows", verb): logic.switch(verb) for verb in logic.STATES},
    ("microsoft.app/containerapps", "listsecrets"): container_apps.list_secrets,
    **{
        ("microsoft.app/containerapps/revisions", verb): container_apps.switch(verb)
        for verb in ("activate", "deactivate", "restart")
    },
}
