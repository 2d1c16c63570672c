"""Amazon SNS: a standard topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.notify.text import Rendered, bounded, octets

SUBJECT = 99
"""Characters of a subject, which is ASCII."""
BODY = 250_000
"""Bytes of a message; attributes come on top of it."""


def send(options: Mapping[str, Any], message: Rendered, anchor: str) -> str:
    """``connection`` (type AWS), ``topic`` (an ARN)."""
    from airflow.providers.amazon.aws.notifications.sns import SnsNotifier

    body = bounded(message.text, BODY - octets(message.link), size=octets)
    SnsNotifier(
        aws_conn_id=options["connection"],
        region_name=options["topic"].split(":")[3],
        target_arn=options["topic"],
        subject=subject(message.subject),
        message=f"{body}\n\n{message.link}" if message.link else body,
        message_attributes={"event": message.event, "environment": message.environment},
    ).notify({})
    return ""


def subject(text: str) -> str:
    """What SNS takes for one: ASCII that begins with a letter, a digit or punctuation, under 100 characters."""
    plain = "".join(character if " " <= character <= "~" else "?" for character in text).strip()
    return plain if len(plain) <= SUBJECT else f"{plain[: SUBJECT - 3]}..."
