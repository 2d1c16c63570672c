"""The repositories of GitHub and GitLab, reached with what Airflow's connections hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from triplane import settings
from triplane.core.errors import InputError
from triplane.forge import github, gitlab
from triplane.forge.repository import api_url, connection
from triplane.source.remote import DeployKey, Remote, Token

HOSTS = {"github": "github.com", "gitlab": "gitlab.com"}
APIS = {"github": github.API, "gitlab": gitlab.API}
USERS = {"github": "x-access-token", "gitlab": "oauth2"}
"""What the forges want as the user beside a token."""


def remote(value: Mapping[str, Any]) -> Remote:
    """The repository that ``{kind, repository, connection, url, path, deploy_key}`` names.

    Over HTTPS with the token of ``connection``, or over SSH with the private key of the connection ``deploy_key``.

    :raises InputError: a connection is missing, or lacks something
    """
    kind, repository = str(value["kind"]), str(value["repository"])
    shared: dict[str, Any] = {"kind": kind, "path": value.get("path") or ".", "redact": _redacted}
    if key := value.get("deploy_key"):
        url, access = _over_ssh(str(key), kind, repository)
        return Remote(url=url, access=access, **shared)
    tokens = github.tokens(value) if kind == "github" else gitlab.tokens(value)
    url = web_url(kind, api_url(value, connection(value["connection"]), APIS[kind]))
    return Remote(url=f"{url}/{repository}.git", access=Token(user=USERS[kind], token=tokens), **shared)


def web_url(kind: str, api: str) -> str:
    """Where a forge's repositories are, from where its API is: a path of the same host, or at GitHub's own ``api.`` of it."""
    scheme, host, path = urlsplit(api.rstrip("/"))[:3]
    if kind == "github" and not path:
        host = host.removeprefix("api.")
    return f"{scheme}://{host}{path.removesuffix('/api/v3' if kind == 'github' else '/api/v4')}"


def _redacted(text: str) -> str:
    """``text`` without the secrets that are known by now: an app's token is one as soon as there is one."""
    return settings.redactor()(text)


def _over_ssh(conn_id: str, kind: str, repository: str) -> tuple[str, DeployKey]:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise InputError(
            f"Airflow has no connection {conn_id}: create it, of type SSH, with `private_key` and `host_key` as extra"
        ) from error
    extra = found.extra_dejson
    if missing := [name for name in ("private_key", "host_key") if not extra.get(name)]:
        raise InputError(f"connection {conn_id} has no {' and no '.join(missing)}: put it into its extra")
    host, port = found.host or HOSTS[kind], found.port or 22
    host_key = str(extra["host_key"]).strip()
    place = host if port == 22 else f"[{host}]:{port}"
    known = f"{place} {host_key if ' ' in host_key else f'ssh-rsa {host_key}'}\n"
    private = settings.register_secret(str(extra["private_key"]).replace("\\n", "\n"))
    url = f"ssh://{found.login or 'git'}@{host}:{port}/{repository}.git"
    return url, DeployKey(private_key=private, known_hosts=known)
