"""From an Airflow connection id to what tools and SDKs need, for each cloud.

Every module here offers the same functions; a cloud's SDK is imported only when its module is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from triplane.core.errors import InputError

CLOUDS = {
    "aws": "triplane.clouds.aws",
    "gcp": "triplane.clouds.gcp",
    "azure": "triplane.clouds.azure",
}


def terraform_env(cloud: str, conn_id: str, **options: Any) -> dict[str, str]:
    """The variables through which Terraform's provider and state backend of ``cloud`` authenticate.

    ``options`` are those of the cloud's own function, such as ``region``.
    """
    env: dict[str, str] = _module(cloud).terraform_env(conn_id, **options)
    return env


def registry_login(cloud: str, conn_id: str, registry: str) -> tuple[str, str]:
    """User name and password (a short-lived token) for ``registry``, a host with or without a path."""
    login: tuple[str, str] = _module(cloud).registry_login(conn_id, registry)
    return login


def _module(cloud: str) -> Any:
    if cloud not in CLOUDS:
        raise InputError(f"{cloud!r} is not a cloud that Triplane knows; use one of {', '.join(CLOUDS)}")
    return import_module(CLOUDS[cloud])
