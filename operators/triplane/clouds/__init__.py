"""From an Airflow connection id to what tools and SDKs need, for each cloud.

Every module here offers the same functions; a cloud's SDK is imported only when its module is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from math import inf
from typing import Any

from triplane.core.errors import InputError

CLOUDS = {
    "aws": "triplane.clouds.aws",
    "gcp": "triplane.clouds.gcp",
    "azure": "triplane.clouds.azure",
}
DEFAULT_CONNECTIONS = {"aws": "aws_default", "gcp": "google_cloud_default", "azure": "azure_default"}
"""Cloud -> the connection that Airflow's own hooks use where none is named."""


@dataclass(frozen=True)
class Credentials:
    """Environment variables with which a tool authenticates, and when they stop to work.

    ``expires_at`` (UTC) is None where the tool renews them itself, or nobody can know.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None

    @property
    def left(self) -> float:
        """Seconds for which they still work."""
        return inf if self.expires_at is None else (self.expires_at - datetime.now(UTC)).total_seconds()


def terraform_credentials(cloud: str, conn_id: str, **options: Any) -> Credentials:
    """Fresh ones for Terraform's provider and state backend of ``cloud``, short-lived where the cloud can.

    ``options`` are those of the cloud's own function, such as ``region``.
    """
    found: Credentials = _module(cloud).terraform_credentials(conn_id, **options)
    return found


def registry_login(cloud: str, conn_id: str, registry: str) -> tuple[str, str]:
    """User name and password (a short-lived token) for ``registry``, a host with or without a path."""
    login: tuple[str, str] = _module(cloud).registry_login(conn_id, registry)
    return login


def _module(cloud: str) -> Any:
    if cloud not in CLOUDS:
        raise InputError(f"{cloud!r} is not a cloud that Triplane knows; use one of {', '.join(CLOUDS)}")
    return import_module(CLOUDS[cloud])
