"""A task definition and its service: our options as the fields of ECS, and back. Pure but for secrets' names.

A revision carries what a deployment has to find again: tags say whose it is and from what it was made; the label
``SERVICE`` of its container holds the options that belong to the service and not to the task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless.target import Desired, Observed, Option

SERVICE: Final = "triplane.service"
TAG_ATTEMPT, TAG_CONFIG, TAG_URL = "triplane:attempt", "triplane:config", "triplane:url"
TAG_COMMIT, TAG_DIGEST = "triplane:commit", "triplane:digest"
ARCHITECTURES: Final = {"x86_64": "X86_64", "arm64": "ARM64"}
TASK_OPTIONS: Final = frozenset(
    {"cpu", "memory", "port", "role", "execution_role", "health_check", "architecture", "log_group"}
)
SERVICE_OPTIONS: Final = frozenset(
    {"desired_count", "subnets", "security_groups", "public_ip", "target_group"}
    | {"minimum_healthy_percent", "maximum_percent"}
)
OPTIONS: Final = TASK_OPTIONS | SERVICE_OPTIONS | {"cluster", "url"}
NEEDED: Final = frozenset({"cpu", "memory", "execution_role", "subnets", "security_groups"})
NUMBERS: Final = frozenset(
    {"cpu", "memory", "port", "desired_count", "minimum_healthy_percent", "maximum_percent"}
)
_SECRET, _PARAMETER = "secretsmanager://", "ssm://"
_VERSION: Final = re.compile(r"AWS(?:CURRENT|PREVIOUS|PENDING)|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:secretsmanager:[^:]*:\d*:secret:(?P<name>[^:]+?)(?:-\w{6})?(?:::(?P<stage>\w*):(?P<id>[\w-]*))?"
)


def check(desired: Desired) -> dict[str, Option]:
    """The options to deploy. :raises InputError: something is missing or cannot be"""
    options, name = desired.known_options(), desired.name
    if desired.package is not None:
        raise InputError(f"{name}: Fargate runs images, and this is a package")
    if "@sha256:" not in desired.artifact:
        raise InputError(f"{name}: {desired.artifact} is no image with its digest (name@sha256:...)")
    if missing := sorted(NEEDED - set(options)):
        raise InputError(f"{name}: Fargate needs {', '.join(missing)}")
    for key in sorted(NUMBERS & set(options)):
        if not isinstance(options[key], int):
            raise InputError(f"{name}: {key} is a whole number, not {options[key]!r}")
    if options.get("architecture", "x86_64") not in ARCHITECTURES:
        raise InputError(f"{name}: architecture is one of {', '.join(ARCHITECTURES)}")
    if "target_group" in options and "port" not in options:
        raise InputError(f"{name}: a target group needs the `port` that the container listens on")
    return options


def definition(desired: Desired, arn_of: Callable[[str], str], region: str) -> dict[str, Any]:
    """The arguments of ``register_task_definition``. ``arn_of`` looks up a secret by its name."""
    options = check(desired)
    found: dict[str, Any] = {
        "family": desired.name,
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(options["cpu"]),
        "memory": str(options["memory"]),
        "executionRoleArn": options["execution_role"],
        "containerDefinitions": [_container(desired, options, arn_of, region)],
        "tags": _tags(desired, options),
    }
    if "role" in options:
        found["taskRoleArn"] = options["role"]
    if "architecture" in options:
        cpu = ARCHITECTURES[str(options["architecture"])]
        found["runtimePlatform"] = {"cpuArchitecture": cpu, "operatingSystemFamily": "LINUX"}
    return found


def service_options(task: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the service that a revision was deployed with; empty for one that somebody else made."""
    labels = task["containerDefinitions"][0].get("dockerLabels") or {}
    return dict(json.loads(labels.get(SERVICE) or "{}"))


