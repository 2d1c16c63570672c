"""GitHub's REST API: statuses of commits, comments of pull requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from triplane.core.errors import InputError
from triplane.forge.repository import State, api_url, connection
from triplane.forge.rest import Client, Forbidden, NotThere
from triplane.settings import register_secret

API = "https://api.github.com"
DESCRIPTION = 140
"""Characters of a status's description."""
COMMENT = 65_536
"""Characters of a comment."""
VERSION = "2022-11-28"
TOKEN_MARGIN = 60.0
"""Seconds before its end that a token is renewed."""


class GitHub:
    """One repository (``owner/name``)."""

    def __init__(self, client: Client, repository: str) -> None:
        self._client = client
        self._base = f"/repos/{repository}"

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> GitHub:
        """With the token of ``connection``."""
        return cls(client(value), value["repository"])

    def status(self, commit: str, state: State, *, context: str, description: str, link: str) -> None:
        """See :class:`triplane.forge.repository.Repository`."""
        body = {"state": state, "context": context, "description": _short(description, DESCRIPTION)}
        self._client.call(
            "POST", f"{self._base}/statuses/{commit}", body | ({"target_url": link} if link else {})
        )

    def comment(self, number: int, body: str, *, marker: str, known: str = "") -> str:
        """See :class:`triplane.forge.repository.Repository`."""
        text = {"body": f"{marker}\n{body}"}
        for found in chain([known] if known else [], self._marked(number, marker)):
            try:
                return str(self._client.call("PATCH", f"{self._base}/issues/comments/{found}", text)["id"])
            except (NotThere, Forbidden):  # deleted, or somebody else's with our mark in it
                continue
        return str(self._client.call("POST", f"{self._base}/issues/{number}/comments", text)["id"])

    def _marked(self, number: int, marker: str) -> Iterator[str]:
        for item in self._client.pages(f"{self._base}/issues/{number}/comments?per_page=100"):
            if str(item.get("body") or "").startswith(marker):
                yield str(item["id"])


def client(value: Mapping[str, Any]) -> Client:
    """GitHub's API with the token of ``connection``."""
    token = tokens(value)
    return Client(api_url(value, connection(value["connection"]), API), lambda: _headers(token()))


def tokens(value: Mapping[str, Any]) -> Callable[[], str]:
    """Gives tokens for the repository: the password of ``connection``, or what its GitHub App gets for its key."""
    found = connection(value["connection"])
    password, extra = str(found.password), found.extra_dejson
    if not (app := extra.get("app_id")):
        return lambda: password
    url, number = api_url(value, found, API), extra.get("installation_id")
    return Installation(url, str(app), password, value["repository"], number).token


class Installation:
    """An installation of a GitHub App, which has tokens for an hour each.

    ``number`` may be left out: then that of the repository is looked up.
    """

    def __init__(self, url: str, app: str, key: str, repository: str, number: Any = None) -> None:
        self._app = app
        self._key = register_secret(key.replace("\\n", "\n"))
        self._repository = repository
        self._number = number
        self._client = Client(url, lambda: _headers(self._signed()))
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """One that still works for a while. :raises InputError: the key is none, or GitHub does not accept it"""
        from datetime import datetime

        if time.time() > self._until - TOKEN_MARGIN:
            number = self._number or self._client.call("GET", f"/repos/{self._repository}/installation")["id"]
            name = self._repository.partition("/")[2]
            answer = self._client.call(
                "POST", f"/app/installations/{number}/access_tokens", {"repositories": [name]}
            )
            self._token = register_secret(answer["token"])
            self._until = datetime.fromisoformat(answer["expires_at"]).timestamp()
        return self._token

    def _signed(self) -> str:
        import jwt

        now = int(time.time())
        claims = {"iat": now - 60, "exp": now + 540, "iss": self._app}
        try:
            return register_secret(jwt.encode(claims, self._key, algorithm="RS256"))
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise InputError("the connection's password is not the private key of a GitHub App") from error


def _headers(token: str) -> dict[str, str]:
    return {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "X-GitHub-Api-Version": VERSION,
        "User-Agent": "triplane",
    }


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
