"""The sandbox's GitHub and GitLab within a test's own process, which may look into them and have them fail."""

from __future__ import annotations

from typing import Any

from tests.loopback import Answer, Request, Service
from triplane.sandbox.forges.asked import Asked
from triplane.sandbox.forges.github import REPOSITORY, GitHub
from triplane.sandbox.forges.gitlab import GitLab
from triplane.sandbox.forges.reviews import GitHubReviews, GitLabReviews
from triplane.sandbox.forges.tokens import Tokens


class Forge(Service):
    """``acme/shop`` at one of them. ``faults`` are answered first, ``requests`` is what has come."""

    prefix = ""

    def __init__(self, forge: GitHub | GitLab) -> None:
        self._forge = forge
        self.reviews = forge.reviews
        self.faults: list[Answer] = []
        self.requests: list[Request] = []

    @property
    def api(self) -> str:
        """Where clients find it."""
        return f"{self.url}{self.prefix}"

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)
        self.reviews.url = self.url
        found = self._forge.answer(
            Asked(request.method, request.path, request.query, request.headers, request.body)
        )
        return Answer(found.status, found.body, found.headers)


class FakeGitHub(Forge):
    """With a token, or a GitHub App."""

    def __init__(self, token: str = "", app: str = "", public_key: str = "", **kwargs: Any) -> None:
        tokens = Tokens(REPOSITORY, token, app, public_key)
        super().__init__(GitHub(tokens, GitHubReviews("", **kwargs)))


class FakeGitLab(Forge):
    """With a token."""

    prefix = "/api/v4"

    def __init__(self, token: str, **kwargs: Any) -> None:
        super().__init__(GitLab(token, GitLabReviews("", **kwargs)))
