"""JSON over HTTP as GitHub and GitLab speak it: pages by ``Link`` headers, and their ways to say "later"."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from triplane.core.calls import PASSING, Repeats
from triplane.core.errors import InputError, TerminalError, TransientError

SECONDS = 20.0
"""For one call."""
REPEATS = Repeats(tries=3, first=1.0, longest=20.0)
SECONDARY_WAIT = 60.0
"""Seconds to wait for GitHub's secondary limit where it does not say how long."""
PAGES = 100
"""So many pages are read of a list."""
_MOVED = frozenset({301, 302, 303, 307, 308})


class RateLimited(TransientError):
    """The service asks for a pause of so many ``seconds``."""

    def __init__(self, message: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(message)


class NotThere(TerminalError):
    """404: there is no such thing, or the token may not see it."""


class Forbidden(InputError):
    """403: the token may not do this."""


class Unauthenticated(InputError):
    """401: the token is not accepted, or has ended."""


class Rejected(TerminalError):
    """The service does not take what was sent; ``status`` is the answer's."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


def bearer(token: Callable[[], str]) -> Callable[[], dict[str, str]]:
    """The headers of a :class:`Client` that authenticates by ``token``."""
    return lambda: {"Authorization": f"Bearer {token()}"}


class Client:
    """One service. ``headers`` gives those that authenticate, anew for each call.

    ``pause`` is how long to wait, in seconds, where the service asks for it without saying how long.
    """

    def __init__(
        self,
        base: str,
        headers: Callable[[], Mapping[str, str]],
        *,
        pause: float = SECONDARY_WAIT,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        import requests

        self._session = requests.Session()
        self._base = base.rstrip("/")
        self._headers = headers
        self._unsaid = pause
        self._sleep = sleep
        self._clock = clock

    def call(self, verb: str, path: str, body: Mapping[str, Any] | Sequence[Any] | None = None) -> Any:
        """What the service answers, None if that is nothing.

        :raises RateLimited: it asks for a pause, longer than :data:`REPEATS` waits
        :raises TransientError: a retry may help
        :raises InputError: the token is not accepted, or may not do this
        :raises NotThere: there is no such thing
        :raises Rejected: anything else
        """
        return _json(self._answer(verb, f"{self._base}{path}", body))

    def text(self, path: str) -> str:
        """A file, such as a log, also from the storage that the service sends us on to: without our token."""
        answer = self._answer("GET", f"{self._base}{path}", moved=True)
        if answer.status_code in _MOVED:
            answer = self._fetch(path, answer.headers.get("Location", ""))
        return str(answer.content.decode(errors="replace"))

    def _fetch(self, path: str, url: str) -> Any:
        import requests

        try:
            answer = requests.get(url, timeout=SECONDS)
        except requests.RequestException as error:
            raise TransientError(f"GET {path}, from its storage: {type(error).__name__}") from error
        if (problem := self._error(f"GET {path}, from its storage", answer)) is not None:
            raise problem
        return answer

    def pages(self, path: str) -> Iterator[Any]:
        """The items of a list, page by page, as far as somebody reads."""
        url = f"{self._base}{path}"
        for _ in range(PAGES):
            answer = self._answer("GET", url)
            yield from _json(answer)
            following = answer.links.get("next", {}).get("url", "")
            if not following:
                return
            if urlsplit(following)[:2] != urlsplit(self._base)[:2]:
                raise Rejected(f"{path}: the next page is at another host: {following}", answer.status_code)
            url = following

    def _answer(
        self,
        verb: str,
        url: str,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        moved: bool = False,
    ) -> Any:
        doing = f"{verb} {urlsplit(url).path}"
        answer = REPEATS.call(
            lambda: self._send(doing, verb, url, body),
            safe=verb != "POST",
            pause=self._pause,
            sleep=self._sleep,
        )
        if moved and answer.status_code in _MOVED:
            return answer
        if (error := self._error(doing, answer)) is not None:
            raise error
        return answer

    def _send(self, doing: str, verb: str, url: str, body: Any) -> Any:
        import requests

        try:
            return self._session.request(
                verb, url, json=body, headers=dict(self._headers()), timeout=SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise TransientError(f"{doing}: {type(error).__name__}") from error

    def _error(self, doing: str, answer: Any) -> Exception | None:
        status = answer.status_code
        if 200 <= status < 300:
            return None
        message = f"{doing}: {status} {_said(answer)}"
        if (pause := self._pause(answer)) is not None:
            return RateLimited(f"{message}; it asks for a pause of {pause:.0f} s", pause)
        if status in PASSING:
            return TransientError(message)
        if status == 401:
            return Unauthenticated(f"{message}; renew the token in the connection")
        if status == 403:
            return Forbidden(f"{message}; the token may not do this: give it the permission")
        if status == 404:
            return NotThere(f"{message}; correct the repository, or let the token see it")
        if 300 <= status < 400:
            return Rejected(f"{message}; it has moved: correct the repository or the url", status)
        return Rejected(message, status)

    def _pause(self, answer: Any) -> float | None:
        """Seconds to wait if this is about too many requests, else None."""
        headers = answer.headers
        limited = answer.status_code == 429 or (
            answer.status_code == 403
            and (
                "Retry-After" in headers
                or headers.get("X-RateLimit-Remaining") == "0"
                or "secondary rate limit" in _said(answer).lower()
            )
        )
        if not limited:
            return None
        if (asked := self._asked(headers.get("Retry-After"))) is not None:
            return asked
        reset = headers.get("X-RateLimit-Reset") or headers.get("RateLimit-Reset") or ""
        if reset.isdigit() and (
            answer.status_code == 429 or headers.get("X-RateLimit-Remaining", "0") == "0"
        ):
            return max(float(reset) - self._clock(), 0.0) + 1
        return self._unsaid

    def _asked(self, value: str | None) -> float | None:
        """``Retry-After``: seconds, or a date."""
        if not value:
            return None
        if value.isdigit():
            return float(value)
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max((until - datetime.fromtimestamp(self._clock(), UTC)).total_seconds(), 0.0)


def _json(answer: Any) -> Any:
    if not answer.content:
        return None
    try:
        # Not requests' own, which guesses the encoding of a short answer, such as `[]`, for seconds.
        return json.loads(answer.content)
    except ValueError as error:
        raise TransientError(f"{urlsplit(answer.url).path}: {answer.status_code} without JSON") from error


def _said(answer: Any) -> str:
    try:
        body = json.loads(answer.content)
        message = body.get("message") or body.get("error") or body
        if isinstance(message, dict) and message.get("message"):  # as Google says it
            message = message["message"]
        errors = body.get("errors")
    except (ValueError, AttributeError):
        return str(answer.content.decode(errors="replace"))[:300]
    return f"{message}{f' {errors}' if errors else ''}"[:500]
