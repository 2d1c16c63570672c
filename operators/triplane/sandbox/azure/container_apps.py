"""Container Apps: environments, apps, and their revisions, of which traffic weights choose the one that answers.

The sandbox runs no container. A revision is ready when its image is in the registry; what it answers is a JSON object
that names it. Environment variables of the container play the part of its code: ``SANDBOX_STATUS`` is the HTTP status
of every answer, and a container whose probes ask for HTTP is unhealthy if that is 400 or more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from triplane.sandbox.azure import images
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.world import Resource, World, now

APPS, REVISIONS = "Microsoft.App/containerApps", "Microsoft.App/containerApps/revisions"
NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
SUFFIX = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
# cores -> memory of the consumption plan
SIZES = {quarter / 4: f"{quarter / 2:g}Gi" for quarter in range(1, 17)}


def fill_environment(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """A managed environment and the domain of its apps."""
    suffix = world.identity(target.id)[:8]
    properties = resource["properties"]
    properties["defaultDomain"] = f"sand-{suffix}.{resource['location']}.azurecontainerapps.io"
    properties["staticIp"] = "192.0.2.10"


def fill(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """An app: checks it, and makes a revision where its template is new."""
    if not NAME.fullmatch(target.name) or "--" in target.name:
        raise _wrong("InvalidName", f"Invalid ContainerApp name '{target.name}'. A name must consist of lower case "
                     "alphanumeric characters or '-' and must not have '--'; the length must not be more than 32.")  # fmt: skip
    properties = resource["properties"]
    environment = world.get(properties.get("environmentId") or properties.get("managedEnvironmentId") or "")
    if environment is None:
        raise _wrong("InvalidEnvironmentId", "The environment of the container app does not exist.")
    properties["environmentId"] = properties["managedEnvironmentId"] = environment["id"]
    for identity in resource.get("identity", {}).get("userAssignedIdentities", {}):
        owned = {"principalId": world.identity(f"principal {identity}"), "clientId": world.identity(identity)}
        resource["identity"]["userAssignedIdentities"][identity] = owned
    configuration = properties.setdefault("configuration", {})
    configuration.setdefault("activeRevisionsMode", "Single")
    _keep_secrets(configuration, before)
    template = properties.get("template") or {}
    _check_template(template, configuration)
    _check_secrets(configuration, resource)
    domain = environment["properties"]["defaultDomain"]
    made = _revision(world, target, template, before, domain)
    _check_traffic(world, target, configuration, made)
    if ingress := configuration.get("ingress"):
        within = "" if ingress.get("external") else "internal."
        ingress["fqdn"] = f"{target.name}.{within}{domain}"
    if made is not None:
        world.put(made["id"], made)
        properties["latestRevisionName"] = made["name"]
        properties["latestRevisionFqdn"] = made["properties"]["fqdn"]
    elif before is not None:
        for key in ("latestRevisionName", "latestRevisionFqdn", "latestReadyRevisionName"):
            if key in before["properties"]:
                properties[key] = before["properties"][key]
    properties["runningStatus"] = "Running"


def _wrong(code: str, message: str) -> ArmError:
    return ArmError(400, f"ContainerApp{code}", message)


def _keep_secrets(configuration: Resource, before: Resource | None) -> None:
    """A secret that is sent without a value keeps the one it has."""
    old = (before or {}).get("properties", {}).get("configuration", {}).get("secrets") or []
    known = {item["name"]: item for item in old}
    for secret in configuration.get("secrets") or []:
        if not secret.get("value") and not secret.get("keyVaultUrl"):
            if secret.get("name") not in known:
                raise _wrong(
                    "SecretInvalid", f"Secret '{secret.get('name')}' has no value and no key vault URL."
                )
            secret |= known[secret["name"]]


def _check_template(template: Resource, configuration: Resource) -> None:
    containers = template.get("containers")
    if not containers:
        raise _wrong("ContainerRequired", "Container App must have at least one container.")
    secrets = {item["name"] for item in configuration.get("secrets") or []}
    for container in containers:
        for field in ("image", "name"):
            if not container.get(field):
                raise _wrong("InvalidTemplate", f"Field 'template.containers.{field}' is required.")
        wanted = container.get("resources") or {}
        cpu, memory = wanted.get("cpu", 0.5), wanted.get("memory", "1Gi")
        if SIZES.get(cpu) != memory:
            raise _wrong("InvalidResourceTotal", f"The total requested CPU and memory resources ({cpu} cores, {memory}) is invalid. "
                         "Total CPU and memory for all containers must add up to one of the CPU - memory combinations.")  # fmt: skip
        for variable in container.get("env") or []:
            if (ref := variable.get("secretRef")) and ref not in secrets:
                raise _wrong("SecretRefNotFound", f"SecretRef '{ref}' defined for container '{container['name']}' not found.")  # fmt: skip
    scale = template.get("scale") or {}
    if scale.get("minReplicas", 0) > scale.get("maxReplicas", 10):
        raise _wrong("InvalidScale", "minReplicas must not be more than maxReplicas.")
    suffix = template.get("revisionSuffix")
    if suffix and not SUFFIX.fullmatch(suffix):
        raise _wrong("InvalidRevisionSuffix", f"Invalid revision suffix '{suffix}'.")


def _check_secrets(configuration: Resource, resource: Resource) -> None:
    own = resource.get("identity") or {}
    known = {"system"} if "systemassigned" in str(own.get("type", "")).lower() else set()
    known |= {item.lower() for item in own.get("userAssignedIdentities") or {}}
    uses = [(f"secret '{item['name']}'", item.get("identity")) for item in configuration.get("secrets") or []
            if item.get("keyVaultUrl")]  # fmt: skip
    uses += [(f"registry '{item.get('server')}'", item["identity"]) for item in configuration.get("registries") or []
             if item.get("identity")]  # fmt: skip
    for what, identity in uses:
        if str(identity).lower() not in known:
            raise _wrong(
                "IdentityNotFound",
                f"The identity '{identity}' of {what} is not assigned to the container app.",
            )


def _revision(
    world: World, target: Target, template: Resource, before: Resource | None, domain: str
) -> Resource | None:
    """A new revision, None where the template is the one of before."""
    old = before["properties"].get("template") if before else None
    if old == template:
        return None
    suffix = template.get("revisionSuffix")
    same = old is not None and suffix == old.get("revisionSuffix")
    if not suffix or (same and not _exists(world, target, suffix)):
        suffix = world.identity(f"{target.id} {now()}")[:7]
    if _exists(world, target, suffix):
        raise _wrong("RevisionSuffixExists", f"Revision with suffix {suffix} already exists.")
    name = f"{target.name}--{suffix}"
    return {
        "id": f"{target.id}/revisions/{name}",
        "name": name,
        "type": REVISIONS,
        "properties": {
            "createdTime": now(),
            "fqdn": f"{name}.{domain}",
            "template": template,
            "active": True,
            "replicas": 0,
            "healthState": "None",
            "provisioningState": "Provisioning",
            "runningState": "Processing",
        },
    }


def _exists(world: World, target: Target, suffix: str) -> bool:
    return world.get(f"{target.id}/revisions/{target.name}--{suffix}") is not None


def _check_traffic(world: World, target: Target, configuration: Resource, made: Resource | None) -> None:
    ingress = configuration.get("ingress")
    if not ingress:
        return
    traffic = ingress.setdefault("traffic", [{"latestRevision": True, "weight": 100}])
    if sum(item.get("weight", 0) for item in traffic) != 100:
        raise _wrong("InvalidTraffic", "The sum of the traffic weights must be 100.")
    if configuration["activeRevisionsMode"].lower() == "single":
        return
    for item in traffic:
        name = item.get("revisionName")
        if item.get("latestRevision") or (made and made["name"] == name):
            continue
        revision = world.get(f"{target.id}/revisions/{name}")
        if revision is None or (item.get("weight") and not revision["properties"]["active"]):
            raise _wrong(
                "RevisionNotFound", f"Traffic: the revision '{name}' was not found or is not active."
            )


def fails(world: World, identity: str) -> ArmError | None:
    """What the operation on an app ends with: its newest revision must come up."""
    revision = _latest(world, identity)
    if revision is None or revision["properties"]["provisioningState"] != "Provisioning":
        return None
    registry = world.settings.registry
    for container in revision["properties"]["template"]["containers"]:
        if not images.found(registry, container["image"]):
            name, image = container["name"], container["image"]
            return ArmError(
                400,
                "ContainerAppOperationError",
                f"Failed to provision revision for container app '{identity.rpartition('/')[2]}'. Error details: "
                f"Field 'template.containers.{name}.image' is invalid with details: 'Invalid value: \"{image}\": "
                "MANIFEST_UNKNOWN: manifest unknown'.",
            )
    return None


def done(world: World, identity: str, failure: ArmError | None) -> None:
    """Ends the bringing up of the newest revision."""
    app, revision = world.get(identity), _latest(world, identity)
    if app is None or revision is None or revision["properties"]["provisioningState"] != "Provisioning":
        return
    properties = revision["properties"]
    if failure is not None:
        properties |= {
            "provisioningState": "Failed",
            "provisioningError": failure.message,
            "runningState": "Failed",
        }
    else:
        well = all(_healthy(item) for item in properties["template"]["containers"])
        properties |= {"provisioningState": "Provisioned", "replicas": 1}
        properties |= (
            {"healthState": "Healthy", "runningState": "Running"}
            if well
            else {"healthState": "Unhealthy", "runningState": "Degraded"}
        )
        app["properties"]["latestReadyRevisionName"] = revision["name"]
        single = app["properties"]["configuration"]["activeRevisionsMode"].lower() == "single"
        for other in world.below(identity, REVISIONS) if single else ():
            if other["name"] != revision["name"]:
                other["properties"] |= {"active": False, "replicas": 0, "runningState": "Stopped"}
                world.put(other["id"], other)
        world.put(identity, app)
    world.put(revision["id"], revision)


def _latest(world: World, identity: str) -> Resource | None:
    app = world.get(identity)
    name = app and app["properties"].get("latestRevisionName")
    return world.get(f"{identity}/revisions/{name}") if name else None


def _status(container: Resource) -> int:
    return int(
        next((item["value"] for item in container.get("env") or [] if item["name"] == "SANDBOX_STATUS"), 200)
    )


def _healthy(container: Resource) -> bool:
    return _status(container) < 400 or not any(item.get("httpGet") for item in container.get("probes") or [])


def shown(world: World, resource: Resource) -> Resource:
    """An app without the values of its secrets, a revision with the traffic it has."""
    if resource["type"] == REVISIONS:
        app = world.get(resource["id"].partition("/revisions/")[0])
        shares = _weights(world, app) if app else {}
        resource["properties"]["trafficWeight"] = shares.get(resource["name"], 0)
        if not app or not app["properties"]["configuration"].get("ingress"):
            resource["properties"].pop("fqdn", None)
        return resource
    for secret in resource["properties"]["configuration"].get("secrets") or []:
        secret.pop("value", None)
    return resource


def list_secrets(world: World, target: Target, body: Mapping[str, Any]) -> Any:
    app = world.get(target.id)
    assert app is not None
    return {"value": app["properties"]["configuration"].get("secrets") or []}


def switch(verb: str) -> Callable[[World, Target, Mapping[str, Any]], Any]:
    """Activates, deactivates or restarts a revision."""

    def act(world: World, target: Target, body: Mapping[str, Any]) -> None:
        revision = world.get(target.id)
        assert revision is not None
        app = world.get(target.id.partition("/revisions/")[0])
        assert app is not None
        properties = revision["properties"]
        if verb == "deactivate":
            if _weights(world, app).get(revision["name"]):
                raise _wrong(
                    "RevisionHasTraffic",
                    f"Revision {revision['name']} has traffic and cannot be deactivated.",
                )
            properties |= {"active": False, "replicas": 0, "runningState": "Stopped"}
        elif verb == "activate" and not properties["active"]:
            failed = properties["provisioningState"] == "Failed"
            properties |= {"active": True, "replicas": 1, "runningState": "Failed" if failed else "Running"}
        world.put(target.id, revision)

    return act


def _weights(world: World, app: Resource) -> dict[str, int]:
    """Revision -> percent of the traffic."""
    properties = app["properties"]
    latest = properties.get("latestReadyRevisionName", "")
    configuration = properties["configuration"]
    if configuration["activeRevisionsMode"].lower() == "single":
        return {latest: 100}
    found: dict[str, int] = {}
    for item in (configuration.get("ingress") or {}).get("traffic") or []:
        name = latest if item.get("latestRevision") else item["revisionName"]
        found[name] = found.get(name, 0) + item.get("weight", 0)
    return found


class ContainerApps:
    """Serves the apps and their revisions by host name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: dict[str, int] = {}

    def serve(self, host: str, request: web.Request) -> web.Response:
        """The answer of the app's or the revision's host. Raises ArmError."""
        self._world.settle()
        label, _, domain = host.partition(".")
        app = self._app(label.partition("--")[0], domain)
        revision = self._world.get(f"{app['id']}/revisions/{label if '--' in label else self._choose(app)}")
        if revision is None or not revision["properties"]["active"]:
            raise ArmError(404, "NotFound", "This Container App is stopped or does not exist.")
        if not revision["properties"]["replicas"]:
            raise ArmError(
                503, "ServiceUnavailable", "upstream connect error or disconnect/reset before headers"
            )
        container = revision["properties"]["template"]["containers"][0]
        answer = {"revision": revision["name"], "image": container["image"], "path": request.path}
        return web.json_response(answer, status=_status(container))

    def _app(self, name: str, domain: str) -> Resource:
        app = self._world.find(APPS, name)
        ingress = app and app["properties"]["configuration"].get("ingress")
        if app is None or not ingress or not ingress.get("external"):
            raise ArmError(404, "NotFound", "This Container App is stopped or does not exist.")
        if ingress["fqdn"].partition(".")[2] != domain:
            raise ArmError(404, "NotFound", "This Container App is stopped or does not exist.")
        return app

    def _choose(self, app: Resource) -> str:
        """The revision for the next request: in a hundred requests, each has exactly its share, evenly spread."""
        count = self._asked.get(app["id"], 0)
        self._asked[app["id"]] = count + 1
        place = count * 37 % 100
        for name, weight in sorted(_weights(self._world, app).items()):
            if place < weight:
                return name
            place -= weight
        return ""
