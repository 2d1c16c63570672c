"""Tells a message to everybody who wants it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from triplane import settings
from triplane.core.errors import TerminalError
from triplane.notify.channels import sender
from triplane.notify.deadline import Late, deadline
from triplane.notify.memory import Memory
from triplane.notify.message import Message
from triplane.notify.route import Route
from triplane.notify.text import render

log = logging.getLogger(__name__)

LIMIT = 30.0
"""Seconds for one route, all its tries."""
TRIES = 3
FIRST_WAIT = 1.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def notify(routes: Sequence[Mapping[str, Any]], message: Message) -> None:
    """Send ``message`` to every route that wants it.

    Never raises because of a route: what cannot be sent is logged. A message that a route has got already (the same
    event, thread and key) is not sent there again.
    """
    for value in routes:
        try:
            with deadline(LIMIT):
                _tell(Route.from_json(value), message)
        except (Exception, Late) as error:
            said = settings.redactor()(f"{type(error).__name__}: {error}")
            log.warning("%s was not told to %s: %s", message.event, value.get("name", "a route"), said)


def _tell(route: Route, message: Message) -> None:
    if not route.wants(message):
        return
    memory = _memory(route) if message.thread else None
    if memory is not None and not memory.claim(message.identity):
        log.info("%s was told to %s before", message.event, route.name)
        return
    try:
        anchor = memory.anchor(message.thread) if memory else ""
        sent = _send(route, message, anchor)
    except BaseException:
        if memory is not None:
            memory.failed(message.identity)
        raise
    if memory is not None:
        memory.sent(message.identity)
        memory.begin(message.thread, sent)
    log.info("%s was told to %s (%s)", message.event, route.name, route.channel)


def _memory(route: Route) -> Memory | None:
    """None where the artifact store cannot be used: better twice than never."""
    try:
        name = f"{route.platform}/{route.name}"
        return Memory(settings.artifact_store(), name)
    except Exception as error:
        log.warning("No memory of what was sent: %s", settings.redactor()(str(error)))
        return None


def _send(route: Route, message: Message, anchor: str) -> str:
    send = sender(route.channel)
    for number in range(TRIES):
        try:
            return send(route.options, render(message, route, settings.redactor()), anchor)
        except Exception as error:
            wait = _wait(error, number)
            if number == TRIES - 1 or wait > LIMIT or not _may_pass(error):
                raise
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _may_pass(error: BaseException) -> bool:
    """Whether another try may help: not where the service has refused the message."""
    if isinstance(error, TerminalError):
        return False
    statuses = [int(answer.status_code) for answer in _answers(error)]
    return all(status in _PASSING for status in statuses)


def _wait(error: BaseException, number: int) -> float:
    asked = [str(answer.headers.get("Retry-After") or "") for answer in _answers(error)]
    found = [float(text) for text in asked if text.isdigit()]
    return found[0] if found else FIRST_WAIT * 2**number


def _answers(error: BaseException | None) -> Iterator[Any]:
    """What the service has answered, where the error or one that led to it holds that."""
    while error is not None:
        answer = getattr(error, "response", None)
        if hasattr(answer, "status_code"):
            yield answer
        error = error.__cause__ or error.__context__
