"""From a message to what one service shows: redacted, within its limits, in its own markup."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triplane.core.errors import InputError
from triplane.notify.message import Message
from triplane.notify.route import Route

SHORTENED = "… (shortened)"
SUBJECT = 200
"""Characters of a subject, where a service does not take fewer."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_LINK = re.compile(r"\[([^\]\n]+)\]\((https?://[^)\s]+)\)")
_CODE = re.compile(r"(```.*?(?:```|$)|`[^`\n]+`)", re.S)


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What a channel sends. ``text`` is Markdown, ``subject`` one line; nothing in it is secret."""

    route: str
    event: str
    environment: str
    subject: str
    text: str
    link: str
    thread: str
    identity: str

    def to_json(self) -> dict[str, str]:
        """For programs: what a webhook or a topic gets."""
        return {
            "event": self.event,
            "environment": self.environment,
            "subject": self.subject,
            "text": self.text,
            "link": self.link,
            "thread": self.thread,
            "id": self.identity.removeprefix("sha256:"),
        }


def render(message: Message, route: Route, redact: Callable[[str], str]) -> Rendered:
    """``message`` as this route tells it.

    :raises InputError: the route's template cannot be rendered
    """
    text = from_template(route.template, message, route.platform) if route.template else message.text
    title = message.subject or message.event.replace("_", " ")
    subject = one_line(f"[{route.platform}] {title}" if route.platform else title)
    return Rendered(
        route=route.name,
        event=message.event,
        environment=message.environment,
        subject=bounded(redact(subject), SUBJECT),
        text=redact(text),
        link=redact(message.link),
        thread=message.thread,
        identity=message.identity,
    )


def from_template(template: str, message: Message, platform: str) -> str:
    """A route's own text. It sees the message and nothing else. :raises InputError: it is wrong"""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    values: dict[str, Any] = {
        name: getattr(message, name) for name in ("event", "environment", "subject", "text", "link", "thread")
    }
    try:
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        return environment.from_string(template).render(values, platform=platform)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"the template of a message cannot be rendered: {error}") from error


def one_line(text: str) -> str:
    """Without line breaks and control characters: nothing that begins another header."""
    return _CONTROL.sub(" ", text).strip()


def bounded(text: str, limit: int, *, size: Callable[[str], int] = len) -> str:
    """The beginning of ``text``, whole lines where that is possible, that is at most ``limit`` long by ``size``.

    A block of code that is cut is closed.
    """
    if size(text) <= limit:
        return text
    tail = f"\n{SHORTENED}" if "\n" in text else SHORTENED
    room = limit - size(f"\n```{tail}")
    low, high = 0, min(len(text), max(room, 0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(text[:middle]) <= room else (low, middle - 1)
    kept = text[:low]
    line = kept.rfind("\n")
    kept = kept[:line] if line > len(kept) // 2 else kept
    return f"{kept}\n```{tail}" if kept.count("```") % 2 else f"{kept}{tail}"


def octets(text: str) -> int:
    """The size of a text for services that count bytes."""
    return len(text.encode())


def as_slack(text: str) -> str:
    """Markdown as Slack's mrkdwn; nobody is mentioned by what a change is called."""
    return "".join(
        part if index % 2 else _slack_prose(part)
        for index, part in enumerate(_CODE.split(_slack_escaped(text.replace("```text\n", "```\n"))))
    )


def _slack_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slack_prose(text: str) -> str:
    text = _LINK.sub(r"<\2|\1>", text)
    text = re.sub(r"\*\*([^*\n]+)\*\*", r"*\1*", text)
    return re.sub(r"^#{1,6} +(.+)$", r"*\1*", text, flags=re.M)


def as_html(text: str) -> str:
    """Markdown as HTML for mail; HTML within it is shown, not interpreted."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def link_html(link: str) -> str:
    """A link for mail, nothing where there is none."""
    if not link:
        return ""
    safe = html.escape(link, quote=True)
    return f'<p><a href="{safe}">{safe}</a></p>'
