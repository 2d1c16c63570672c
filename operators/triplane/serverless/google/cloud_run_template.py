"""Between what is desired and how Cloud Run's API writes it. Pure: takes and gives plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless.target import Desired, Option

INGRESS: Final = {
    "all": "INGRESS_TRAFFIC_ALL",
    "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "internal-and-cloud-load-balancing": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}
EGRESS: Final = {"private-ranges-only": "PRIVATE_RANGES_ONLY", "all-traffic": "ALL_TRAFFIC"}
EXECUTION: Final = {"gen1": "EXECUTION_ENVIRONMENT_GEN1", "gen2": "EXECUTION_ENVIRONMENT_GEN2"}
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
    given = {key: value for key, value in desired.known_options().items() if value is not None}
    labels = labels_of(desired)
    limits = {key: str(given[key]) for key in ("cpu", "memory") if key in given}
    container: dict[str, Any] = {
        "image": desired.artifact,
        "env": [variable(key, value) for key, value in sorted(desired.known_environment().items())],
    }
    if limits:
        container["resources"] = {"limits": limits}
    if "port" in given:
        container["ports"] = [{"container_port": int(str(given["port"]))}]
    template: dict[str, Any] = {"containers": [container], "annotations": dict(annotations), "labels": labels}
    if "service_account" in given:
        template["service_account"] = str(given["service_account"])
    if "timeout" in given:
        template["timeout"] = {"seconds": int(float(str(given["timeout"])))}
    if "concurrency" in given:
        template["max_instance_request_concurrency"] = int(str(given["concurrency"]))
    bounds = {"min_instances": "min_instance_count", "max_instances": "max_instance_count"}
    if scaling := {field: int(str(given[key])) for key, field in bounds.items() if key in given}:
        template["scaling"] = scaling
    if network := network_of(desired.name, given):
        template["vpc_access"] = network
    if "execution_environment" in given:
        word = given["execution_environment"]
        template["execution_environment"] = one_of(desired.name, "execution_environment", word, EXECUTION)
    body: dict[str, Any] = {"template": template, "labels": labels}
    if "ingress" in given:
        body["ingress"] = one_of(desired.name, "ingress", given["ingress"], INGRESS)
    return body


def network_of(name: str, given: Mapping[str, Option]) -> dict[str, Any]:
    """The ``VpcAccess`` that the options ask for, empty if none. :raises InputError: they contradict each other"""
    found: dict[str, Any] = {}
    direct = {key: str(given[key]) for key in ("network", "subnetwork") if key in given}
    if direct and "vpc_connector" in given:
        raise InputError(f"{name}: give `vpc_connector`, or `network` and `subnetwork`, not both")
    if direct:
        found["network_interfaces"] = [direct]
    if "vpc_connector" in given:
        found["connector"] = str(given["vpc_connector"])
    if "egress" in given:
        if not found:
            raise InputError(f"{name}: `egress` needs `vpc_connector`, or `network` and `subnetwork`")
        found["egress"] = one_of(name, "egress", given["egress"], EGRESS)
    return found


def labels_of(desired: Desired) -> dict[str, str]:
    """What people find it by: whose it is, the commit, and the first 63 digits of what it runs."""
    told = {"triplane-commit": desired.revision, "triplane-digest": desired.artifact.rpartition("sha256:")[2]}
    safe = {key: re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63] for key, value in told.items()}
    return LABELS | {key: value for key, value in safe.items() if value}


def options_of(service: Any, revision: Any) -> dict[str, Option]:
    """A service's options as :class:`CloudRun` names them, from the revision that serves."""
    container = revision.containers[0]
    limits = dict(container.resources.limits)
    network = revision.vpc_access
    direct = network.network_interfaces[0] if network.network_interfaces else None
    return {
        "port": container.ports[0].container_port if container.ports else None,
        "memory": limits.get("memory"),
        "cpu": limits.get("cpu"),
        "timeout": int(revision.timeout.total_seconds()) if revision.timeout else None,
        "concurrency": revision.max_instance_request_concurrency,
        "min_instances": revision.scaling.min_instance_count,
        "max_instances": revision.scaling.max_instance_count,
        "service_account": revision.service_account,
        "ingress": _word(INGRESS, service.ingress),
        "execution_environment": _word(EXECUTION, revision.execution_environment),
        "vpc_connector": network.connector or None,
        "network": direct.network or None if direct else None,
        "subnetwork": direct.subnetwork or None if direct else None,
        "egress": _word(EGRESS, network.egress),
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


def one_of(name: str, option: str, value: Option, known: Mapping[str, str]) -> str:
    """Google's word for an option's value. :raises InputError: there is none"""
    if value not in known:
        raise InputError(f"{name}: {option} {value!r} is not one of {', '.join(known)}")
    return known[str(value)]


def _word(known: Mapping[str, str], value: Any) -> str | None:
    return {number: word for word, number in known.items()}.get(value.name)
