"""ECS services that roll out: a deployment takes its time, completes, or fails and is taken back.

The tasks of a revision start if its image is in the registry (one of another registry counts as being there). Without
the circuit breaker a rollout whose tasks do not start goes on for ever, as the real one does.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ecr.models import ecr_backends
from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend, Service
from moto.ecs.responses import EC2ContainerServiceResponse

from triplane.sandbox.aws_server.accounts import ACCOUNT

ROLLOUT_SECONDS = 0.6
DRAIN_SECONDS = 0.4
REGISTRY = f"{ACCOUNT}.dkr.ecr."
DEFAULTS = {"maximumPercent": 200, "minimumHealthyPercent": 100}
ROLLED = ("taskDefinition", "networkConfiguration", "loadBalancers", "platformVersion")


def install() -> None:
    """Put it over moto's."""
    create, describe = (
        EC2ContainerServiceResponse.create_service,
        EC2ContainerServiceBackend.describe_services,
    )
    delete = EC2ContainerServiceBackend.delete_service

    def create_service(self: Any) -> ActionResult:
        cluster, name = self._get_param("cluster", "default"), self._get_param("serviceName")
        there = _found(self.ecs_backend, cluster, name)
        token = self._get_param("clientToken")
        if there is not None and there.status == "ACTIVE":
            if token and token == there.client_token:
                return ActionResult({"service": there})
            raise InvalidParameterException("Creation of service was not idempotent.")
        if there is not None and there.status == "DRAINING":
            raise InvalidParameterException("Unable to Start a service that is still Draining.")
        answer = create(self)
        service = self.ecs_backend._get_service(cluster, name)
        service.deployment_configuration = {**DEFAULTS, **(self._get_param("deploymentConfiguration") or {})}
        service.task_definition = self.ecs_backend.describe_task_definition(service.task_definition).arn
        service.deployments = []
        service.completed, service.client_token = None, token
        _begin(service)
        return answer

    def update_service(self: Any) -> ActionResult:
        cluster, name = self._get_param("cluster", "default"), self._get_param("service")
        backend = self.ecs_backend
        service = backend._get_service(cluster, name.split("/")[-1])
        _refresh(backend, service)
        if service.status != "ACTIVE":
            raise NotActive()
        asked = self._get_params()
        if network := asked.get("networkConfiguration"):
            service.network_configuration = service._validate_network(network)
        if "loadBalancers" in asked:
            service.load_balancers = asked["loadBalancers"]
        if given := asked.get("deploymentConfiguration"):
            service.deployment_configuration = {**DEFAULTS, **given}
        if "desiredCount" in asked:
            service.desired_count = asked["desiredCount"]
        if wanted := asked.get("taskDefinition"):
            service.task_definition = backend.describe_task_definition(wanted).arn
        if any(key in asked for key in ROLLED) or asked.get("forceNewDeployment"):
            _begin(service)
        return ActionResult({"service": service})

    def describe_services(self: Any, cluster: str, names: list[str]) -> Any:
        services, failures = describe(self, cluster, names)
        for service in services:
            _refresh(self, service)
        return services, failures

    def delete_service(self: Any, cluster: str, name: str, force: bool) -> Any:
        service = delete(self, cluster, name, force)
        service.status = "DRAINING"
        service.gone_at = time.monotonic() + DRAIN_SECONDS
        return service

    listed = EC2ContainerServiceBackend.list_task_definitions

    def list_task_definitions(self: Any) -> ActionResult:
        arns = listed(self.ecs_backend, self._get_param("familyPrefix"), self._get_param("status", "ACTIVE"))
        ordered = sorted(arns, key=lambda arn: (arn.rpartition(":")[0], int(arn.rpartition(":")[2])))
        return ActionResult(
            {"taskDefinitionArns": ordered[::-1] if self._get_param("sort") == "DESC" else ordered}
        )

    EC2ContainerServiceResponse.create_service = create_service
    EC2ContainerServiceResponse.update_service = update_service
    EC2ContainerServiceResponse.list_task_definitions = list_task_definitions
    EC2ContainerServiceBackend.describe_services = describe_services
    EC2ContainerServiceBackend.delete_service = delete_service


