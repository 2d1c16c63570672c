"""The targets by their names, connected through Airflow connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from triplane import settings
from triplane.core.errors import InputError

if TYPE_CHECKING:
    from triplane.serverless.target import Target


GOOGLE = ("cloud_run", "cloud_functions", "cloud_scheduler", "pubsub")
AZURE = ("azure_functions", "container_apps", "logic_apps", "event_hubs")
LINUX = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
"""Wheels for the Linux of Azure Functions."""


class Place(NamedTuple):
    """Where to deploy to; each target reads what it needs."""

    conn_id: str
    region: str | None = None
    project: str | None = None
    resource_group: str | None = None
    subscription: str | None = None
    cluster: str | None = None

    def need(self, name: str) -> str:
        """The value of ``name``. :raises InputError: it was not given"""
        value = getattr(self, name)
        if not value:
            raise InputError(f"this target needs `{name}`; give it to the operator")
        return str(value)


def _lambda(place: Place) -> Target:
    from triplane.clouds import aws
    from triplane.serverless.aws.lambda_function import AwsLambda

    def client(service: str, patience: float | None = None) -> Any:
        return aws.client(service, place.conn_id, place.region, patience=patience)

    return AwsLambda(
        client("lambda"),
        logs=client("logs"),
        s3=client("s3"),
        asking=lambda seconds: client("lambda", seconds),
    )


def _fargate(place: Place) -> Target:
    from triplane.clouds import aws
    from triplane.serverless.aws.fargate import Fargate

    def client(service: str) -> Any:
        return aws.client(service, place.conn_id, place.region)

    return Fargate(
        client("ecs"),
        cluster=place.cluster or "default",
        secrets=client("secretsmanager"),
        logs=client("logs"),
    )


def _cloud_run(place: Place) -> Target:
    from triplane.serverless.google.targets import cloud_run

    return cloud_run(place.conn_id, place.need("region"), place.project)


def _cloud_functions(place: Place) -> Target:
    from triplane.serverless.google.targets import cloud_functions

    return cloud_functions(place.conn_id, place.need("region"), place.project)


def _azure_functions(place: Place) -> Target:
    from azure.mgmt.web import WebSiteManagementClient

    from triplane.clouds import azure
    from triplane.serverless.azure.functions import AzureFunctions

    return AzureFunctions(
        azure.client(WebSiteManagementClient, place.conn_id),
        azure.manager_tokens(place.conn_id),
        resource_group=place.need("resource_group"),
        location=place.need("region"),
        packages=lambda wanted: settings.artifact_store().get(wanted),
        keep=lambda package: settings.artifact_store().put(package),
    )


def _container_apps(place: Place) -> Target:
    from azure.mgmt.appcontainers import ContainerAppsAPIClient

    from triplane.clouds import azure
    from triplane.serverless.azure.container_apps import ContainerApps

    return ContainerApps(
        azure.client(ContainerAppsAPIClient, place.conn_id),
        resource_group=place.need("resource_group"),
        location=place.need("region"),
    )


TARGETS: dict[str, Callable[[Place], Target]] = {
    "lambda": _lambda,
    "fargate": _fargate,
    "cloud_run": _cloud_run,
    "cloud_functions": _cloud_functions,
    "azure_functions": _azure_functions,
    "container_apps": _container_apps,
}


def complete(target: str, place: Place) -> Place:
    """The place with what its connection knows. :raises InputError: the connection does not say it either"""
    if target in GOOGLE and not place.project:
        from triplane.clouds import gcp

        return place._replace(project=gcp.project_id(place.conn_id))
    if target in AZURE:
        from triplane.clouds import azure

        return place._replace(subscription=azure.subscription_id(place.conn_id))
    return place


def connect(target: str, place: Place) -> Target:
    """The target of that name, at a complete place. :raises InputError: there is none"""
    if target not in TARGETS:
        raise InputError(f"{target!r} is not a target; use one of {', '.join(TARGETS)}")
    return TARGETS[target](place)


def runtime_platforms(target: str, options: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The platforms of wheels that a target's Python runtime takes, and its version (``3.13``).

    :raises InputError: its runtime is no Python
    """
    from triplane.serverless.aws.lambda_code import platforms

    runtime = str(options.get("runtime") or "")
    if target == "lambda":
        found = platforms(runtime, str(options.get("architecture") or "x86_64"))
        if found is not None:
            return found
    if target == "azure_functions" and runtime.startswith("python|"):
        return LINUX, runtime.partition("|")[2]
    raise InputError(
        f"{target}: dependencies are installed into packages for Python runtimes of Lambda and Azure Functions, "
        f"not for {runtime or 'this one'}; Cloud Functions installs what requirements.txt names itself"
    )
