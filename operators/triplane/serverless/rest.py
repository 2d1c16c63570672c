"""JSON over HTTP to a cloud's API, for what has no client library among our dependencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from triplane.core.errors import InputError, StaleError, TransientError
from triplane.serverless.target import DeployFailed

SECONDS = 60.0


class Api:
    """One API. ``session`` is that of requests, or google.auth's with credentials; ``token`` gives bearer tokens."""

    def __init__(self, session: Any, base: str, token: Callable[[], str] | None = None) -> None:
        self._session = session
        self._base = base.rstrip("/")
        self._token = token

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        """None if there is no such thing."""
        return self.call("GET", path, query=query, missing_ok=True)

    def call(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        missing_ok: bool = False,
    ) -> dict[str, Any] | None:
        """The answer, None where ``missing_ok`` and there is no such thing.

        :raises TransientError: a retry may help
        :raises StaleError: it was changed meanwhile
        :raises DeployFailed: it is refused
        """
        import requests

        given = dict(headers or {})
        if self._token is not None:
            given["Authorization"] = f"Bearer {self._token()}"
        url = f"{self._base}/{path.lstrip('/')}"
        try:
            with _google_errors(url):
                answer = self._session.request(
                    verb, url, json=body, params=dict(query or {}), headers=given, timeout=SECONDS
                )
        except requests.RequestException as error:
            raise TransientError(f"{verb} {url}: {error}") from error
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code >= 400:
            raise _error(f"{verb} {path}", answer)
        return dict(answer.json()) if answer.content else {}


class _google_errors:
    """What google.auth raises beside requests' own errors."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None and kind.__module__.startswith("google.auth"):
            terminal = kind.__name__ == "RefreshError" and not getattr(error, "retryable", False)
            raise (InputError if terminal else TransientError)(f"{self._url}: {error}") from error


def _error(doing: str, answer: Any) -> Exception:
    status = answer.status_code
    try:
        error = answer.json()["error"]
        said = f"{error.get('status') or error.get('code')}: {error.get('message')}"
    except (ValueError, KeyError, TypeError, AttributeError):
        said = str(answer.text)[:300]
    message = f"{doing}: {status} {said}"
    if status == 412 or (status == 409 and "ABORTED" in said):
        return StaleError(f"{message}; plan again")
    if status in (408, 409, 425, 429) or status >= 500:
        return TransientError(message)
    return DeployFailed(message)
