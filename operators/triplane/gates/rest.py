"""Asks a monitoring API over HTTP, and tells what a retry can help from what it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from triplane.core.calls import PASSING, Repeats
from triplane.core.errors import InputError, TransientError

SECONDS = 20.0
REPEATS = Repeats(tries=3, first=0.5, longest=5.0)
"""What a service asks to wait longer for is left to the next look."""

Headers = Callable[[str, str, bytes], Mapping[str, str]]
"""From verb, URL with its query, and body to headers that authenticate; called anew for each try."""


def ask(
    session: Any,
    verb: str,
    url: str,
    *,
    query: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    headers: Headers | None = None,
    body: Any = None,
    text: str | None = None,
    who: str = "the connection",
) -> Any:
    """The answer's JSON; what is sent is ``form``, ``body`` as JSON, or ``text``. ``session`` is that of requests, or google.auth's, which authenticates itself.

    :raises TransientError: throttled, failing or not to be reached, also after some tries
    :raises InputError: the credentials are not accepted, or what was asked is wrong
    """
    import requests

    asked = requests.Request(
        verb, url, params=query, data=form if text is None else text, json=body
    ).prepare()
    sent = asked.body.encode() if isinstance(asked.body, str) else asked.body or b""
    fixed = {"Content-Type": asked.headers["Content-Type"]} if "Content-Type" in asked.headers else {}

    def send() -> Any:
        given = {**fixed, **(headers(verb, str(asked.url), sent) if headers else {})}
        return _send(session, verb, str(asked.url), sent, given)

    answer = REPEATS.call(send, safe=True, renews=True)
    return _read(answer, f"{verb} {url}", who)


def stamp(moment: float) -> str:
    """Seconds since 1970 as the clouds' APIs take them, to the microsecond: a moment after another stays after it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _send(session: Any, verb: str, url: str, body: bytes, headers: Mapping[str, str]) -> Any:
    import requests
    from google.auth.exceptions import RefreshError, TransportError

    try:
        return session.request(verb, url, data=body or None, headers=dict(headers), timeout=SECONDS)
    except (requests.RequestException, TransportError) as error:
        raise TransientError(f"{verb} {url.partition('?')[0]}: {type(error).__name__}: {error}") from error
    except RefreshError as error:
        raise InputError(f"Google refuses the connection: {error}; check its key") from error


def _read(answer: Any, doing: str, who: str) -> Any:
    status = answer.status_code
    if status >= 400:
        message = f"{doing}: {status} {_said(answer)}"
        if status in PASSING:
            raise TransientError(message)
        if status == 401:
            raise InputError(f"{message}; the credentials of {who} are not accepted: renew them")
        if status == 403:
            raise InputError(f"{message}; let {who} read metrics there")
        raise InputError(f"{message}; correct the gate")
    try:
        return answer.json() if answer.content else {}
    except ValueError as error:
        raise TransientError(f"{doing}: {status} without JSON: {str(answer.text)[:200]}") from error


def _said(answer: Any) -> str:
    try:
        found = answer.json()
    except ValueError:
        return str(answer.text)[:300]
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, Mapping):
        return f"{error.get('status') or error.get('code')}: {error.get('message')}"
    return str(error or found)[:300]
