"""Google Cloud, through an Airflow connection of type ``google_cloud_platform``.

All clients speak REST: gRPC's threads do not survive the fork that starts every Airflow task.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any

from triplane.clouds import Credentials
from triplane.core.errors import InputError, TransientError
from triplane.settings import register_secret

_REGISTRY = re.compile(r"^(?:[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)(?:/|$)")


def credentials(conn_id: str) -> Any:
    """The connection's ``google.auth`` credentials, impersonation included."""
    return _hook(conn_id).get_credentials()


def project_id(conn_id: str) -> str:
    """The project that the connection (or the worker's own identity) names. :raises InputError: there is none"""
    found = _hook(conn_id).project_id
    if not found:
        raise InputError(f"connection {conn_id} names no project; set its Project Id")
    return str(found)


def access_token(conn_id: str) -> str:
    """A fresh access token, good for about an hour. :raises InputError: Google refuses the connection"""
    return register_secret(str(_refreshed(conn_id).token))


def _refreshed(conn_id: str) -> Any:
    from google.auth.exceptions import RefreshError, TransportError
    from google.auth.transport.requests import Request

    found = credentials(conn_id)
    try:
        found.refresh(Request())
    except RefreshError as error:
        raise InputError(f"Google refuses connection {conn_id}: {error}; check its key") from error
    except TransportError as error:
        raise TransientError(f"Google's token service could not be reached: {error}") from error
    return found


def client(kind: type[Any], conn_id: str) -> Any:
    """A client such as ``google.cloud.run_v2.ServicesClient``, with the connection's credentials."""
    return kind(credentials=credentials(conn_id), transport="rest")


def storage(conn_id: str) -> Any:
    """A ``google.cloud.storage.Client``."""
    from google.cloud.storage import Client

    return Client(project=project_id(conn_id), credentials=credentials(conn_id))


def terraform_credentials(conn_id: str, project: str | None = None, region: str | None = None) -> Credentials:
    """``GOOGLE_*`` variables for Terraform's google provider and gcs backend: a short-lived token, no key."""
    found = _refreshed(conn_id)
    env = {
        "GOOGLE_OAUTH_ACCESS_TOKEN": register_secret(str(found.token)),
        "GOOGLE_PROJECT": project or project_id(conn_id),
        **({"GOOGLE_REGION": region} if region else {}),
    }
    return Credentials(env, found.expiry.replace(tzinfo=UTC) if found.expiry else None)


def registry_login(conn_id: str, registry: str) -> tuple[str, str]:
    """User name and password for Artifact Registry; the password is good for about an hour.

    :raises InputError: ``registry`` is not the host of an Artifact Registry
    """
    if not _REGISTRY.match(registry):
        raise InputError(
            f"{registry} is not an Artifact Registry (<location>-docker.pkg.dev/<project>/<repository>); "
            "correct `registry` of cloud gcp"
        )
    return "oauth2accesstoken", access_token(conn_id)


def _hook(conn_id: str) -> Any:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    return GoogleBaseHook(gcp_conn_id=conn_id)
