"""GitLab's REST API: statuses of commits, notes of merge requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import quote

from triplane.forge.repository import State, api_url, connection
from triplane.forge.rest import Client, Forbidden, NotThere, Rejected

API = "https://gitlab.com/api/v4"
DESCRIPTION = 255
"""Characters of a status's description."""
STATES = {"pending": "running", "success": "success", "failure": "failed", "error": "failed"}


class GitLab:
    """One project, by its path or number."""

    def __init__(self, client: Client, project: str) -> None:
        self._client = client
        self._base = f"/projects/{quote(project, safe='')}"

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> GitLab:
        """With the token of ``connection``."""
        return cls(client(value), value["repository"])

    def status(self, commit: str, state: State, *, context: str, description: str, link: str) -> None:
        """See :class:`triplane.forge.repository.Repository`. Telling GitLab again what it knows changes nothing."""
        body = {"state": STATES[state], "name": context, "description": description[:DESCRIPTION]}
        try:
            self._client.call(
                "POST", f"{self._base}/statuses/{commit}", body | ({"target_url": link} if link else {})
            )
        except Rejected as error:
            if "Cannot transition status" not in str(error):
                raise

    def comment(self, number: int, body: str, *, marker: str, known: str = "") -> str:
        """See :class:`triplane.forge.repository.Repository`."""
        notes, text = f"{self._base}/merge_requests/{number}/notes", {"body": f"{marker}\n{body}"}
        for found in chain([known] if known else [], self._marked(notes, marker)):
            try:
                return str(self._client.call("PUT", f"{notes}/{found}", text)["id"])
            except (NotThere, Forbidden):  # deleted, or somebody else's with our mark in it
                continue
        return str(self._client.call("POST", notes, text)["id"])

    def _marked(self, notes: str, marker: str) -> Iterator[str]:
        for item in self._client.pages(f"{notes}?per_page=100&sort=asc&order_by=created_at"):
            if not item.get("system") and str(item.get("body") or "").startswith(marker):
                yield str(item["id"])


def client(value: Mapping[str, Any]) -> Client:
    """GitLab's API with the token of ``connection``: a personal, group or project access token as password."""
    token = tokens(value)
    url = api_url(value, connection(value["connection"]), API)
    return Client(url, lambda: {"PRIVATE-TOKEN": token(), "User-Agent": "triplane"})


def tokens(value: Mapping[str, Any]) -> Callable[[], str]:
    """Gives the token of ``connection``."""
    password = str(connection(value["connection"]).password)
    return lambda: password
