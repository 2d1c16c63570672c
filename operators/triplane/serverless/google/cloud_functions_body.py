"""Between what is desired and how the Cloud Functions v2 API writes it. Pure: takes and gives plain values.

What a deployment has made is told by labels of the function: they take 63 characters, a SHA-256 is 52 in base 32.
The labels are those of the last update, which need not be what serves: so they also name the revision that served
before it, with its own digests.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.serverless.google.cloud_run_template import SECRET, labels_of, network_of, one_of
from triplane.serverless.google.cloud_run_traffic import shares_of
from triplane.serverless.target import Desired, Observed, Option

INGRESS: Final = {
    "all": "ALLOW_ALL",
    "internal": "ALLOW_INTERNAL_ONLY",
    "internal-and-cloud-load-balancing": "ALLOW_INTERNAL_AND_GCLB",
}
ATTEMPT, CREATED = "triplane-attempt", "triplane-created"
DIGEST, CONFIG = "triplane-digest", "triplane-config"
WAS, WAS_DIGEST, WAS_CONFIG = "triplane-was", "triplane-was-digest", "triplane-was-config"
WAS_BUILD = "triplane-was-build"
SHA256: Final = re.compile(r"sha256:([0-9a-f]{64})")
BUILD: Final = {"runtime": "runtime", "entry_point": "entryPoint", "build_service_account": "serviceAccount"}
SERVICE: Final[dict[str, tuple[str, Callable[[str], str | int]]]] = {
    "memory": ("availableMemory", str),
    "cpu": ("availableCpu", str),
    "timeout": ("timeoutSeconds", lambda value: int(float(value))),
    "concurrency": ("maxInstanceRequestConcurrency", int),
    "min_instances": ("minInstanceCount", int),
    "max_instances": ("maxInstanceCount", int),
    "service_account": ("serviceAccountEmail", str),
}
PLATFORM: Final = frozenset({"FUNCTION_TARGET", "FUNCTION_SIGNATURE_TYPE", "LOG_EXECUTION_ID"})
"""Variables of a revision that Google sets itself."""


def function_body(desired: Desired, project: str, previous: Observed | None) -> dict[str, Any]:
    """The fields of a function that a deployment sets, apart from its source.

    :raises InputError: ``runtime`` or ``entry_point`` is missing, or a value is not known yet or to Google
    """
    given = {key: value for key, value in desired.known_options().items() if value is not None}
    missing = [key for key in ("runtime", "entry_point") if key not in given]
    if missing:
        raise InputError(f"{desired.name}: a Cloud Function needs the option {' and '.join(missing)}")
    plain, secrets = _environment(desired, project)
    service: dict[str, Any] = {
        "environmentVariables": plain,
        "secretEnvironmentVariables": secrets,
        "allTrafficOnLatestRevision": False,
        **{field: convert(str(given[key])) for key, (field, convert) in SERVICE.items() if key in given},
        **_network(desired.name, given),
    }
    if "ingress" in given:
        service["ingressSettings"] = one_of(desired.name, "ingress", given["ingress"], INGRESS)
    return {
        "environment": "GEN_2",
        "labels": labels_of(desired) | _marks(desired, previous),
        "buildConfig": {field: str(given[key]) for key, field in BUILD.items() if key in given},
        "serviceConfig": service,
    }


def paths(body: Mapping[str, Any]) -> list[str]:
    """The update mask for ``body``: field by field, so that what the spec cannot say stays."""
    inner = [f"{part}.{field}" for part in ("buildConfig", "serviceConfig") for field in body[part]]
    return [*inner, "labels"]


def made_from(function: Mapping[str, Any], revision: str) -> tuple[str | None, str | None]:
    """Digests of the package and of the configuration of a revision, None where nobody knows."""
    labels = function.get("labels", {})
    # First: while an update builds, and when it fails, the labels may already be its own.
    if labels.get(WAS) == revision:
        return unpacked(labels.get(WAS_DIGEST)), unpacked(labels.get(WAS_CONFIG))
    if is_latest(function, revision):
        return unpacked(labels.get(DIGEST)), unpacked(labels.get(CONFIG))
    return None, None


def is_latest(function: Mapping[str, Any], revision: str) -> bool:
    """Whether the function's last update has made this revision."""
    latest = function.get("serviceConfig", {}).get("revision", "").rpartition("/")[2]
    return bool(revision) and revision == latest and function.get("labels", {}).get(WAS) != revision


