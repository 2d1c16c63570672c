"""The targets by their names, connected through Airflow connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from triplane import settings
from triplane.core.errors import InputError

if TYPE_CHECKING:
    from triplane.serverless.target import Target


class Place(NamedTuple):
    """Where to deploy to; each target reads what it needs."""

    conn_id: str
    region: str | None = None
    project: str | None = None
    resource_group: str | None = None
    subscription: str | None = None

    def need(self, name: str) -> str:
        """The value of ``name``. :raises InputError: it was not given"""
        value = getattr(self, name)
        if not value:
            raise InputError(f"this target needs `{name}`; give it to the operator")
        return str(value)


def _lambda(place: Place) -> Target:
    from triplane.clouds import aws
    from triplane.serverless.aws_lambda import AwsLambda

    return AwsLambda(aws.client("lambda", place.conn_id, place.region))


def _cloud_run(place: Place) -> Target:
    from google.cloud import run_v2

    from triplane.clouds import gcp
    from triplane.serverless.cloud_run import CloudRun

    return CloudRun(
        gcp.client(run_v2.ServicesClient, place.conn_id),
        gcp.client(run_v2.RevisionsClient, place.conn_id),
        project=place.need("project"),
        region=place.need("region"),
    )


def _azure_functions(place: Place) -> Target:
    from azure.mgmt.web import WebSiteManagementClient

    from triplane.clouds import azure
    from triplane.serverless.azure_functions import AzureFunctions

    return AzureFunctions(
        azure.client(WebSiteManagementClient, place.conn_id),
        azure.manager_tokens(place.conn_id),
        resource_group=place.need("resource_group"),
        location=place.need("region"),
        packages=lambda wanted: settings.artifact_store().get(wanted),
    )


TARGETS: dict[str, Callable[[Place], Target]] = {
    "lambda": _lambda,
    "cloud_run": _cloud_run,
    "azure_functions": _azure_functions,
}
DEFAULT_CONNECTIONS = {
    "lambda": "aws_default",
    "cloud_run": "google_cloud_default",
    "azure_functions": "azure_default",
}


def complete(target: str, place: Place) -> Place:
    """The place with what its connection knows. :raises InputError: the connection does not say it either"""
    if target in ("cloud_run", "cloud_functions") and not place.project:
        from triplane.clouds import gcp

        return place._replace(project=gcp.project_id(place.conn_id))
    if target in ("azure_functions", "container_apps"):
        from triplane.clouds import azure

        return place._replace(subscription=azure.subscription_id(place.conn_id))
    return place


def connect(target: str, place: Place) -> Target:
    """The target of that name, at a complete place. :raises InputError: there is none"""
    if target not in TARGETS:
        raise InputError(f"{target!r} is not a target; use one of {', '.join(TARGETS)}")
    return TARGETS[target](place)
