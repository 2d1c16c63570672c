"""The messages of Pub/Sub's subscriptions, and the thread that pushes them."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field

from triplane.sandbox.gcp.outgoing import Outgoing
from triplane.sandbox.gcp.pubsub_checks import parse_filter
from triplane.sandbox.gcp.state import PROJECT, Body, State

ACKNOWLEDGES = frozenset({102, 200, 201, 202, 204})
SOURCE = "CloudPubSubDeadLetterSource"
PUSH_BACKOFF = (0.1, 60.0)
"""Without a retry policy, in seconds."""


@dataclass
class Entry:
    """One message in one subscription. ``due`` is when it may be delivered (again)."""

    message: Body
    born: float = field(default_factory=time.monotonic)
    attempts: int = 0
    due: float = 0.0
    ack: str = ""


class Delivery:
    """Backlogs by subscription. ``lock`` guards them and the state; calls are made without it."""

    def __init__(self, state: State, outgoing: Outgoing, lock: threading.RLock) -> None:
        self._state = state
        self._outgoing = outgoing
        self._changed = threading.Condition(lock)
        self._thread: threading.Thread | None = None
        self.backlogs: dict[str, list[Entry]] = defaultdict(list)

    def publish(self, topic: str, message: Body) -> None:
        """Into each subscription of the topic that wants it."""
        for name, body in self._state.resources.items():
            if body.get("topic") != topic or "/subscriptions/" not in name or body.get("detached"):
                continue
            if parse_filter(body.get("filter", ""))(message.get("attributes", {})):
                self.backlogs[name].append(Entry(message))
        self.look()

    def look(self) -> None:
        """Something may be due now."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def forget(self, subscription: str) -> None:
        self.backlogs.pop(subscription, None)

    def pull(self, subscription: str, most: int) -> list[Body]:
        """Lease up to ``most`` messages."""
        body = self._state.live(subscription)
        found = []
        for entry in self._ready(subscription, body)[:most]:
            self._leave(entry, body)
            received = {"ackId": entry.ack, "message": entry.message}
            found.append(
                received | ({"deliveryAttempt": entry.attempts} if "deadLetterPolicy" in body else {})
            )
        return found

    def acknowledge(self, subscription: str, acks: set[str]) -> None:
        self.backlogs[subscription] = [each for each in self.backlogs[subscription] if each.ack not in acks]

    def _leave(self, entry: Entry, body: Body) -> None:
        entry.attempts += 1
        entry.ack = uuid.uuid4().hex
        entry.due = time.monotonic() + body["ackDeadlineSeconds"]

    def _ready(self, name: str, body: Body) -> list[Entry]:
        """What may be delivered now; with ordering only the oldest of each key. What is too old is dropped."""
        now, retention = time.monotonic(), float(body["messageRetentionDuration"][:-1])
        kept = [entry for entry in self.backlogs[name] if now - entry.born <= retention]
        self.backlogs[name] = kept
        if body.get("enableMessageOrdering"):
            first: dict[str, Entry] = {}
            for entry in kept:
                first.setdefault(entry.message.get("orderingKey") or str(id(entry)), entry)
            kept = list(first.values())
        return [entry for entry in kept if entry.due <= now]

    def _run(self) -> None:
        while True:
            with self._changed:
                while (found := self._next()) is None:
                    self._changed.wait(self._pause())
            self._push(*found)

    def _next(self) -> tuple[str, Body, Entry] | None:
        for name in list(self.backlogs):
            body = self._state.resources.get(name)
            if body is None or not body["pushConfig"] or body.get("detached"):
                continue
            if ready := self._ready(name, body):
                self._leave(ready[0], body)
                return name, self._state.get(name), ready[0]
        return None

    def _pause(self) -> float:
        """Seconds until something may be due."""
        dues = [entry.due for entries in self.backlogs.values() for entry in entries]
        now = time.monotonic()
        return min((due - now for due in dues if due > now), default=60.0)

    def _push(self, name: str, body: Body, entry: Entry) -> None:
        push = body["pushConfig"]
        payload = _envelope(name, body, entry)
        headers = {"Content-Type": "application/json", "User-Agent": "CloudPubSub-Google"}
        status = self._outgoing.call("POST", push["pushEndpoint"], payload, headers, push.get("oidcToken"))
        with self._changed:
            if status in ACKNOWLEDGES:
                self.acknowledge(name, {entry.ack})
            elif not self._bury(name, entry):
                entry.due = time.monotonic() + _backoff(body, entry.attempts)

    def _bury(self, name: str, entry: Entry) -> bool:
        """Whether it was the last attempt, and the message went to the dead letter topic."""
        policy = self._state.resources.get(name, {}).get("deadLetterPolicy")
        if not policy or entry.attempts < policy["maxDeliveryAttempts"]:
            return False
        if policy["deadLetterTopic"] not in self._state.resources:
            return False
        source = {
            f"{SOURCE}DeliveryCount": str(entry.attempts),
            f"{SOURCE}Subscription": name.rpartition("/")[2],
            f"{SOURCE}SubscriptionProject": PROJECT,
        }
        attributes = {**entry.message.get("attributes", {}), **source}
        self.acknowledge(name, {entry.ack})
        self.publish(policy["deadLetterTopic"], {**entry.message, "attributes": attributes})
        return True


def _envelope(name: str, body: Body, entry: Entry) -> bytes:
    message = entry.message
    if "noWrapper" in body["pushConfig"]:
        return base64.b64decode(message.get("data", ""))
    both = {**message, "message_id": message["messageId"], "publish_time": message["publishTime"]}
    told: Body = {"message": both, "subscription": name}
    if "deadLetterPolicy" in body:
        told["deliveryAttempt"] = entry.attempts
    return json.dumps(told).encode()


def _backoff(body: Body, attempts: int) -> float:
    least, most = PUSH_BACKOFF
    if policy := body.get("retryPolicy"):
        least, most = float(policy["minimumBackoff"][:-1]), float(policy["maximumBackoff"][:-1])
    return min(least * 2.0 ** (attempts - 1), most)
