"""Google Cloud, through an Airflow connection of type ``google_cloud_platform``.

All clients speak REST: gRPC's threads do not survive the fork that starts every Airflow task.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from typing import Any

from triplane.clouds import Credentials
from triplane.core.digest import digest
from triplane.core.errors import InputError, TransientError
from triplane.settings import register_secret

_read: dict[str, tuple[str, Any]] = {}
"""Connection -> the digest of its content, and the hook that has read it."""
_REGISTRY = re.compile(r"^(?:[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)(?:/|$)")

TOKEN_URI = "https://oauth2.googleapis.com/token"


def credentials(conn_id: str) -> Any:
    """The connection's ``google.auth`` credentials, impersonation included."""
    return _hook(conn_id).get_credentials()


def project_id(conn_id: str) -> str:
    """The project that the connection (or the worker's own identity) names. :raises InputError: there is none"""
    found = _hook(conn_id).project_id
    if not found:
        raise InputError(f"connection {conn_id} names no project; set its Project Id")
    return str(found)


def account(conn_id: str) -> str:
    """The email of the service account that the connection acts as. :raises InputError: it acts as none"""
    found = str(getattr(_refreshed(conn_id), "service_account_email", "") or "")
    if "@" not in found:
        raise InputError(
            f"connection {conn_id} acts as no service account; give it the key of one, or impersonate one"
        )
    return found


def access_token(conn_id: str) -> str:
    """A fresh access token, good for about an hour. :raises InputError: Google refuses the connection"""
    return register_secret(str(_refreshed(conn_id).token))


def tokens(conn_id: str) -> Callable[[], str]:
    """Gives access tokens, renewed when they end. :raises InputError: Google refuses the connection"""
    source = credentials(conn_id)

    def token() -> str:
        if not source.valid:
            _refresh(source, conn_id)
        return register_secret(str(source.token))

    return token


def id_token(conn_id: str, audience: str) -> str | None:
    """A token that says who we are to ``audience`` (a URL), None for credentials that cannot have one (a user's).

    :raises InputError: Google refuses the connection
    """
    from google.auth import compute_engine, impersonated_credentials
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    found = credentials(conn_id)
    if isinstance(found, service_account.Credentials):
        own = service_account.IDTokenCredentials(
            found.signer, found.service_account_email, TOKEN_URI, audience
        )
    elif isinstance(found, impersonated_credentials.Credentials):
        own = impersonated_credentials.IDTokenCredentials(found, audience, include_email=True)
    elif isinstance(found, compute_engine.Credentials):
        own = compute_engine.IDTokenCredentials(Request(), audience, use_metadata_identity_endpoint=True)
    else:
        return None
    return register_secret(str(_refresh(own, conn_id).token))


def session(conn_id: str) -> Any:
    """A ``requests.Session`` that signs what it sends, for APIs without a client of their own."""
    from google.auth.transport.requests import AuthorizedSession

    return AuthorizedSession(credentials(conn_id))


def _refreshed(conn_id: str) -> Any:
    return _refresh(credentials(conn_id), conn_id)


def _refresh(found: Any, conn_id: str) -> Any:
    from google.auth.exceptions import RefreshError, TransportError
    from google.auth.transport.requests import Request

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
    """A connection that holds a key is read once, as long as it stays as it is.

    Each time its key would be checked, which is slow, and ask for a token of its own.
    """
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook, get_field

    hook = GoogleBaseHook(gcp_conn_id=conn_id)
    if not get_field(hook.extras, "keyfile_dict"):
        return hook
    content = digest(hook.extras)
    if conn_id not in _read or _read[conn_id][0] != content:
        _read[conn_id] = content, hook
    return _read[conn_id][1]
