"""Pub/Sub: topics, and subscriptions that are pulled, or really pushed to the URL of a service."""

from __future__ import annotations

import threading

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.outgoing import Outgoing
from triplane.sandbox.gcp.pubsub_checks import DAY, EMPTY, FIXED, check_name, filled, missing, seconds
from triplane.sandbox.gcp.pubsub_delivery import Delivery
from triplane.sandbox.gcp.state import Body, Call, Handler, State, merge

TOPICS = "pubsub.projects.topics"
SUBSCRIPTIONS = "pubsub.projects.subscriptions"
DELETED = "_deleted-topic_"
OTHERS = ("bigqueryConfig", "bigtableConfig", "cloudStorageConfig")
INPUT_ONLY = ("tags", "detached", "name")


class PubSub:
    def __init__(self, state: State, outgoing: Outgoing, lock: threading.RLock) -> None:
        self._state = state
        self._delivery = Delivery(state, outgoing, lock)
        self._count = 0

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{TOPICS}.create": self.create_topic,
            f"{TOPICS}.get": lambda call: self._state.get(self._found(call.params["topic"])),
            f"{TOPICS}.list": lambda call: {"topics": self._state.below(f"{call.params['project']}/topics")},
            f"{TOPICS}.patch": self.patch_topic,
            f"{TOPICS}.delete": self.delete_topic,
            f"{TOPICS}.publish": self.publish,
            f"{TOPICS}.subscriptions.list": self.of_topic,
            f"{SUBSCRIPTIONS}.create": self.create,
            f"{SUBSCRIPTIONS}.get": lambda call: self._state.get(self._found(call.params["subscription"])),
            f"{SUBSCRIPTIONS}.list": lambda call: {
                "subscriptions": self._state.below(f"{call.params['project']}/subscriptions")
            },
            f"{SUBSCRIPTIONS}.patch": self.patch,
            f"{SUBSCRIPTIONS}.delete": self.delete,
            f"{SUBSCRIPTIONS}.detach": self.detach,
            f"{SUBSCRIPTIONS}.modifyPushConfig": self.modify_push,
            f"{SUBSCRIPTIONS}.pull": self.pull,
            f"{SUBSCRIPTIONS}.acknowledge": self.acknowledge,
        }

    def create_topic(self, call: Call) -> Body:
        return self._write_topic(self._absent(call), call.body)

    def patch_topic(self, call: Call) -> Body:
        full = self._found(call.params["name"])
        wanted = self._state.get(full)
        merge(wanted, call.body.get("topic", {}), _mask(call, "UpdateTopicRequest"))
        return self._write_topic(full, wanted)

    def _write_topic(self, full: str, wanted: Body) -> Body:
        if retention := wanted.get("messageRetentionDuration"):
            seconds(retention, "message_retention_duration", 600, 31 * DAY)
        body = {key: value for key, value in wanted.items() if key not in INPUT_ONLY}
        self._state.resources[full] = {**body, "name": full, "state": "ACTIVE"}
        return self._state.get(full)

    def delete_topic(self, call: Call) -> Body:
        full = self._found(call.params["topic"])
        self._state.remove(full)
        for body in self._state.resources.values():
            if body.get("topic") == full:
                body["topic"] = DELETED
        return {}

    def publish(self, call: Call) -> Body:
        topic = self._found(call.params["topic"])
        messages = call.body.get("messages", [])
        if not messages or any(not (each.get("data") or each.get("attributes")) for each in messages):
            raise invalid("messages", EMPTY)
        ids = []
        for each in messages:
            self._count += 1
            ids.append(str(10**15 + self._count))
            self._delivery.publish(topic, {**each, "messageId": ids[-1], "publishTime": timestamp()})
        return {"messageIds": ids}

    def of_topic(self, call: Call) -> Body:
        topic = self._found(call.params["topic"])
        named = [name for name, body in self._state.resources.items() if body.get("topic") == topic]
        return {"subscriptions": [name for name in named if "/subscriptions/" in name]}

    def create(self, call: Call) -> Body:
        full = self._absent(call)
        body = {key: value for key, value in call.body.items() if key not in INPUT_ONLY}
        if not body.get("topic"):
            raise invalid("topic", "The subscription's topic must be given.")
        self._found(body["topic"])
        self._write(full, body)
        return self._state.get(full)

    def patch(self, call: Call) -> Body:
        full = self._found(call.params["name"])
        mask = _mask(call, "UpdateSubscriptionRequest")
        for path in mask.split(","):
            if fixed := {**FIXED, **{name: name for name in FIXED.values()}}.get(path):
                text = (
                    "Invalid update_mask provided in the UpdateSubscriptionRequest: "
                    f"the '{fixed}' field in the Subscription is not mutable."
                )
                raise invalid("update_mask", text)
        wanted = self._state.get(full)
        merge(wanted, call.body.get("subscription", {}), mask)
        self._write(full, wanted)
        return self._state.get(full)

    def modify_push(self, call: Call) -> Body:
        full = self._found(call.params["subscription"])
        self._write(full, {**self._state.get(full), "pushConfig": call.body.get("pushConfig", {})})
        return {}

    def delete(self, call: Call) -> Body:
        full = self._found(call.params["subscription"])
        self._delivery.forget(full)
        self._state.remove(full)
        return {}

    def detach(self, call: Call) -> Body:
        full = self._found(call.params["subscription"])
        self._delivery.forget(full)
        self._state.live(full)["detached"] = True
        return {}

    def pull(self, call: Call) -> Body:
        full = self._found(call.params["subscription"])
        body = self._state.live(full)
        if body["pushConfig"] or body.get("detached"):
            text = "This method is not supported for a push or detached subscription."
            raise ApiError(400, text, status="FAILED_PRECONDITION")
        most = call.body.get("maxMessages", 0)
        if most < 1:
            raise invalid("maxMessages", "max_messages must be greater than 0")
        found = self._delivery.pull(full, most)
        return {"receivedMessages": found} if found else {}

    def acknowledge(self, call: Call) -> Body:
        full = self._found(call.params["subscription"])
        self._delivery.acknowledge(full, set(call.body.get("ackIds", [])))
        return {}

    def _write(self, full: str, wanted: Body) -> None:
        """Check, fill in, and push what has waited."""
        if other := [name for name in OTHERS if wanted.get(name)]:
            raise ApiError(501, f"{other[0]} is there in the real API; the sandbox does not have it")
        found = filled(wanted)
        policy = found.get("deadLetterPolicy")
        if policy and policy != self._state.resources.get(full, {}).get("deadLetterPolicy"):
            self._found(policy["deadLetterTopic"])
        self._state.resources[full] = {"name": full, **found}
        self._delivery.look()

    def _absent(self, call: Call) -> str:
        full: str = call.params["name"]
        check_name(full)
        if full in self._state.resources:
            text = f"Resource already exists in the project (resource={full.rpartition('/')[2]})."
            raise ApiError(409, text)
        return full

    def _found(self, full: str) -> str:
        if full not in self._state.resources:
            raise missing(full)
        return full


def _mask(call: Call, request: str) -> str:
    """The paths that an update names, joined by commas."""
    paths = [path.strip() for path in call.body.get("updateMask", "").split(",") if path.strip()]
    if not paths:
        text = f"The update_mask in the {request} must be set, and must contain a non-empty paths list."
        raise invalid("update_mask", text)
    return ",".join(paths)
