"""Who GitHub lets in: the holder of a token, or a GitHub App for its installation in one repository.

https://docs.github.com/rest/apps/apps, /apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import jwt

from triplane.sandbox.forges.asked import Answer, Asked

PATHS = re.compile(r"/app/installations/\d+/access_tokens|/repos/[^/]+/[^/]+/installation")
APP = "4711"
"""The id of the sandbox's app."""
INSTALLATION = 77
SECONDS = 3600
"""So long an installation's token is good."""


class Tokens:
    """The tokens that are good for ``repository``: ``token``, and those of the app ``app``, whose key is ``public_key`` (PEM)."""

    def __init__(self, repository: str, token: str = "", app: str = "", public_key: str = "") -> None:
        self._repository = repository
        self._until: dict[str, float] = {token: float("inf")} if token else {}
        self._app = app
        self._public_key = public_key

    def good(self, token: str) -> bool:
        """Whether somebody with ``token`` is let in now."""
        return self._until.get(token, 0.0) > time.time()

    def concerns(self, asked: Asked) -> bool:
        """Whether the request is one that an app makes as itself."""
        return PATHS.fullmatch(asked.path) is not None

    def answer(self, asked: Asked) -> Answer:
        """The number of an installation, or a new token of it."""
        token = asked.headers.get("Authorization", "").partition(" ")[2]
        try:
            claims: Mapping[str, Any] = jwt.decode(token, self._public_key, algorithms=["RS256"])
        except (jwt.PyJWTError, ValueError) as error:
            return Answer(401, {"message": f"A JSON web token could not be decoded: {error}"})
        if str(claims["iss"]) != self._app or claims["exp"] - time.time() > 600:
            return Answer(401, {"message": "'Expiration time' claim ('exp') is too far in the future"})
        if asked.method == "GET":
            known = asked.path == f"/repos/{self._repository}/installation"
            return Answer(200, {"id": INSTALLATION}) if known else Answer(404, {"message": "Not Found"})
        if not asked.path.startswith(f"/app/installations/{INSTALLATION}/"):
            return Answer(404, {"message": "Integration not found"})
        if asked.json().get("repositories") != [self._repository.partition("/")[2]]:
            return Answer(422, {"message": "There is at least one repository that does not exist"})
        return self._issue()

    def _issue(self) -> Answer:
        new, until = f"ghs_{'t' * 30}{len(self._until)}", time.time() + SECONDS
        self._until[new] = until
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
        return Answer(201, {"token": new, "expires_at": ends})
