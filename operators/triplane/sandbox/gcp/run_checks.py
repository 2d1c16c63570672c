"""What Cloud Run fills in and what it refuses, apart from what the discovery document says."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from triplane.sandbox.gcp.errors import invalid
from triplane.sandbox.gcp.state import PROJECT_NUMBER, Body

LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
RESERVED = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
Problems = list[tuple[str, str]]


def defaults(service: Body) -> Body:
    """``service`` with what the API adds to it."""
    service.setdefault("ingress", "INGRESS_TRAFFIC_ALL")
    service.setdefault("launchStage", "GA")
    if not service.get("traffic"):
        service["traffic"] = [{"type": LATEST, "percent": 100}]
    template = service.setdefault("template", {})
    template.setdefault("timeout", "300s")
    template.setdefault("maxInstanceRequestConcurrency", 80)
    template.setdefault("serviceAccount", f"{PROJECT_NUMBER}-compute@developer.gserviceaccount.com")
    template.setdefault("scaling", {}).setdefault("maxInstanceCount", 100)
    for container in template.get("containers", []):
        resources = container.setdefault("resources", {})
        resources["limits"] = {"cpu": "1000m", "memory": "512Mi", **resources.get("limits", {})}
        resources.setdefault("cpuIdle", True)
    if containers := template.get("containers"):
        containers[0].setdefault("ports", [{"name": "http1", "containerPort": 8080}])
    return service


def check_template(service: Body) -> Problems:
    """Everything wrong with the template, as (field, text)."""
    template = service["template"]
    containers = template.get("containers", [])
    wrong: Problems = []
    if not containers:
        wrong.append(("template.containers", "template.containers: at least one container is required"))
    for index, container in enumerate(containers):
        wrong += _container(f"template.containers[{index}]", container)
    if not 1 <= template["maxInstanceRequestConcurrency"] <= 1000:
        field = "template.max_instance_request_concurrency"
        wrong.append((field, f"{field}: must be between 1 and 1000"))
    scaling = template["scaling"]
    if scaling.get("minInstanceCount", 0) > scaling["maxInstanceCount"]:
        field = "template.scaling"
        wrong.append((field, f"{field}: min_instance_count must not be greater than max_instance_count"))
    seconds = re.fullmatch(r"(\d+)(\.\d+)?s", template["timeout"])
    if not seconds or not 1 <= int(seconds[1]) <= 3600:
        wrong.append(("template.timeout", "template.timeout: must be between 1s and 3600s"))
    return wrong


def check_traffic(traffic: list[dict[str, Any]], revisions: Collection[str]) -> None:
    """Raises 400 unless the percents make 100 and every target is the latest or an existing revision."""
    if sum(target.get("percent", 0) for target in traffic) != 100:
        raise invalid("traffic", "traffic: The sum of the traffic percents must be 100.")
    tags = [target["tag"] for target in traffic if target.get("tag")]
    for tag in tags:
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", tag):
            raise invalid("traffic", f"traffic: Invalid tag '{tag}'.")
        if tags.count(tag) > 1:
            raise invalid("traffic", f"traffic: Tag '{tag}' is used more than once.")
    for target in traffic:
        kind, revision = target.get("type"), target.get("revision")
        if kind == LATEST and revision:
            raise invalid("traffic", "traffic: revision must be empty for the latest revision.")
        if kind == REVISION and revision not in revisions:
            raise invalid("traffic", f"traffic: Revision '{revision}' does not exist.")
        if kind not in {LATEST, REVISION}:
            raise invalid("traffic", "traffic: type is required.")


def _container(at: str, container: Body) -> Problems:
    wrong: Problems = []
    if not container.get("image"):
        wrong.append((f"{at}.image", f"{at}.image: is required"))
    names = [variable.get("name", "") for variable in container.get("env", [])]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name):
            wrong.append((f"{at}.env", f"{at}.env: Invalid variable name '{name}'"))
        if name in RESERVED or names.count(name) > 1:
            reason = "is reserved" if name in RESERVED else "is not unique"
            wrong.append((f"{at}.env", f"{at}.env: variable name {name} {reason}"))
    limits = container["resources"]["limits"]
    if not re.fullmatch(r"\d+(\.\d+)?|\d+m", str(limits["cpu"])):
        wrong.append((f"{at}.resources.limits.cpu", f"Invalid value specified for cpu: {limits['cpu']}"))
    if not re.fullmatch(r"\d+(Ki|Mi|Gi|k|M|G)?", str(limits["memory"])):
        text = f"Invalid value specified for memory: {limits['memory']}"
        wrong.append((f"{at}.resources.limits.memory", text))
    return wrong
