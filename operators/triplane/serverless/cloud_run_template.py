"""Between what is desired and how Cloud Run's API writes it. Pure: takes and gives plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless.target import Desired, Option, Unknown

INGRESS: Final = {
    "all": "INGRESS_TRAFFIC_ALL",
    "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "internal-and-cloud-load-balancing": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}
REVISION: Final = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
SECRET: Final = re.compile(r"secretmanager://(?P<secret>[^/]+(?:/[^/]+){0,3}?)/(?P<version>[^/]+)")
LABELS: Final = {"managed-by": "triplane"}


def service_body(desired: Desired, annotations: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a ``run_v2.Service`` that a deployment sets; its keys are the update mask.

    :raises InputError: the image has no digest, or a value is not known yet or unknown to Cloud Run
    """
    if "@sha256:" not in desired.artifact:
        raise InputError(
            f"{desired.name}: {desired.artifact} has no digest; name the image as host/name@sha256:…"
        )
    given = known_options(desired)
    limits = {key: str(given[key]) for key in ("cpu", "memory") if key in given}
    container: dict[str, Any] = {
        "image": desired.artifact,
        "env": [variable(key, value) for key, value in sorted(desired.known_environment().items())],
    }
    if limits:
        container["resources"] = {"limits": limits}
    if "port" in given:
        container["ports"] = [{"container_port": int(str(given["port"]))}]
    template: dict[str, Any] = {"containers": [container], "annotations": dict(annotations), "labels": LABELS}
    if "service_account" in given:
        template["service_account"] = str(given["service_account"])
    if "timeout" in given:
        template["timeout"] = {"seconds": int(float(str(given["timeout"])))}
    if "concurrency" in given:
        template["max_instance_request_concurrency"] = int(str(given["concurrency"]))
    bounds = {"min_instances": "min_instance_count", "max_instances": "max_instance_count"}
    if scaling := {field: int(str(given[key])) for key, field in bounds.items() if key in given}:
        template["scaling"] = scaling
    body: dict[str, Any] = {"template": template, "labels": LABELS}
    return body | ({"ingress": _ingress(desired.name, given["ingress"])} if "ingress" in given else {})


def known_options(desired: Desired) -> dict[str, Option]:
    """The options, all of them resolved. :raises InputError: one is not"""
    unknown = sorted(key for key, value in desired.options.items() if isinstance(value, Unknown))
    if unknown:
        raise InputError(f"{desired.name}: {', '.join(unknown)} is not known yet; apply its stack first")
    return {
        key: value
        for key, value in desired.options.items()
        if value is not None and not isinstance(value, Unknown)
    }


def options_of(service: Any, revision: Any) -> dict[str, Option]:
    """A service's options as :class:`CloudRun` names them, from the revision that serves."""
    container = revision.containers[0]
    limits = dict(container.resources.limits)
    ingress = {number: word for word, number in INGRESS.items()}.get(service.ingress.name)
    return {
        "port": container.ports[0].container_port if container.ports else None,
        "memory": limits.get("memory"),
        "cpu": limits.get("cpu"),
        "timeout": int(revision.timeout.total_seconds()) if revision.timeout else None,
        "concurrency": revision.max_instance_request_concurrency,
        "min_instances": revision.scaling.min_instance_count,
        "max_instances": revision.scaling.max_instance_count,
        "service_account": revision.service_account,
        "ingress": ingress,
    }


def variable(name: str, value: str) -> dict[str, Any]:
    """An environment variable; ``secretmanager://NAME/VERSION`` stays a reference."""
    if found := SECRET.fullmatch(value):
        return {"name": name, "value_source": {"secret_key_ref": found.groupdict()}}
    return {"name": name, "value": value}


def plain_environment(variables: Iterable[Any]) -> dict[str, str]:
    """The inverse of :func:`variable` for a container's environment."""
    found = {}
    for each in variables:
        reference = each.value_source.secret_key_ref
        named = f"secretmanager://{reference.secret}/{reference.version}"
        found[each.name] = named if reference.secret else each.value
    return found


def version_of(service: Any) -> str:
    """Which revision serves: its name, ``a=90,b=10`` (most first) where traffic is split, "" for none."""
    shares: dict[str, int] = {}
    for status in service.traffic_statuses:
        name = status.revision or service.latest_ready_revision.rpartition("/")[2]
        shares[name] = shares.get(name, 0) + status.percent
    serving = sorted(((-percent, name) for name, percent in shares.items() if percent), key=lambda each: each)
    if len(serving) == 1:
        return serving[0][1]
    return ",".join(f"{name}={-percent}" for percent, name in serving)


def traffic_of(version: str) -> list[dict[str, Any]]:
    """The traffic targets for what :func:`version_of` returned."""
    parts = [part.partition("=") for part in version.split(",")]
    return [{"type_": REVISION, "revision": name, "percent": int(share or 100)} for name, _, share in parts]


def _ingress(name: str, value: Option) -> str:
    if value not in INGRESS:
        raise InputError(f"{name}: ingress {value!r} is not one of {', '.join(INGRESS)}")
    return INGRESS[str(value)]
