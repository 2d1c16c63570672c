"""Container Apps: what is sent for a deployment, and what is read back. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from triplane.core.errors import InputError
from triplane.serverless.azure.calls import (
    as_written,
    identities,
    list_of,
    read_stamp,
    stamp,
    tags,
    vault_reference,
    vault_url,
    word,
)
from triplane.serverless.target import Desired, Option

STAMP = "TRIPLANE_STAMP"
CONTAINER = "app"
RULE = "http"
INGRESS = ("external", "internal", "none")
OPTIONS = frozenset(
    {"managed_environment", "port", "cpu", "memory", "min_replicas", "max_replicas", "concurrency",
     "ingress", "identity", "registry_identity", "health_path"}
)  # fmt: skip


def check(desired: Desired) -> None:
    """:raises InputError: what the app cannot be made from"""
    name, options = desired.name, desired.known_options()
    if desired.package is not None or "@sha256:" not in desired.artifact:
        raise InputError(f"{name}: Container Apps run an image by its digest, registry/name@sha256:...")
    if len(name) > 32:
        raise InputError(f"{name}: the name of a container app has at most 32 characters")
    environment = str(options.get("managed_environment") or "")
    if not environment.lower().startswith("/subscriptions/"):
        raise InputError(
            f"{name}: give `managed_environment` as the resource id of a Container Apps environment"
        )
    if options.get("ingress", "external") not in INGRESS:
        raise InputError(f"{name}: `ingress` is one of {', '.join(INGRESS)}")
    if STAMP in desired.known_environment():
        raise InputError(f"{name}: {STAMP} is set by Triplane; leave it out")
    if secrets(desired) and not list_of(options.get("identity")):
        raise InputError(
            f"{name}: keyvault:// needs `identity`, the managed identity that may read the secrets"
        )
    known = {item.lower() for item in list_of(options.get("identity"))}
    registry = options.get("registry_identity")
    if registry and str(registry).lower() not in known:
        raise InputError(f"{name}: `registry_identity` must be one of `identity`")


def suffix(attempt: str) -> str:
    """The suffix of the revision that an attempt makes."""
    return f"t{attempt}"


def secret_name(url: str) -> str:
    """Names the app's secret for a secret in Key Vault; the same URL always has the same name."""
    return f"kv-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def secrets(desired: Desired) -> list[dict[str, str]]:
    """The app's secrets that the environment refers to, as they are sent."""
    found = {url for value in desired.known_environment().values() if (url := vault_url(value))}
    identity = next(iter(list_of(desired.known_options().get("identity"))), "")
    return [{"name": secret_name(url), "keyVaultUrl": url, "identity": identity} for url in sorted(found)]


def template(desired: Desired) -> dict[str, Any]:
    """What a revision is made from. Options that are not given are left to what is there."""
    options = desired.known_options()
    variables: list[dict[str, Any]] = [{"name": STAMP, "value": stamp(desired)}]
    for key, value in sorted(desired.known_environment().items()):
        url = vault_url(value)
        variables.append({"name": key, **({"secretRef": secret_name(url)} if url else {"value": value})})
    container: dict[str, Any] = {"name": CONTAINER, "image": desired.artifact, "env": variables}
    size = {"cpu": number(desired.name, options, "cpu"), "memory": options.get("memory")}
    if any(value is not None for value in size.values()):
        container["resources"] = {key: value for key, value in size.items() if value is not None}
    if path := options.get("health_path"):
        probe = {"httpGet": {"path": path, "port": options.get("port", 80)}, "periodSeconds": 5}
        container["probes"] = [{"type": kind, **probe} for kind in ("Liveness", "Readiness")]
    scale = {"minReplicas": options.get("min_replicas"), "maxReplicas": options.get("max_replicas")}
    body: dict[str, Any] = {"revisionSuffix": suffix(desired.attempt), "containers": [container]}
    given: dict[str, Any] = {key: value for key, value in scale.items() if value is not None}
    if requests := options.get("concurrency"):
        given["rules"] = [{"name": RULE, "http": {"metadata": {"concurrentRequests": str(requests)}}}]
    return body | ({"scale": given} if given else {})


def number(name: str, options: Mapping[str, Option], key: str) -> float | None:
    """:raises InputError: the option is no number"""
    value = options.get(key)
    try:
        return None if value is None else float(str(value))
    except ValueError as error:
        raise InputError(f"{name}: `{key}` is a number, not {value!r}") from error


