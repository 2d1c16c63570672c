"""From an Airflow connection to the login of a chart repository or registry."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from urllib.parse import urlsplit

from triplane import settings
from triplane.core.errors import InputError
from triplane.kubernetes.repositories import Login

CLOUDS = {"aws": "aws", "google_cloud_platform": "gcp", "azure": "azure"}


def logins(conn_id: str | None, repository: str | None) -> Callable[[str], Login | None]:
    """The login for a host: that of the connection's host, or of ``repository`` where it names none.

    A cloud's connection logs into that host as into the registry of its images.
    """
    if conn_id is None:
        return lambda host: None
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(conn_id)
    cloud = CLOUDS.get(connection.conn_type)
    port = f":{connection.port}" if connection.port else ""
    ours = f"{connection.host}{port}" if connection.host and not cloud else urlsplit(repository or "").netloc
    if not ours and not cloud:
        raise InputError(f"connection {conn_id} names no host to log into; set its host")

    def login(host: str) -> Login | None:
        if host != ours:
            return None
        if cloud:
            username, password = import_module(f"triplane.clouds.{cloud}").registry_login(conn_id, host)
        else:
            username, password = connection.login or "", connection.password or ""
        settings.register_secret(password)
        return Login(username, password, plain=connection.schema == "http")

    return login
