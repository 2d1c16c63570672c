"""Calls that Google's services make to the URLs of others: Cloud Scheduler's jobs, Pub/Sub's pushes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from triplane.sandbox.gcp.core_request import Request
from triplane.sandbox.gcp.oauth import Tokens
from triplane.sandbox.gcp.serving import Answered
from triplane.sandbox.gcp.state import Body

Answer = Callable[[Request, bytes, Mapping[str, str]], Answered]


@dataclass(frozen=True)
class Outgoing:
    """Calls the services of the sandbox; no other host can be reached, which is status 0."""

    tokens: Tokens
    answer: Answer = field(repr=False)

    def call(self, verb: str, url: str, payload: bytes, headers: Mapping[str, str], oidc: Body | None) -> int:
        """The status of one call. ``oidc`` says whose ID token to send; its audience is the URL by default."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.endswith(".a.run.app"):
            return 0
        sent = dict(headers)
        if oidc:
            audience, account = oidc.get("audience") or url, oidc["serviceAccountEmail"]
            sent["Authorization"] = f"Bearer {self.tokens.issue_id(audience, account)}"
        query = parse_qsl(parts.query, keep_blank_values=True)
        return self.answer(Request(host, verb, parts.path or "/", query, None, None), payload, sent).status