def service(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``update_service`` for the options that belong to the service, as far as they are given."""
    breaker: dict[str, Any] = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    for key, field in (
        ("minimum_healthy_percent", "minimumHealthyPercent"),
        ("maximum_percent", "maximumPercent"),
    ):
        if options.get(key) is not None:
            breaker[field] = options[key]
    found: dict[str, Any] = {"deploymentConfiguration": breaker}
    if options.get("desired_count") is not None:
        found["desiredCount"] = options["desired_count"]
    if options.get("subnets"):
        found["networkConfiguration"] = {
            "awsvpcConfiguration": {
                "subnets": list(options["subnets"]),
                "securityGroups": list(options.get("security_groups") or ()),
                "assignPublicIp": "ENABLED" if options.get("public_ip") else "DISABLED",
            }
        }
    if options.get("target_group"):
        where = {"targetGroupArn": options["target_group"], "containerName": name}
        found["loadBalancers"] = [{**where, "containerPort": options["port"]}]
    return found


def observed(
    version: str, service: Mapping[str, Any], task: Mapping[str, Any], tags: Mapping[str, str], cluster: str
) -> Observed:
    """What serves: the service, the revision it runs, and the tags of that."""
    container = task["containerDefinitions"][0]
    network = (service.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    rolling = service.get("deploymentConfiguration") or {}
    ports, balancers = container.get("portMappings") or (), service.get("loadBalancers") or ()
    architecture = (task.get("runtimePlatform") or {}).get("cpuArchitecture", "X86_64")
    health = (container.get("healthCheck") or {}).get("command") or ()
    log = (container.get("logConfiguration") or {}).get("options") or {}
    options: dict[str, Option] = {
        "cluster": cluster,
        "cpu": _number(task.get("cpu")),
        "memory": _number(task.get("memory")),
        "port": ports[0]["containerPort"] if ports else None,
        "role": task.get("taskRoleArn"),
        "execution_role": task.get("executionRoleArn"),
        "health_check": " ".join(health[1:]) if health else None,
        "architecture": {value: key for key, value in ARCHITECTURES.items()}.get(architecture, architecture),
        "log_group": log.get("awslogs-group"),
        "desired_count": service.get("desiredCount"),
        "subnets": sorted(network.get("subnets") or ()),
        "security_groups": sorted(network.get("securityGroups") or ()),
        "public_ip": network.get("assignPublicIp") == "ENABLED",
        "target_group": balancers[0].get("targetGroupArn") if balancers else None,
        "minimum_healthy_percent": rolling.get("minimumHealthyPercent"),
        "maximum_percent": rolling.get("maximumPercent"),
        "url": tags.get(TAG_URL),
    }
    plain = {each["name"]: each["value"] for each in container.get("environment") or ()}
    secret = {each["name"]: reference(each["valueFrom"]) for each in container.get("secrets") or ()}
    return Observed(
        version=version,
        artifact=container["image"],
        config=tags.get(TAG_CONFIG),
        environment={**plain, **secret},
        options={key: value for key, value in options.items() if value is not None},
    )


def value_from(value: str, arn_of: Callable[[str], str]) -> str | None:
    """What ECS calls the secret that ``value`` refers to, None for a plain value.

    :raises InputError: the reference is not written as it is given back
    """
    if value.startswith(_PARAMETER):
        name = value.removeprefix(_PARAMETER)
        known = f"/{name}" if "/" in name and not name.startswith("/") else name
        if reference(known) != value:
            raise InputError(f"write {reference(known)} for {value}")
        return known
    if not value.startswith(_SECRET):
        return None
    name, _, version = value.removeprefix(_SECRET).rpartition("/")
    if not name or not _VERSION.fullmatch(version):
        return arn_of(value.removeprefix(_SECRET))
    stage, number = (version, "") if version.startswith("AWS") else ("", version)
    return f"{arn_of(name)}::{stage}:{number}"


def reference(value_from: str) -> str:
    """What :func:`value_from` was made of; an ARN that is none of ours stays as it is."""
    if found := _ARN.fullmatch(value_from):
        version = found["stage"] or found["id"]
        return f"{_SECRET}{found['name']}" + (f"/{version}" if version else "")
    if value_from.startswith("arn:"):
        return value_from
    nested = value_from.count("/") > 1
    return f"{_PARAMETER}{value_from.removeprefix('/') if nested else value_from}"


def short(arn: str) -> str:
    """``family:7`` of the ARN of a task definition."""
    return arn.rpartition("/")[2]


def _container(
    desired: Desired, options: Mapping[str, Any], arn_of: Callable[[str], str], region: str
) -> dict[str, Any]:
    values = sorted(desired.known_environment().items())
    kept = {key: options[key] for key in sorted(SERVICE_OPTIONS | {"port"}) if key in options}
    found: dict[str, Any] = {
        "name": desired.name,
        "image": desired.artifact,
        "essential": True,
        "environment": [],
        "secrets": [],
        "dockerLabels": {SERVICE: json.dumps(kept, default=list)},
    }
    for name, value in values:
        known = value_from(value, arn_of)
        if known is None:
            found["environment"].append({"name": name, "value": value})
        else:
            found["secrets"].append({"name": name, "valueFrom": known})
    if "port" in options:
        found["portMappings"] = [{"containerPort": options["port"], "protocol": "tcp"}]
    if "health_check" in options:
        found["healthCheck"] = {"command": ["CMD-SHELL", options["health_check"]]}
    if "log_group" in options:
        found["logConfiguration"] = {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": options["log_group"],
                "awslogs-region": region,
                "awslogs-stream-prefix": desired.name,
            },
        }
    return found


def _tags(desired: Desired, options: Mapping[str, Any]) -> list[dict[str, str]]:
    tags = {
        TAG_ATTEMPT: desired.attempt,
        TAG_CONFIG: desired.config,
        TAG_COMMIT: desired.revision,
        TAG_DIGEST: desired.artifact,
        TAG_URL: str(options.get("url") or ""),
    }
    return [{"key": key, "value": value} for key, value in tags.items() if value]


def _number(text: Any) -> int | None:
    return int(text) if text is not None and str(text).isdigit() else None
