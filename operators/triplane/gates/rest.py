"""Asks a monitoring API over HTTP, and tells what a retry can help from what it cannot."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from triplane.core.errors import InputError, TransientError

SECONDS = 20.0
TRIES = 3
FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0
"""Seconds; the wait doubles. What a service asks to wait longer for is left to the next look."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

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
    renewed = False
    for number in range(TRIES):
        last = number == TRIES - 1
        given = {**fixed, **(headers(verb, str(asked.url), sent) if headers else {})}
        try:
            answer = _send(session, verb, str(asked.url), sent, given)
        except TransientError:
            if last:
                raise
            time.sleep(_pause(number))
            continue
        if answer.status_code == 401 and not renewed:
            renewed = True
            continue
        wait = _wait(answer, number)
        if last or wait is None:
            break
        time.sleep(wait)
    return _read(answer, f"{verb} {url}", who)


def stamp(moment: float) -> str:
    """Seconds since 1970 as the clouds' APIs take them."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _send(session: Any, verb: str, url: str, body: bytes, headers: Mapping[str, str]) -> Any:
    import requests
    from google.auth.exceptions import RefreshError, TransportError

    try:
        return session.request(verb, url, data=body or None, headers=dict(headers), timeout=SECONDS)
    except (requests.RequestException, TransportError) as error:
        raise TransientError(f"{verb} {url.partition('?')[0]}: {type(error).__name__}: {error}") from error
    except RefreshError as error:
        raise InputError(f"Google refuses the connection: {error}; check its key") from error


def _wait(answer: Any, number: int) -> float | None:
    """Seconds until the next try, None where none would help."""
    if answer.status_code not in _PASSING:
        return None
    asked = str(answer.headers.get("Retry-After") or "")
    if not asked.isdigit():
        return _pause(number)
    return float(asked) if float(asked) <= LONGEST_WAIT else None


def _pause(number: int) -> float:
    return float(FIRST_WAIT * 2**number * random.uniform(0.8, 1.2))


def _read(answer: Any, doing: str, who: str) -> Any:
    status = answer.status_code
    if status >= 400:
        message = f"{doing}: {status} {_said(answer)}"
        if status in _PASSING:
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
