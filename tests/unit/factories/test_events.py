"""What the spec knows of streams and schedules is what their targets know."""

from __future__ import annotations

from typing import Any

import pytest

from triplane.serverless.aws.eventbridge import EventBridge
from triplane.serverless.aws.eventbridge_rules import EventBridgeRules
from triplane.serverless.aws.kinesis import Kinesis
from triplane.serverless.azure.event_hubs import EventHubs
from triplane.serverless.azure.logic_apps import LogicApps
from triplane.serverless.events.targets import DEFAULT_CONNECTIONS, STREAMS, TARGETS
from triplane.serverless.google.cloud_scheduler import CloudScheduler
from triplane.serverless.google.pubsub import PubSub
from triplane.spec.schedules import AwsSchedule, AzureSchedule, Event, GcpSchedule
from triplane.spec.streams import AwsStream, AzureStream, GcpStream

KNOWN: dict[str, tuple[Any, type[Event]]] = {
    "eventbridge": (EventBridge, AwsSchedule),
    "eventbridge_rules": (EventBridgeRules, AwsSchedule),
    "cloud_scheduler": (CloudScheduler, GcpSchedule),
    "logic_apps": (LogicApps, AzureSchedule),
    "kinesis": (Kinesis, AwsStream),
    "pubsub": (PubSub, GcpStream),
    "event_hubs": (EventHubs, AzureStream),
}
REFUSED = {
    "eventbridge": {"url"},
    "eventbridge_rules": {"url"},
    "cloud_scheduler": {"dead_letter"},
    "logic_apps": {"dead_letter"},
    "pubsub": {"batch_size", "starting_position"},
    "event_hubs": {"retries", "dead_letter", "namespace"},
}
"""Options that a target knows to say why it cannot; and what a resource id says."""


@pytest.mark.parametrize("target", TARGETS)
def test_the_options_of_the_spec_are_those_of_the_target(target: str) -> None:
    kind, model = KNOWN[target]
    written = set(model.model_fields) - {"target", "name", "drift"}
    if target == "eventbridge_rules":
        written -= {"role"}
    assert written == kind.options - REFUSED.get(target, set())


def test_each_target_has_a_connection_and_a_kind() -> None:
    assert set(TARGETS) == set(DEFAULT_CONNECTIONS) == set(KNOWN)
    assert {name for name in TARGETS if KNOWN[name][1].__module__.endswith("streams")} == STREAMS
