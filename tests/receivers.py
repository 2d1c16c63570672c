"""Who messages are sent to: services that refuse what the real ones refuse, and a real SMTP server.

https://api.slack.com/methods/chat.postMessage, https://api.slack.com/reference/block-kit/blocks,
https://adaptivecards.io/explorer, https://learn.microsoft.com/azure/event-grid/post-to-custom-topic
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from tests.loopback import Answer, Request, Service


class Receiver(Service):
    """Keeps what it took; ``faults`` are answered first."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.requests: list[Request] = []
        self.faults: list[Answer] = []

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)
        return self.take(request)

    def take(self, request: Request) -> Answer:
        self.taken.append(request.json())
        return Answer(200, {"ok": True})


class SlackService(Receiver):
    """``chat.postMessage`` with a token, and an incoming webhook at ``/services/T0/B0/secret``."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    def take(self, request: Request) -> Answer:
        if request.path.startswith("/services/"):
            if request.path != "/services/T0000/B0000/hook-secret":
                return Answer(404, "no_service")
            return self._posted(request, webhook=True)
        if request.path != "/api/chat.postMessage":
            return Answer(200, {"ok": False, "error": "unknown_method"})
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return Answer(200, {"ok": False, "error": "invalid_auth"})
        return self._posted(request, webhook=False)

    def _posted(self, request: Request, *, webhook: bool) -> Answer:
        body = request.json()
        if problem := self._problem(body, webhook):
            return Answer(400, problem) if webhook else Answer(200, {"ok": False, "error": problem})
        self.taken.append(body)
        if webhook:
            return Answer(200, "ok")
        return Answer(
            200, {"ok": True, "ts": f"1700000000.{len(self.taken):06d}", "channel": body["channel"]}
        )

    def _problem(self, body: dict[str, Any], webhook: bool) -> str:
        if not webhook and body.get("channel") != "#deployments":
            return "channel_not_found"
        known = {"channel", "text", "blocks", "thread_ts", "unfurl_links", "unfurl_media"}
        if set(body) - known:
            return "invalid_arguments"
        if thread := body.get("thread_ts"):
            sent = {f"1700000000.{number + 1:06d}" for number in range(len(self.taken))}
            if thread not in sent:
                return "invalid_thread_ts"
        return "" if all(_block(block) for block in body["blocks"]) else "invalid_blocks"


def _block(block: dict[str, Any]) -> bool:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": text}}:
            return 1 <= len(text) <= 150
        case {"type": "section", "text": {"type": "mrkdwn", "text": text}}:
            return 1 <= len(text) <= 3000
        case {"type": "actions", "elements": elements}:
            return all(
                element["type"] == "button"
                and len(element["text"]["text"]) <= 75
                and len(element["url"]) <= 3000
                and element["url"].startswith("http")
                for element in elements
            )
    return False


class TeamsService(Receiver):
    """A workflow's webhook, whose URL is signed."""

    def take(self, request: Request) -> Answer:
        if request.query.get("sig") != "Teams-signature-3f81":
            return Answer(401, {"error": {"code": "DirectApiAuthorizationRequired"}})
        if len(request.body) > 28_000:
            return Answer(413, "Request Entity Too Large")
        body = request.json()
        (attachment,) = body["attachments"]
        card = attachment["content"]
        kinds = {item["type"] for item in (*card["body"], *card.get("actions", ()))}
        if (
            body["type"] != "message"
            or attachment["contentType"] != "application/vnd.microsoft.card.adaptive"
            or card["type"] != "AdaptiveCard"
            or not kinds <= {"TextBlock", "Action.OpenUrl"}
        ):
            return Answer(400, "Bad payload received by generic incoming webhook.")
        self.taken.append(card)
        return Answer(202, "")


class EventGridService(Receiver):
    """A custom topic that takes one schema; with its key, or a token for it."""

    def __init__(self, schema: str, key: str, token: str = "") -> None:
        super().__init__()
        self.schema = schema
        self.key = key
        self.token = token

    def take(self, request: Request) -> Answer:
        bearer = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if request.headers.get("aeg-sas-key") != self.key and not (self.token and bearer):
            return Answer(401, {"error": {"code": "Unauthorized"}})
        if request.path != "/api/events" or request.query.get("api-version") != "2018-01-01":
            return Answer(400, {"error": {"code": "BadRequest"}})
        kind = request.headers.get("Content-Type", "").partition(";")[0]
        cloud = kind == "application/cloudevents-batch+json"
        needed = (
            {"specversion", "id", "source", "type"}
            if self.schema == "cloud_events"
            else {"id", "eventType", "subject", "eventTime", "data", "dataVersion"}
        )
        events = request.json()
        if cloud != (self.schema == "cloud_events") or not all(needed <= set(event) for event in events):
            message = "This resource is configured to receive event in another schema"
            return Answer(400, {"error": {"code": "BadRequest", "message": message}})
        if len(request.body) > 1_000_000:
            return Answer(413, {"error": {"code": "RequestEntityTooLarge"}})
        self.taken += events
        return Answer(200, {})


class Mailbox:
    """A real SMTP server and what it has taken."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.recipients: list[list[str]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.recipients.append(envelope.rcpt_tos)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        return "250 OK"

    def html(self, number: int = -1) -> str:
        """The HTML part of a message."""
        part = self.taken[number].get_body(preferencelist=("html",))
        assert part is not None
        return str(part.get_content())

    @contextmanager
    def serving(self) -> Iterator[int]:
        """The port that it listens on."""
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        controller = Controller(self, hostname="127.0.0.1", port=port)
        controller.start()
        try:
            yield port
        finally:
            controller.stop()
