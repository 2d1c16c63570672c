"""Which targets there are for schedules and streams, and the clients that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from triplane.serverless.targets import Place

if TYPE_CHECKING:
    from triplane.serverless.events.source import EventSource
    from triplane.serverless.rest import Api


def _eventbridge(place: Place) -> EventSource:
    from triplane.clouds import aws
    from triplane.serverless.aws.eventbridge import EventBridge

    client = aws.client("scheduler", place.conn_id, place.region)
    return EventBridge(client, region=place.region or client.meta.region_name)


def _eventbridge_rules(place: Place) -> EventSource:
    from triplane.clouds import aws
    from triplane.serverless.aws.eventbridge_rules import EventBridgeRules

    events, functions = (aws.client(each, place.conn_id, place.region) for each in ("events", "lambda"))
    return EventBridgeRules(events, functions)


def _kinesis(place: Place) -> EventSource:
    from triplane.clouds import aws
    from triplane.serverless.aws.kinesis import Kinesis

    return Kinesis(aws.client("lambda", place.conn_id, place.region))


def _cloud_scheduler(place: Place) -> EventSource:
    from triplane.clouds import gcp
    from triplane.serverless.google.cloud_scheduler import CloudScheduler

    return CloudScheduler(
        _google("cloudscheduler", place),
        _google("run", place),
        project=place.project or gcp.project_id(place.conn_id),
        region=place.need("region"),
    )


def _pubsub(place: Place) -> EventSource:
    from triplane.clouds import gcp
    from triplane.serverless.google.pubsub import PubSub

    return PubSub(
        _google("pubsub", place),
        _google("run", place),
        project=place.project or gcp.project_id(place.conn_id),
        region=place.need("region"),
    )


def _logic_apps(place: Place) -> EventSource:
    from triplane.clouds import azure
    from triplane.serverless.azure.logic_apps import LogicApps

    return LogicApps(
        _manager(place),
        subscription=azure.subscription_id(place.conn_id),
        resource_group=place.need("resource_group"),
        location=place.need("region"),
    )


def _event_hubs(place: Place) -> EventSource:
    from triplane.clouds import azure
    from triplane.serverless.azure.event_hubs import EventHubs

    return EventHubs(
        _manager(place),
        subscription=azure.subscription_id(place.conn_id),
        resource_group=place.need("resource_group"),
    )


def _google(service: str, place: Place) -> Api:
    from google.auth.transport.requests import AuthorizedSession

    from triplane.clouds import gcp
    from triplane.serverless.rest import Api

    session: Any = AuthorizedSession(gcp.credentials(place.conn_id))
    return Api(session, f"https://{service}.googleapis.com")


def _manager(place: Place) -> Api:
    import requests

    from triplane.clouds import azure
    from triplane.serverless.rest import Api

    return Api(requests.Session(), azure.manager_url(place.conn_id), azure.manager_tokens(place.conn_id))


TARGETS: dict[str, Callable[[Place], EventSource]] = {
    "eventbridge": _eventbridge,
    "eventbridge_rules": _eventbridge_rules,
    "kinesis": _kinesis,
    "cloud_scheduler": _cloud_scheduler,
    "pubsub": _pubsub,
    "logic_apps": _logic_apps,
    "event_hubs": _event_hubs,
}
STREAMS = frozenset({"kinesis", "pubsub", "event_hubs"})
"""The others are schedules."""
DEFAULT_CONNECTIONS = {
    **dict.fromkeys(("eventbridge", "eventbridge_rules", "kinesis"), "aws_default"),
    **dict.fromkeys(("cloud_scheduler", "pubsub"), "google_cloud_default"),
    **dict.fromkeys(("logic_apps", "event_hubs"), "azure_default"),
}
