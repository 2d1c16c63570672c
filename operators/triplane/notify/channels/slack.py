"""Slack: an app with a token (threads), or an incoming webhook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.core.errors import InputError
from triplane.notify.channels import TIMEOUT, connection
from triplane.notify.text import Rendered, as_slack, bounded

SECTION = 3000
"""Characters of the text of a section block."""
HEADER = 150
"""Characters of a header block."""
FALLBACK = 4000
"""Characters of the text that notifications show; Slack cuts longer ones."""


def send(options: Mapping[str, Any], message: Rendered, anchor: str) -> str:
    """``connection``, and ``channel`` where that is of an app; returns the message's ``ts``."""
    try:
        from airflow.providers.slack.hooks.slack import SlackHook
        from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
    except ImportError as error:
        raise InputError(
            "Slack needs Airflow's provider for it: pip install 'airflow-provider-triplane[slack]'"
        ) from error
    conn_id, channel = options["connection"], options.get("channel")
    connection(conn_id)
    if not channel:
        hook = SlackWebhookHook(slack_webhook_conn_id=conn_id, timeout=TIMEOUT)
        hook.send_dict(_body(message))
        return ""
    body = {"channel": channel, "unfurl_links": False, "unfurl_media": False, **_body(message)}
    if anchor:
        body["thread_ts"] = anchor
    answer = SlackHook(slack_conn_id=conn_id, timeout=TIMEOUT).call("chat.postMessage", json=body)
    return str(answer["ts"])


def _body(message: Rendered) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": bounded(message.subject, HEADER)}}
    ]
    if text := bounded(as_slack(message.text), SECTION):
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": text}})
    if message.link:
        button = {
            "type": "button",
            "text": {"type": "plain_text", "text": "Open in Airflow"},
            "url": message.link,
        }
        blocks.append({"type": "actions", "elements": [button]})
    return {"text": bounded(as_slack(message.subject), FALLBACK), "blocks": blocks}
