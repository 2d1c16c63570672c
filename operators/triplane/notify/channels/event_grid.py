"""Azure Event Grid: a custom topic, in either of its schemas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from triplane.notify.channels import TIMEOUT, connection
from triplane.notify.channels.webhook import delivered
from triplane.notify.text import Rendered, bounded, octets
from triplane.settings import register_secret

SCOPE = "https://eventgrid.azure.net/.default"
VERSION = "2018-01-01"
TEXT = 60_000
"""Bytes of the text: an event of up to 64 KB counts as one."""


def send(options: Mapping[str, Any], message: Rendered, anchor: str) -> str:
    """``topic`` (its endpoint), ``event_schema``, and who sends: ``key``, a connection whose password is the topic's
    key, or ``connection`` (type Azure), whose identity may send."""
    import requests

    schema = options.get("event_schema", "cloud_events")
    kind = "cloudevents-batch+json" if schema == "cloud_events" else "json"
    answer = requests.post(
        options["topic"],
        params={"api-version": VERSION},
        json=[event(schema, message)],
        headers={"Content-Type": f"application/{kind}; charset=utf-8", **_authorization(options)},
        timeout=TIMEOUT,
        allow_redirects=False,
    )
    delivered(answer)
    return ""


def event(schema: str, message: Rendered) -> dict[str, Any]:
    """The message as a CloudEvent 1.0 or in Event Grid's own schema."""
    data = {**message.to_json(), "text": bounded(message.text, TEXT, size=octets)}
    now = datetime.now(UTC).isoformat()
    name, subject = f"triplane.{message.event}", f"environments/{message.environment}"
    if schema == "cloud_events":
        return {
            "specversion": "1.0",
            "id": data["id"],
            "source": f"triplane/{message.route}",
            "type": name,
            "subject": subject,
            "time": now,
            "datacontenttype": "application/json",
            "data": data,
        }
    return {
        "id": data["id"],
        "eventType": name,
        "subject": subject,
        "eventTime": now,
        "data": data,
        "dataVersion": "1",
    }


def _authorization(options: Mapping[str, Any]) -> dict[str, str]:
    if options.get("key"):
        return {"aeg-sas-key": str(connection(options["key"]).password)}
    from triplane.clouds import azure

    token = register_secret(str(azure.credential(options["connection"]).get_token(SCOPE).token))
    return {"Authorization": f"Bearer {token}"}
