"""JSON over HTTP to a cloud's API, for what has no client library among our dependencies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from triplane.core.calls import Repeats
from triplane.core.errors import InputError, StaleError, TransientError
from triplane.serverless.target import DeployFailed

SECONDS = 60.0
REPEATS = Repeats(tries=4, first=0.5, longest=20.0)
"""A service that asks for a longer wait is left to the task's retry."""
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})
_CONDITIONS = frozenset({"if-match", "if-none-match"})


class Api:
    """One API. ``session`` is that of requests, or google.auth's with credentials; ``token`` gives bearer tokens.

    What fails for a moment is repeated here if that is safe: a call that the service has turned away (429), and
    one that may have been done but does no harm twice. A ``POST`` is not, nor what depends on an ETag: there the
    task's own retry looks first at what is there.
    """

    def __init__(
        self,
        session: Any,
        base: str,
        token: Callable[[], str] | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self._base = base.rstrip("/")
        self._token = token
        self._sleep = sleep

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
        :raises InputError: the credentials are not accepted
        """
        given = dict(headers or {})
        safe = verb in _IDEMPOTENT and not _CONDITIONS.intersection(name.lower() for name in given)
        url = f"{self._base}/{path.lstrip('/')}"
        answer = REPEATS.call(
            lambda: self._send(verb, url, body, dict(query or {}), given),
            safe=safe,
            renews=self._token is not None,
            sleep=self._sleep,
        )
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code >= 400:
            raise _error(f"{verb} {path}", answer)
        return _json(f"{verb} {path}", answer)

    def _send(self, verb: str, url: str, body: Any, query: dict[str, str], headers: dict[str, str]) -> Any:
        import requests

        if self._token is not None:
            headers = {**headers, "Authorization": f"Bearer {self._token()}"}
        try:
            with _google_errors(url):
                return self._session.request(
                    verb, url, json=body, params=query, headers=headers, timeout=SECONDS
                )
        except requests.RequestException as error:
            raise TransientError(f"{verb} {url}: {error}") from error


def _json(doing: str, answer: Any) -> dict[str, Any]:
    try:
        return dict(answer.json()) if answer.content else {}
    except ValueError as error:
        raise TransientError(
            f"{doing}: {answer.status_code} without JSON: {str(answer.text)[:300]}"
        ) from error


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
    if status == 401:
        return InputError(f"{message}; the cloud does not accept the connection's credentials: renew them")
    if status == 412 or (status == 409 and "ABORTED" in said):
        return StaleError(f"{message}; plan again")
    if status in (408, 409, 425, 429) or status >= 500:
        return TransientError(message)
    return DeployFailed(message)
