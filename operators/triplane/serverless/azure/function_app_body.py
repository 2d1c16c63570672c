"""Function apps: what is sent for a deployment, and what is read back. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless.azure import stream_settings as streams
from triplane.serverless.azure.calls import (
    as_written,
    identities,
    identity_body,
    list_of,
    read_stamp,
    stamp,
    vault_reference,
    vault_url,
    word,
)
from triplane.serverless.target import Desired, Option

STAMP: Final = "TRIPLANE_STAMP"
MESSAGE: Final = "triplane "
CONTAINER: Final = "DOCKER|"
SLOT: Final = "staging"
OPTIONS = frozenset(
    {"runtime", "plan", "health_path", "slot", "identity", "vnet_subnet", "min_tls", "https_only", "allow",
     "auth_level"}
)  # fmt: skip
# A swap leaves these where they are.
STAYS = frozenset({"health_path", "identity", "vnet_subnet", "min_tls", "https_only", "allow"})
AUTH_LEVELS = ("anonymous", "function", "admin")
# Application settings that we or the platform set; they are not part of a function's environment.
PLATFORM_SETTINGS: Final = frozenset(
    {
        "ENABLE_ORYX_BUILD",
        "FUNCTIONS_EXTENSION_VERSION",
        "FUNCTIONS_WORKER_RUNTIME",
        "SCM_DO_BUILD_DURING_DEPLOYMENT",
        "WEBSITES_ENABLE_APP_SERVICE_STORAGE",
        "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
        "WEBSITE_CONTENTSHARE",
        "WEBSITE_RUN_FROM_PACKAGE",
        STAMP,
    }
)
# What a new slot takes over from production; the share of its content is its own.
_SHARED = frozenset({"WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"})


def check(desired: Desired) -> None:
    """:raises InputError: what the app cannot be made from"""
    name, options, environment = desired.name, desired.known_options(), desired.known_environment()
    if reserved := sorted(PLATFORM_SETTINGS & environment.keys()):
        raise InputError(f"{name}: {', '.join(reserved)} is set by Triplane; leave it out")
    for value in environment.values():
        vault_url(value)
    if desired.package is None and "@sha256:" not in desired.artifact:
        raise InputError(f"{name}: give an image by its digest, registry/name@sha256:...")
    if desired.package is not None and "|" not in str(options.get("runtime") or ""):
        raise InputError(f"{name}: give `runtime` as Azure writes it, for example python|3.11")
    if desired.package is None and options.get("runtime"):
        raise InputError(f"{name}: an image brings its runtime along; leave out `runtime`")
    for key, what in (("plan", "an App Service plan"), ("vnet_subnet", "a subnet")):
        resource = options.get(key)
        if resource and not str(resource).lower().startswith("/subscriptions/"):
            raise InputError(f"{name}: give `{key}` as the resource id of {what}")
    if options.get("auth_level", "function") not in AUTH_LEVELS:
        raise InputError(f"{name}: `auth_level` is one of {', '.join(AUTH_LEVELS)}")
    for cidr in list_of(options.get("allow")):
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            raise InputError(f"{name}: `allow` holds networks such as 203.0.113.0/24: {error}") from error


def message(artifact: str | None, attempt: str) -> str:
    """What a package is sent with, by which it is found again."""
    return f"{MESSAGE}{artifact or 'unknown'} {attempt}"


def artifact_of(text: str) -> str | None:
    """The package digest in the message of a deployment, None where it is not ours."""
    words = text.removeprefix(MESSAGE).split()
    return words[0] if text.startswith(MESSAGE) and words and words[0].startswith("sha256:") else None


def settings(
    desired: Desired, there: Mapping[str, str], sticky: Collection[str], shared: Mapping[str, str]
) -> dict[str, str]:
    """The application settings of a side. ``there`` are those it has, ``shared`` those of production.

    :raises InputError: the environment names a setting that a swap would not carry over, or that is a stream's
    """
    environment = desired.known_environment()
    if taken := sorted(environment.keys() & streams.names(there)):
        raise InputError(
            f"{desired.name}: {', '.join(taken)} is set by a stream; leave it out of `environment`"
        )
    if fixed := sorted(environment.keys() & set(sticky)):
        raise InputError(
            f"{desired.name}: {', '.join(fixed)} is a deployment slot setting at Azure and would stay behind in a "
            "swap; leave it out of `environment`, or make it an ordinary setting"
        )
    kept = {key: value for key, value in shared.items() if key in _SHARED}
    kept |= {key: value for key, value in there.items() if key in PLATFORM_SETTINGS or key in sticky}
    kept |= streams.of(there)
    values, vault = {}, []
    for key, value in environment.items():
        url = vault_url(value)
        values[key] = f"@Microsoft.KeyVault(SecretUri={_with_slash(url)})" if url else value
        vault += [key] if url else []
    mark = stamp(desired, vault=sorted(vault))
    return {**kept, **_runtime_settings(desired), **values, STAMP: mark}


def _with_slash(url: str) -> str:
    """A secret without a version ends with a slash in a reference."""
    return url if url.count("/") > 4 else f"{url}/"


def _runtime_settings(desired: Desired) -> dict[str, str]:
    own = {"FUNCTIONS_EXTENSION_VERSION": "~4"}
    if desired.package is None:
        return own | {"WEBSITES_ENABLE_APP_SERVICE_STORAGE": "false"}
    worker = str(desired.known_options()["runtime"]).partition("|")[0].lower()
    build = {"ENABLE_ORYX_BUILD": "true", "SCM_DO_BUILD_DURING_DEPLOYMENT": "true"}
    return {**own, "FUNCTIONS_WORKER_RUNTIME": worker, **(build if worker == "python" else {})}


def environment_of(found: Mapping[str, str], sticky: Collection[str]) -> dict[str, str]:
    """The function's environment among application settings; slot settings and streams are not part of it."""
    apart = PLATFORM_SETTINGS | set(sticky) | streams.names(found)
    vault = set(read_stamp(found.get(STAMP)).get("vault") or ())
    values = {}
    for key, value in found.items():
        if key in apart:
            continue
        uri = value.removeprefix("@Microsoft.KeyVault(SecretUri=").removesuffix(")")
        values[key] = vault_reference(uri) if key in vault else value
    return values