def build_options(function: Mapping[str, Any], revision: str) -> dict[str, Option]:
    """The options that only the build knows: of the last update, or of what served before where they are the same."""
    build = function.get("buildConfig", {})
    found: dict[str, Option] = {key: build.get(field) or None for key, field in BUILD.items()}
    labels = function.get("labels", {})
    same = labels.get(WAS) == revision and labels.get(WAS_BUILD) == packed(digest(found))
    return found if same or is_latest(function, revision) else {}


def own_environment(found: Mapping[str, str], project: str) -> dict[str, str]:
    """A revision's variables without Google's own, and secrets of the project by their short name."""
    prefix = f"secretmanager://projects/{project}/secrets/"
    return {
        key: value.replace(prefix, "secretmanager://") if value.startswith(prefix) else value
        for key, value in found.items()
        if key not in PLATFORM
    }


def packed(known: str) -> str:
    """A digest as the value of a label. :raises InputError: it is no SHA-256"""
    found = SHA256.fullmatch(known)
    if found is None:
        raise InputError(f"{known} is not a SHA-256 digest")
    return base64.b32encode(bytes.fromhex(found[1])).decode().rstrip("=").lower()


def unpacked(label: str | None) -> str | None:
    """The inverse of :func:`packed`; None for what that has not made."""
    if label is None or not re.fullmatch(r"[a-z2-7]{52}", label):
        return None
    return "sha256:" + base64.b32decode(label.upper() + "====").hex()


def failure(function: Mapping[str, Any]) -> str:
    """Why a function is FAILED, in Google's words."""
    found = [each.get("message", "") for each in function.get("stateMessages", [])]
    return "; ".join(filter(None, found)) or "Google does not say why"


def _marks(desired: Desired, previous: Observed | None) -> dict[str, str]:
    found = {ATTEMPT: desired.attempt, DIGEST: packed(desired.artifact), CONFIG: packed(desired.config)}
    if previous is None:
        return found | {CREATED: desired.attempt}
    if previous.version:
        found[WAS] = next(iter(shares_of(previous.version)))
        if previous.artifact:
            found[WAS_DIGEST] = packed(previous.artifact)
        if previous.config:
            found[WAS_CONFIG] = packed(previous.config)
        if "runtime" in previous.options:
            found[WAS_BUILD] = packed(digest({key: previous.options.get(key) for key in BUILD}))
    return found


def _environment(desired: Desired, project: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    plain, secrets = {}, []
    for key, value in sorted(desired.known_environment().items()):
        if (found := SECRET.fullmatch(value)) is None:
            plain[key] = value
            continue
        parts = found["secret"].split("/")
        owner = parts[1] if len(parts) == 4 else project
        secrets.append({"key": key, "projectId": owner, "secret": parts[-1], "version": found["version"]})
    return plain, secrets


def _network(name: str, given: Mapping[str, Option]) -> dict[str, Any]:
    found = network_of(name, given)
    if "connector" in found:
        egress = {"vpcConnectorEgressSettings": found["egress"]} if "egress" in found else {}
        return {"vpcConnector": found["connector"], **egress}
    if "network_interfaces" in found:
        egress = {"directVpcEgress": f"VPC_EGRESS_{found['egress']}"} if "egress" in found else {}
        return {"directVpcNetworkInterface": found["network_interfaces"], **egress}
    return {}