class NotActive(InvalidParameterException):
    code = "ServiceNotActiveException"

    def __init__(self) -> None:
        super().__init__("Service was not ACTIVE.")


def _found(backend: Any, cluster: str, name: str) -> Any:
    services, _ = backend.describe_services(cluster, [name])
    return services[0] if services else None


def _begin(service: Service, reason: str = "") -> None:
    """A new deployment; the one of before goes on until this one is complete."""
    for before in service.deployments:
        before["status"] = "ACTIVE"
    number = f"ecs-svc/{uuid.uuid4().int % 10**19}"
    service.deployments.insert(
        0,
        {
            "id": number,
            "status": "PRIMARY",
            "taskDefinition": service.task_definition,
            "desiredCount": service.desired_count,
            "pendingCount": service.desired_count,
            "runningCount": 0,
            "failedTasks": 0,
            "createdAt": utcnow(),
            "updatedAt": utcnow(),
            "launchType": "FARGATE",
            "platformFamily": "Linux",
            "networkConfiguration": service.network_configuration or None,
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": reason or f"ECS deployment {number} in progress.",
        },
    )
    service.began = time.monotonic()


def _refresh(backend: Any, service: Service) -> None:
    """What has happened to a service since it was looked at last."""
    if service.status == "DRAINING" and time.monotonic() > service.gone_at:
        service.status = "INACTIVE"
        service.deployments = []
    if service.status != "ACTIVE" or time.monotonic() - service.began < ROLLOUT_SECONDS:
        return
    primary = service.deployments[0]
    if primary["rolloutState"] != "IN_PROGRESS":
        return
    image = backend.describe_task_definition(primary["taskDefinition"]).container_definitions[0]["image"]
    primary["updatedAt"] = utcnow()
    if _pulls(service.region_name, image):
        _complete(service, primary)
    else:
        _fail(service, primary, image)


def _complete(service: Service, primary: dict[str, Any]) -> None:
    primary |= {"runningCount": service.desired_count, "pendingCount": 0, "rolloutState": "COMPLETED"}
    primary["rolloutStateReason"] = f"ECS deployment {primary['id']} completed."
    service.running_count, service.pending_count = service.desired_count, 0
    service.deployments = [primary]
    service.completed = primary["taskDefinition"]
    _say(service, f"(service {service.name}) has reached a steady state.")


def _fail(service: Service, primary: dict[str, Any], image: str) -> None:
    primary["failedTasks"] += 3
    pull = f"CannotPullContainerError: pull image manifest has been retried 1 time(s): {image}: not found"
    _say(service, f"(service {service.name}) was unable to place a task. Reason: {pull}")
    breaker = service.deployment_configuration.get("deploymentCircuitBreaker") or {}
    if not breaker.get("enable"):
        service.began = time.monotonic()
        return
    primary["rolloutState"] = "FAILED"
    primary["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start."
    _say(
        service,
        f"(service {service.name}) (deployment {primary['id']}) deployment failed: tasks failed to start.",
    )
    if breaker.get("rollback") and service.completed not in (None, primary["taskDefinition"]):
        service.task_definition = service.completed
        _begin(service, f"ECS deployment circuit breaker: rolling back to deploymentId {primary['id']}.")


def _say(service: Service, message: str) -> None:
    service.events.insert(0, {"id": str(uuid.uuid4()), "createdAt": utcnow(), "message": message})


def _pulls(region: str, image: str) -> bool:
    if not image.startswith(REGISTRY):
        return True
    repository, _, digest = image.partition("/")[2].partition("@")
    there = ecr_backends[ACCOUNT][region].repositories.get(repository)
    return there is not None and any(each.get_image_digest() == digest for each in there.images)