def linux_version(desired: Desired) -> str:
    """``linuxFxVersion``: the runtime of a package, or the image."""
    return (
        f"{CONTAINER}{desired.artifact}"
        if desired.package is None
        else str(desired.known_options()["runtime"])
    )


def options_of(site: Any, config: Any, made: Mapping[str, Any]) -> dict[str, Option]:
    """The options of a side; ``made`` is its stamp, which says how they were written."""
    version = config.linux_fx_version or ""
    written = made.get("options") or {}
    rules = config.ip_security_restrictions or ()
    allowed = [
        str(rule.ip_address) for rule in rules if word(rule.action) == "Allow" and rule.ip_address != "Any"
    ]
    read: dict[str, Option] = {
        "runtime": None if version.startswith(CONTAINER) else version.lower(),
        "plan": site.server_farm_id,
        "health_path": config.health_check_path,
        "slot": written.get("slot"),
        "identity": identities(site.identity),
        "vnet_subnet": site.virtual_network_subnet_id,
        "min_tls": config.min_tls_version,
        "https_only": site.https_only,
        "allow": allowed,
        "auth_level": written.get("auth_level"),
    }
    kept = {key: as_written(value, written.get(key)) for key, value in read.items()}
    return {key: value for key, value in kept.items() if value not in (None, "", []) or key in written}


def site_change(options: Mapping[str, Any], version: str | None, *, new: bool) -> dict[str, Any]:
    """What makes a side as ``options`` say, and run ``version``; what is not given stays as it is."""
    config: dict[str, Any] = {} if version is None else {"linuxFxVersion": version}
    properties: dict[str, Any] = {"reserved": True, "httpsOnly": True} if new else {}
    names = {"plan": "serverFarmId", "https_only": "httpsOnly"}
    properties |= {names[key]: options[key] for key in names if options.get(key) is not None}
    if options.get("vnet_subnet") is not None:
        properties["virtualNetworkSubnetId"] = options["vnet_subnet"] or None
    if options.get("health_path") is not None or new:
        config["healthCheckPath"] = options.get("health_path") or ""
    if options.get("min_tls") is not None:
        config["minTlsVersion"] = str(options["min_tls"])
    if options.get("allow") is not None:
        cidrs = list_of(options["allow"])
        config["ipSecurityRestrictionsDefaultAction"] = "Deny" if cidrs else "Allow"
        config["ipSecurityRestrictions"] = [
            {"ipAddress": cidr, "action": "Allow", "priority": 100 + number, "name": f"triplane-{number}"}
            for number, cidr in enumerate(cidrs)
        ]
    if version is not None and version.startswith(CONTAINER) and options.get("identity"):
        config["acrUseManagedIdentityCreds"] = True
    change: dict[str, Any] = {"properties": {**properties, **({"siteConfig": config} if config else {})}}
    if options.get("identity") is not None:
        change["identity"] = identity_body(list_of(options["identity"]))
    return change
