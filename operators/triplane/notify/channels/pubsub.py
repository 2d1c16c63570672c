"""Google Cloud Pub/Sub, over REST: gRPC's threads do not survive the fork that starts a task."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from triplane.notify.channels import TIMEOUT
from triplane.notify.channels.webhook import delivered
from triplane.notify.text import Rendered, bounded, octets

API = "https://pubsub.googleapis.com/v1"
TEXT = 1_000_000
"""Bytes of the text; the service takes ten times that."""


def send(options: Mapping[str, Any], message: Rendered, anchor: str) -> str:
    """``connection`` (type Google Cloud), ``topic``, and ``project`` if it is not the connection's."""
    from triplane.clouds import gcp

    project = options.get("project") or gcp.project_id(options["connection"])
    body = {**message.to_json(), "text": bounded(message.text, TEXT, size=octets)}
    data = base64.b64encode(json.dumps(body).encode()).decode()
    attributes = {"event": message.event, "environment": message.environment}
    path = f"projects/{project}/topics/{options['topic']}"
    answer = gcp.session(options["connection"]).post(
        f"{API}/{path}:publish",
        json={"messages": [{"data": data, "attributes": attributes}]},
        timeout=TIMEOUT,
    )
    delivered(answer)
    return ""