def ingress(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The app's ingress without its traffic, None where it shall have none."""
    kind = options.get("ingress", "external")
    if kind == "none":
        return None
    return {"external": kind == "external", "targetPort": int(options.get("port") or 80), "transport": "auto"}


def registries(desired: Desired) -> list[dict[str, str]]:
    """How the app logs in to the registry of its image; nothing unless ``registry_identity`` is given."""
    identity = desired.known_options().get("registry_identity")
    return [{"server": desired.artifact.partition("/")[0], "identity": str(identity)}] if identity else []


def merged(
    old: Iterable[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], key: str
) -> list[Mapping[str, Any]]:
    """``new``, and those of ``old`` that it does not name: revisions of before still need them."""
    names = {item[key] for item in new}
    return [*(item for item in old if item[key] not in names), *new]


def traffic(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """Traffic as it is sent; a revision without any is left out."""
    return [{"revisionName": name, "weight": weight} for name, weight in sorted(weights.items()) if weight]


def weights(app: Any) -> dict[str, int]:
    """Revision -> percent; an app without ingress has no traffic."""
    configuration = app.configuration
    if configuration is None or configuration.ingress is None:
        return {}
    latest = app.latest_ready_revision_name or app.latest_revision_name or ""
    if word(configuration.active_revisions_mode).lower() != "multiple":
        return {latest: 100} if latest else {}
    found: dict[str, int] = {}
    for item in configuration.ingress.traffic or ():
        name = latest if item.latest_revision else item.revision_name
        if name and item.weight:
            found[name] = found.get(name, 0) + item.weight
    return found


def named(app: Any) -> bool:
    """Whether all traffic goes to revisions by name, so that a new one gets none by itself."""
    if word(app.configuration.active_revisions_mode).lower() != "multiple":
        return False
    ingress_now = app.configuration.ingress
    return ingress_now is None or not any(item.latest_revision for item in ingress_now.traffic or ())


def version_of(shares: Mapping[str, int]) -> str:
    """A revision's name, or ``a=90,b=10`` where traffic is split."""
    if len(shares) == 1:
        return next(iter(shares))
    return ",".join(f"{name}={weight}" for name, weight in sorted(shares.items()))


def shares_of(version: str) -> dict[str, int]:
    """What :func:`version_of` was made from."""
    if "=" not in version:
        return {version: 100} if version else {}
    pairs = (item.partition("=") for item in version.split(","))
    return {name: int(weight) for name, _, weight in pairs}


def stamp_of(found: Any) -> dict[str, Any]:
    """The stamp in a template of the app or of a revision; empty where someone else made it."""
    for container in (found.containers if found else None) or ():
        for variable in container.env or ():
            if variable.name == STAMP:
                return read_stamp(variable.value)
    return {}


def environment_of(found: Any, app_secrets: Iterable[Any]) -> dict[str, str]:
    """The environment variables of a template; those from Key Vault as ``keyvault://...``."""
    urls = {item.name: item.key_vault_url for item in app_secrets or () if item.key_vault_url}
    (container, *_) = found.containers
    values = {}
    for variable in container.env or ():
        if variable.secret_ref:
            url = urls.get(variable.secret_ref)
            values[variable.name] = vault_reference(url) if url else f"secretref:{variable.secret_ref}"
        elif variable.name != STAMP:
            values[variable.name] = variable.value or ""
    return values


def options_of(app: Any, envelope: Any, found: Any) -> dict[str, Option]:
    """The options of an app (``envelope`` is its resource, ``app`` that one's properties) and a template."""
    (container, *_) = found.containers
    now, scale = app.configuration.ingress, found.scale
    resources = container.resources
    probe = next((item.http_get for item in container.probes or () if item.http_get), None)
    rule = next((item.http for item in (scale.rules if scale else None) or () if item.http), None)
    server = container.image.partition("/")[0]
    login = next((item for item in app.configuration.registries or () if item.server == server), None)
    concurrent = (rule.metadata or {}).get("concurrentRequests") if rule else None
    read: dict[str, Option] = {
        "managed_environment": app.environment_id or app.managed_environment_id,
        "port": now.target_port if now else None,
        "cpu": resources.cpu if resources else None,
        "memory": resources.memory if resources else None,
        "min_replicas": scale.min_replicas if scale else None,
        "max_replicas": scale.max_replicas if scale else None,
        "concurrency": int(concurrent) if concurrent else None,
        "ingress": ("external" if now.external else "internal") if now else "none",
        "identity": identities(envelope.identity) or None,
        "registry_identity": login.identity if login else None,
        "health_path": probe.path if probe else None,
    }
    written = stamp_of(found).get("options", {})
    kept = {key: as_written(value, written.get(key)) for key, value in read.items() if value is not None}
    if now is None and "port" in written:
        kept["port"] = written["port"]
    return kept


def app_tags(old: Mapping[str, str] | None, made: Mapping[str, Any]) -> dict[str, str]:
    """The app's tags with the commit and digest of what serves; ``made`` is its stamp."""
    return {**(old or {}), **tags(str(made.get("revision") or ""), str(made.get("artifact") or ""))}
