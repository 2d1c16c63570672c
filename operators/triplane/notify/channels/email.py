"""E-mail through Airflow's SMTP connection, with the messages of a run as one conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.notify.channels import connection
from triplane.notify.text import Rendered, as_html, bounded, link_html

TEXT = 200_000
"""Characters of the text."""


def send(options: Mapping[str, Any], message: Rendered, anchor: str) -> str:
    """``connection`` (type SMTP), ``to``, and ``sender`` unless the connection names one."""
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    connection(options["connection"])
    own = f"<{message.to_json()['id'][:40]}.{message.route}@triplane.invalid>"
    thread = {"In-Reply-To": anchor, "References": anchor} if anchor else {}
    headers = {"Message-ID": own, "Auto-Submitted": "auto-generated", **thread}
    SmtpNotifier(
        smtp_conn_id=options["connection"],
        to=list(options["to"]),
        from_email=options.get("sender"),
        subject=message.subject,
        html_content=f"{as_html(bounded(message.text, TEXT))}{link_html(message.link)}" or "<p></p>",
        custom_headers=headers,
    ).notify({})
    return own
