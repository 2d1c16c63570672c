"""A repository at a forge, as the tasks see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from triplane.core.errors import InputError

State = Literal["pending", "success", "failure", "error"]
"""``failure`` is a deployment that failed, ``error`` one that could not be carried out."""


class Repository(Protocol):
    """What GitHub and GitLab have in common."""

    def status(self, commit: str, state: State, *, context: str, description: str, link: str) -> None:
        """Give a commit a status; ``context`` tells it from others of the same commit."""

    def comment(self, number: int, body: str, *, marker: str, known: str = "") -> str:
        """Write the one comment of a pull request whose text begins with ``marker``, over what it says.

        ``known`` is its id if that is known. Returns the id.
        """


def repository(value: Mapping[str, Any]) -> Repository:
    """The repository that ``{kind, repository, connection, url}`` names, with its connection's token.

    :raises InputError: there is no such connection, or it holds no token
    """
    from triplane.forge.github import GitHub
    from triplane.forge.gitlab import GitLab

    kinds: dict[str, type[GitHub | GitLab]] = {"github": GitHub, "gitlab": GitLab}
    if value.get("kind") not in kinds:
        raise InputError(f"{value.get('kind')!r} is not a forge; use one of {', '.join(kinds)}")
    found: Repository = kinds[value["kind"]].of(value)
    return found


def api_url(value: Mapping[str, Any], found: Any, default: str) -> str:
    """Where the API is: what the spec says, else the connection's host where that is a URL."""
    host = str(found.host or "")
    return str(value.get("url") or (host if "://" in host else "") or default)


def connection(conn_id: str) -> Any:
    """An Airflow connection with a token in its password, masked from now on.

    :raises InputError: there is none
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    from triplane.settings import register_secret

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise InputError(
            f"Airflow has no connection {conn_id}: create it, with the token as password"
        ) from error
    if not found.password:
        raise InputError(f"connection {conn_id} has no password: put the token there")
    register_secret(found.password)
    return found
