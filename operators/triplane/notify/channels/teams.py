"""Microsoft Teams: a webhook (of a workflow, or an incoming one) that takes an adaptive card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from triplane.notify.channels.webhook import post
from triplane.notify.text import Rendered, bounded

PAYLOAD = 28_000
"""Bytes of a whole message, as JSON."""


def send(options: Mapping[str, Any], message: Rendered, anchor: str) -> str:
    """``connection``: an HTTP one whose host is the webhook's URL. Webhooks have no threads."""
    post(options["connection"], _payload(message))
    return ""


def _payload(message: Rendered) -> dict[str, Any]:
    room = PAYLOAD - _size(_card(message, ""))
    return _card(message, bounded(message.text, room, size=lambda text: _size(text) - 2))


def _size(value: Any) -> int:
    return len(json.dumps(value).encode())


def _card(message: Rendered, text: str) -> dict[str, Any]:
    body: list[dict[str, Any]] = [
        {"type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": True, "text": message.subject},
        {"type": "TextBlock", "wrap": True, "text": text},
    ]
    actions = [{"type": "Action.OpenUrl", "title": "Open in Airflow", "url": message.link}]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        **({"actions": actions} if message.link else {}),
    }
    content_type = "application/vnd.microsoft.card.adaptive"
    return {
        "type": "message",
        "attachments": [{"contentType": content_type, "contentUrl": None, "content": card}],
    }
