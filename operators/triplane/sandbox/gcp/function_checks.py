"""What Cloud Functions fills in and refuses, and the Cloud Run service that it makes of a function."""

from __future__ import annotations

import re
from typing import Any

from triplane.sandbox.gcp.errors import bad_request, invalid
from triplane.sandbox.gcp.run_checks import RESERVED
from triplane.sandbox.gcp.state import PROJECT_NUMBER, Body

RUNTIME = re.compile(r"(python|nodejs|go|java|dotnet|ruby|php)\d+")
MEMORY = re.compile(r"\d+(Ki|Mi|Gi|k|M|G)?")
INGRESS = {
    "ALLOW_ALL": "INGRESS_TRAFFIC_ALL",
    "ALLOW_INTERNAL_ONLY": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "ALLOW_INTERNAL_AND_GCLB": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}


def check(wanted: Body) -> Body:
    """``wanted`` with what the API adds to it. Raises 400."""
    if wanted.setdefault("environment", "GEN_2") != "GEN_2":
        raise invalid("environment", "the sandbox has functions of environment GEN_2 only")
    build = wanted.setdefault("buildConfig", {})
    wrong: list[tuple[str, str]] = []
    if not RUNTIME.fullmatch(build.get("runtime", "")):
        wrong.append(("build_config.runtime", f"Runtime '{build.get('runtime', '')}' is not supported."))
    if not build.get("entryPoint"):
        wrong.append(("build_config.entry_point", "entry_point is required"))
    service = wanted.setdefault("serviceConfig", {})
    service.setdefault("availableMemory", "256Mi")
    service.setdefault("availableCpu", "0.1666")
    service.setdefault("timeoutSeconds", 60)
    service.setdefault("maxInstanceCount", 100)
    service.setdefault("maxInstanceRequestConcurrency", 1)
    service.setdefault("ingressSettings", "ALLOW_ALL")
    service.setdefault("serviceAccountEmail", f"{PROJECT_NUMBER}-compute@developer.gserviceaccount.com")
    if not MEMORY.fullmatch(service["availableMemory"]):
        wrong.append(("service_config.available_memory", f"Invalid memory {service['availableMemory']}"))
    if not 1 <= service["timeoutSeconds"] <= 3600:
        wrong.append(("service_config.timeout_seconds", "timeout_seconds must be between 1 and 3600"))
    if service["maxInstanceRequestConcurrency"] > 1 and float(service["availableCpu"]) < 1:
        text = "max_instance_request_concurrency greater than 1 needs at least 1 CPU"
        wrong.append(("service_config.max_instance_request_concurrency", text))
    reserved = sorted(RESERVED & set(service.get("environmentVariables", {})))
    wrong += [("service_config.environment_variables", f"{name} is reserved") for name in reserved]
    for key, value in wanted.get("labels", {}).items():
        if not re.fullmatch(r"[a-z0-9_-]{0,63}", value) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key):
            wrong.append(("labels", f"Invalid label {key}={value}"))
    if wrong:
        raise bad_request(wrong)
    return wanted


def service_template(function: Body, image: str) -> Body:
    """Template, labels and ingress of the function's Cloud Run service."""
    config = function["serviceConfig"]
    variables = {
        **config.get("environmentVariables", {}),
        "FUNCTION_TARGET": function["buildConfig"]["entryPoint"],
    }
    env: list[Body] = [{"name": key, "value": value} for key, value in variables.items()]
    for secret in config.get("secretEnvironmentVariables", []):
        reference = {"secret": secret["secret"], "version": secret["version"]}
        env.append({"name": secret["key"], "valueSource": {"secretKeyRef": reference}})
    template: dict[str, Any] = {
        "containers": [
            {
                "image": image,
                "env": env,
                "resources": {"limits": {"cpu": config["availableCpu"], "memory": config["availableMemory"]}},
            }
        ],
        "timeout": f"{config['timeoutSeconds']}s",
        "maxInstanceRequestConcurrency": config["maxInstanceRequestConcurrency"],
        "serviceAccount": config["serviceAccountEmail"],
        "scaling": {
            "maxInstanceCount": config["maxInstanceCount"],
            "minInstanceCount": config.get("minInstanceCount", 0),
        },
        "annotations": {"cloudfunctions.googleapis.com/trigger-type": "HTTP_TRIGGER"},
    }
    if network := _network(config):
        template["vpcAccess"] = network
    return {
        "template": template,
        "labels": {**function.get("labels", {}), "goog-managed-by": "cloudfunctions"},
        "ingress": INGRESS[config["ingressSettings"]],
    }


def _network(config: Body) -> Body:
    found: Body = {}
    if config.get("vpcConnector"):
        found["connector"] = config["vpcConnector"]
        found["egress"] = config.get("vpcConnectorEgressSettings", "PRIVATE_RANGES_ONLY")
    elif config.get("directVpcNetworkInterface"):
        found["networkInterfaces"] = config["directVpcNetworkInterface"]
        found["egress"] = (
            config.get("directVpcEgress", "").removeprefix("VPC_EGRESS_") or "PRIVATE_RANGES_ONLY"
        )
    return found
