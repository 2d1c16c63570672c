"""Reads streams and schedules with the clouds' own SDKs, and lets them call the functions that they are there for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PLATFORM = "streaming-platform"
GROUP = "streaming"
PARENT = "projects/triplane-sandbox"
PATIENCE = 600.0


def kinesis(aws: Callable[[str], Any], environment: str) -> tuple[str, str]:
    """The mapping's state, and whether the function logs a record that is put into the stream."""
    function, stream = f"{PLATFORM}-{environment}-events", f"streaming-{environment}-events"
    arn = aws("kinesis").describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    (mapping,) = aws("lambda").list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    put = aws("kinesis").put_record(StreamName=stream, Data=b"one of the demo", PartitionKey="demo")
    record = f"{put['ShardId']}:{put['SequenceNumber']}"

    def logged() -> bool:
        client = aws("logs")
        try:
            events = client.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
        except client.exceptions.ResourceNotFoundException:
            return False
        return any(f"record {record} of 15 bytes" in event["message"] for event in events)

    return mapping["State"], "logged" if _until(logged) else "not logged"


def eventbridge(aws: Callable[[str], Any], environment: str) -> tuple[str, str]:
    """State, and what is called."""
    found = aws("scheduler").get_schedule(Name=f"{PLATFORM}-{environment}-heartbeat")
    return found["State"], found["Target"]["Arn"].partition(":function:")[2]


def pubsub(google: Callable[..., Any], environment: str) -> tuple[str, str]:
    """Topic, and the path that is called at the service's URL."""
    name = f"{PLATFORM}-{environment}-events"
    found = google(f"https://pubsub.googleapis.com/v1/{PARENT}/subscriptions/{name}")
    service = f"{PARENT}/locations/europe-west1/services/{PLATFORM}-{environment}-webhook"
    url = google(f"https://run.googleapis.com/v2/{service}")["uri"]
    return found["topic"].rpartition("/")[2], found["pushConfig"]["pushEndpoint"].removeprefix(url)


def cloud_scheduler(google: Callable[..., Any], environment: str) -> tuple[str, Any]:
    """State, and how a run of the job ended: empty if the service answered well."""
    job = f"{PARENT}/locations/europe-west1/jobs/{PLATFORM}-{environment}-heartbeat"
    url = f"https://cloudscheduler.googleapis.com/v1/{job}"
    before = google(url).get("lastAttemptTime")
    google(f"{url}:run", {})
    _until(lambda: google(url).get("lastAttemptTime") != before and "status" in google(url))
    found = google(url)
    return found["state"], found.get("status", "never called")


def event_hubs(azure: tuple[Any, str], environment: str) -> tuple[str, str]:
    """The event hub that the function app's settings name, and its consumer group, which is there."""
    from azure.mgmt.eventhub import EventHubManagementClient
    from azure.mgmt.web import WebSiteManagementClient

    site = f"{PLATFORM}-{environment}-webhook"
    settings = WebSiteManagementClient(*azure).web_apps.list_application_settings(GROUP, site).properties
    hub, consumers = settings["EVENTS__eventHubName"], settings["EVENTS__consumerGroup"]
    groups = EventHubManagementClient(*azure).consumer_groups
    return hub, str(groups.get(GROUP, f"streaming-{environment}", hub, consumers).name)


def logic_apps(azure: tuple[Any, str], environment: str) -> tuple[str, list[str]]:
    """State, and how the runs ended that came of running the workflow now."""
    from azure.mgmt.logic import LogicManagementClient

    client, name = LogicManagementClient(*azure), f"{PLATFORM}-{environment}-heartbeat"
    before = {run.name for run in client.workflow_runs.list(GROUP, name)}
    client.workflow_triggers.run(GROUP, name, "schedule")
    runs = [run for run in client.workflow_runs.list(GROUP, name) if run.name not in before]
    return str(client.workflows.get(GROUP, name).state), [str(run.status) for run in runs]


def _until(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
