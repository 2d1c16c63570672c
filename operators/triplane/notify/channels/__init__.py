"""One module a service, each with ``send(options, rendered, anchor) -> anchor``.

``options`` are the route's, ``anchor`` is what the service calls the first message of the thread, empty for the first
one; what is returned becomes it then. A connection's secrets are registered by :func:`connection` before anything is
sent. Anything that is raised means that the message may not have arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from triplane.core.errors import InputError
from triplane.notify.text import Rendered
from triplane.settings import register_secret

SECRET_LENGTH = 16
TIMEOUT = 10
"""Seconds for one call, where the service's client has a setting for it."""
Send = Callable[[Mapping[str, Any], Rendered, str], str]


def sender(channel: str) -> Send:
    """The ``send`` of a channel."""
    found: Send = import_module(f"triplane.notify.channels.{channel}").send
    return found


def connection(conn_id: str) -> Any:
    """An Airflow connection, with everything secret in it masked from now on.

    Webhook URLs are secrets too: whoever knows one can post.

    :raises InputError: there is no such connection
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise InputError(f"Airflow has no connection {conn_id}; create it, or correct the route") from error
    for secret in (found.password, *_secret_parts(found.password), *_secret_parts(found.host)):
        if secret:
            register_secret(secret)
    return found


def _secret_parts(url: str | None) -> list[str]:
    """Path and query of a URL: errors show them without the host. A short path is none that nobody could guess."""
    if not url or "/" not in url:
        return []
    parts = urlsplit(url if "://" in url else f"https://{url}")
    path = parts.path.strip("/")
    secrets = [f"{path}?{parts.query}" if parts.query else path, path, parts.query]
    return [secret for secret in secrets if len(secret) >= SECRET_LENGTH]
