"""Writes a mark of each rollout into monitoring, so that graphs show it.

A place is ``{"kind", ...}``: ``cloudwatch`` (``connection``, ``region``), ``cloud_monitoring`` (``connection``,
``project``), ``application_insights`` (``connection``, ``resource``) or ``pushgateway`` (``connection`` or ``url``).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from triplane.core.errors import InputError
from triplane.gates import cloudwatch, prometheus
from triplane.gates.rest import ask, stamp

NAMESPACE = "Triplane"
METRIC = "Rollout"
GOOGLE_METRIC = "custom.googleapis.com/triplane/rollout"
ANNOTATIONS_VERSION = "2015-05-01"
Outcome = Literal["succeeded", "failed", "rolled_back"]


@dataclass(frozen=True, kw_only=True)
class Marker:
    """One rollout that has ended, or begun to fail, ``at`` in seconds since 1970; ``changed`` components, in ``seconds`` of work."""

    platform: str
    environment: str
    cloud: str
    revision: str
    run_id: str
    intent: str
    outcome: Outcome = "succeeded"
    changed: int
    seconds: float
    at: float

    @property
    def said(self) -> str:
        """For people."""
        how = "" if self.outcome == "succeeded" else f", {self.outcome.replace('_', ' ')}"
        return (
            f"{self.intent} of {self.platform} {self.revision[:12]} to {self.environment} ({self.cloud}){how}"
        )

    @property
    def labels(self) -> dict[str, str]:
        """What tells one series from another; nothing that each rollout has anew."""
        names = ("platform", "environment", "cloud", "intent", "outcome")
        return {name: str(getattr(self, name)) for name in names}


def write(place: Mapping[str, Any], marker: Marker) -> None:
    """Put ``marker`` in one place.

    :raises InputError: the place does not take it, or the credentials are not accepted
    :raises TransientError: it is throttled, failing, or not to be reached
    """
    kind = str(place["kind"])
    if kind not in WRITERS:
        raise InputError(f"{kind} is none of {', '.join(WRITERS)}")
    WRITERS[kind](place, marker)


def _cloudwatch(place: Mapping[str, Any], marker: Marker) -> None:
    from triplane.clouds import aws

    client = aws.client("cloudwatch", place["connection"], place.get("region"))
    datum = {
        "MetricName": METRIC,
        "Dimensions": [{"Name": name.capitalize(), "Value": value} for name, value in marker.labels.items()],
        "Timestamp": datetime.fromtimestamp(marker.at, UTC),
        "Value": float(marker.changed),
        "Unit": "Count",
    }
    with cloudwatch.errors(str(place["connection"])):
        client.put_metric_data(Namespace=NAMESPACE, MetricData=[datum])


def _cloud_monitoring(place: Mapping[str, Any], marker: Marker) -> None:
    from triplane.clouds import gcp

    end = stamp(marker.at)
    project = place.get("project") or gcp.project_id(str(place["connection"]))
    series = {
        "metric": {"type": GOOGLE_METRIC, "labels": marker.labels},
        "resource": {"type": "global", "labels": {"project_id": project}},
        "points": [{"interval": {"endTime": end}, "value": {"int64Value": str(marker.changed)}}],
    }
    url = f"https://monitoring.googleapis.com/v3/projects/{project}/timeSeries"
    session = gcp.session(str(place["connection"]))
    ask(session, "POST", url, body={"timeSeries": [series]}, who=str(place["connection"]))


def _application_insights(place: Mapping[str, Any], marker: Marker) -> None:
    import requests

    from triplane.clouds import azure

    conn_id = str(place["connection"])
    tokens = azure.manager_tokens(conn_id)
    properties = {name: str(value) for name, value in asdict(marker).items()}
    annotation = {
        "Id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{marker.run_id}/{marker.cloud}")),
        "AnnotationName": marker.said,
        "EventTime": stamp(marker.at),
        "Category": "Deployment",
        "Properties": json.dumps(properties),
    }
    ask(
        requests.Session(),
        "PUT",
        f"{azure.manager_url(conn_id)}{place['resource']}/Annotations",
        query={"api-version": ANNOTATIONS_VERSION},
        body=annotation,
        headers=lambda *_: {"Authorization": f"Bearer {tokens()}"},
        who=conn_id,
    )


def _pushgateway(place: Mapping[str, Any], marker: Marker) -> None:
    session, _, base = prometheus.connect(place)
    lines = {
        "triplane_rollout_timestamp_seconds": marker.at,
        "triplane_rollout_changed_components": marker.changed,
        "triplane_rollout_duration_seconds": marker.seconds,
    }
    text = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in lines.items())
    names = "".join(f"/{name}/{value}" for name, value in marker.labels.items())
    ask(
        session,
        "PUT",
        f"{base}/metrics/job/triplane{names}",
        text=text,
        who=str(place.get("connection") or "the marker"),
    )


WRITERS: dict[str, Callable[[Mapping[str, Any], Marker], None]] = {
    "cloudwatch": _cloudwatch,
    "cloud_monitoring": _cloud_monitoring,
    "application_insights": _application_insights,
    "pushgateway": _pushgateway,
}
