"""Pub/Sub: a push subscription that posts each message of a topic to a Cloud Run service or a function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless.events import streams
from triplane.serverless.events.source import Done, Found, Options, Progress, Wanted
from triplane.serverless.google.services import joined, url_of
from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN, DeployFailed, Log, Unknown

LEAST_ATTEMPTS, MOST_ATTEMPTS = 5, 100
DAY: Final = 86400
NAME: Final = re.compile(r"(?!goog)[A-Za-z][-A-Za-z0-9_.~+%]{2,254}")
FILTER_LENGTH: Final = 256
NEVER: Final = "never"
# Of a new subscription only; and what is the service's to say.
_FIXED: Final = ("topic", "filter", "enableMessageOrdering", "detached")
_ANSWER_ONLY: Final = frozenset(
    {"name", "state", "topicMessageRetentionDuration", "analyticsHubSubscriptionInfo", "tags"}
)
_VERSION: Final = {"x-goog-version": "v1"}


class PubSub:
    """Subscriptions of one project. ``pubsub`` and ``run`` are the APIs ``v1`` and ``v2`` of the two services.

    A subscription never expires. While it is not ``enabled`` it does not push, and keeps its messages for
    ``retention``; its endpoint is not known to Pub/Sub then, so nobody can have changed that.
    """

    options = streams.COMMON | {
        *("service_account", "path", "ack_deadline", "retention", "min_backoff", "max_backoff"),
        *("filter", "ordering"),
    }
    fixed: frozenset[str] = frozenset({"stream", "filter", "ordering", "detached"})

    def __init__(self, pubsub: Api, run: Api, *, project: str, region: str) -> None:
        self._api = pubsub
        self._run = run
        self._project = f"projects/{project}"
        self._region = f"{self._project}/locations/{region}"

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        streams.check(name, options)
        _check(name, options)
        account = options.get("service_account") or ""
        url = url_of(self._run, self._region, options["function"])
        minimum, maximum = _backoff(name, options)
        return {
            "stream": self._topic(options["stream"]),
            "filter": options.get("filter") or "",
            "ordering": options.get("ordering", False),
            "calls": joined(url, options.get("path")),
            "service_account": account,
            "audience": url if account else "",
            "ack_deadline": _number(name, options, "ack_deadline", 10, 10, 600),
            "retention": _number(name, options, "retention", 7 * DAY, 600, 31 * DAY),
            "min_backoff": minimum,
            "max_backoff": maximum,
            "dead_letter": self._topic(options.get("dead_letter") or ""),
            "retries": _retries(name, options),
            "expires": NEVER,
            "enabled": options.get("enabled", True),
            "detached": False,
            "other": {},
        }

    def observe(self, wanted: Wanted) -> Found | None:
        raw = self._api.get(self._path(wanted))
        if raw is None:
            return None
        settings = _settings(raw)
        if not settings["enabled"]:
            # What a paused subscription would call is written nowhere but in what is wanted.
            for key in ("calls", "service_account", "audience"):
                value = wanted.settings.get(key, "")
                settings[key] = "" if isinstance(value, Unknown) else value
        return Found(settings=settings, id=str(raw["name"]), raw=raw)

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        return self._bring(wanted, _body(wanted.known()), found, log)

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        if previous is None:
            return self.delete(wanted)
        log(f"{wanted.name}: putting back the subscription of before")
        if previous.raw.get("detached"):
            raise DeployFailed(f"{wanted.name}: it was detached, and no such subscription can be made")
        return self._bring(wanted, _plain(previous.raw), self.observe(wanted), log)

    def delete(self, wanted: Wanted) -> Progress:
        self._api.call("DELETE", self._path(wanted), missing_ok=True)
        return Done()

    def _bring(self, wanted: Wanted, body: Mapping[str, Any], found: Found | None, log: Log) -> Progress:
        now = _plain(found.raw) if found else {}
        changed = sorted(key for key in {*body, *now} if body.get(key) != now.get(key))
        if found is not None and not changed:
            return Done()
        if found is not None and not set(changed).intersection(_FIXED):
            log(f"{wanted.name}: updating the subscription: {', '.join(changed)}")
            request = {"subscription": dict(body), "updateMask": ",".join(changed)}
            self._api.call("PATCH", self._path(wanted), request)
            return Done()
        self._need_topics(wanted, body)
        if found is not None:
            log(f"{wanted.name}: deleting the subscription, {' and '.join(changed)} cannot be changed")
            self.delete(wanted)
        log(f"{wanted.name}: creating the subscription to {body['topic']}")
        self._api.call("PUT", self._path(wanted), dict(body))
        return Done()

    def _need_topics(self, wanted: Wanted, body: Mapping[str, Any]) -> None:
        """Looked at before something is deleted. :raises DeployFailed: one is not there"""
        for topic in (body["topic"], body.get("deadLetterPolicy", {}).get("deadLetterTopic")):
            if topic and self._api.get(f"v1/{topic}") is None:
                raise DeployFailed(f"{wanted.name}: there is no topic {topic}")

    def _topic(self, name: Any) -> Any:
        if isinstance(name, Unknown) or not name or "/" in name:
            return name
        return f"{self._project}/topics/{name}"

    def _path(self, wanted: Wanted) -> str:
        return f"v1/{self._project}/subscriptions/{wanted.name}"


def _check(name: str, options: Options) -> None:
    """:raises InputError: Pub/Sub cannot do that"""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name}: a subscription's name has 3-255 letters, digits and -_.~+%, begins with a letter and not with goog"
        )
    for key in ("stream", "dead_letter"):
        topic = options.get(key)
        if (
            isinstance(topic, str)
            and "/" in topic
            and not re.fullmatch(r"projects/[^/]+/topics/[^/]+", topic)
        ):
            raise InputError(
                f"{name}: {key} {topic!r} is neither a topic's id nor projects/PROJECT/topics/ID"
            )
    if options.get("batch_size") not in (None, 1):
        raise InputError(
            f"{name}: Pub/Sub pushes one message at a time; leave batch_size out, and have many instances of the "
            "function, or a function that takes many messages in one"
        )
    if streams.position(name, options) == "earliest":
        raise InputError(
            f"{name}: a new subscription of Pub/Sub begins with what is published from then on; leave "
            "starting_position out, and seek it to a time (`gcloud pubsub subscriptions seek`) where the topic retains"
        )
    for key in ("enabled", "ordering"):
        if not isinstance(options.get(key, False), (bool, Unknown)):
            raise InputError(f"{name}: {key} {options[key]!r} is neither true nor false")
    path, filter_ = options.get("path") or "", options.get("filter") or ""
    if isinstance(path, str) and path and not path.startswith("/"):
        raise InputError(f"{name}: path {path!r} does not begin with /")
    if isinstance(filter_, str) and len(filter_.encode()) > FILTER_LENGTH:
        raise InputError(f"{name}: the filter is longer than {FILTER_LENGTH} bytes")


def _number(name: str, options: Options, key: str, default: int, least: int, most: int) -> Any:
    """A number, ``UNKNOWN`` while it is."""
    unknown = isinstance(options.get(key), Unknown)
    return UNKNOWN if unknown else streams.number(name, options, key, default, least, most)


def _backoff(name: str, options: Options) -> tuple[Any, Any]:
    """The limits of the waits between attempts, None for both: as the service does it."""
    if options.get("min_backoff") is None and options.get("max_backoff") is None:
        return None, None
    least = _number(name, options, "min_backoff", 10, 0, 600)
    most = _number(name, options, "max_backoff", 600, 0, 600)
    if not isinstance(least, Unknown) and not isinstance(most, Unknown) and least > most:
        raise InputError(f"{name}: min_backoff {least} is more than max_backoff {most}")
    return least, most


def _retries(name: str, options: Options) -> Any:
    """How many retries there are before the dead letter topic; None without one: until ``retention``."""
    if options.get("dead_letter"):
        least, most = LEAST_ATTEMPTS - 1, MOST_ATTEMPTS - 1
        return _number(name, options, "retries", least, least, most)
    if options.get("retries") is not None:
        raise InputError(
            f"{name}: without dead_letter Pub/Sub tries again until `retention` is over; give a topic as dead_letter, "
            "or leave retries out"
        )
    return None


def _body(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The subscription as :func:`_plain` shows it once it is made."""
    push: dict[str, Any] = {}
    if settings["enabled"]:
        push = {"pushEndpoint": settings["calls"]}
        if settings["service_account"]:
            token = {"serviceAccountEmail": settings["service_account"], "audience": settings["audience"]}
            push["oidcToken"] = token
    body = {
        "topic": settings["stream"],
        "filter": settings["filter"],
        "enableMessageOrdering": settings["ordering"],
        "pushConfig": push,
        "ackDeadlineSeconds": settings["ack_deadline"],
        "messageRetentionDuration": f"{settings['retention']}s",
        "expirationPolicy": {},
    }
    if settings["min_backoff"] is not None:
        body["retryPolicy"] = {
            "minimumBackoff": f"{settings['min_backoff']}s", "maximumBackoff": f"{settings['max_backoff']}s"
        }  # fmt: skip
    if settings["dead_letter"]:
        body["deadLetterPolicy"] = {
            "deadLetterTopic": settings["dead_letter"], "maxDeliveryAttempts": settings["retries"] + 1
        }  # fmt: skip
    return {key: value for key, value in body.items() if value not in ("", False)}


def _plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A subscription without what the service adds, so that two of them can be compared and one be written."""
    body = {key: value for key, value in raw.items() if key not in _ANSWER_ONLY and value not in ("", False)}
    push = dict(body.get("pushConfig") or {})
    if push.get("attributes") == _VERSION:
        del push["attributes"]
    return {**body, "pushConfig": push}


def _settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``other`` holds what a deployment never sets."""
    rest = _plain(raw)
    push, dead = dict(rest.pop("pushConfig")), dict(rest.pop("deadLetterPolicy", {}))
    token, retry = dict(push.pop("oidcToken", {})), dict(rest.pop("retryPolicy", {}))
    expires = dict(rest.pop("expirationPolicy", {"ttl": f"{31 * DAY}s"}))
    endpoint = push.pop("pushEndpoint", "")
    settings = {
        "stream": rest.pop("topic", ""),
        "filter": rest.pop("filter", ""),
        "ordering": rest.pop("enableMessageOrdering", False),
        "calls": endpoint,
        "service_account": token.pop("serviceAccountEmail", ""),
        "audience": token.pop("audience", ""),
        "ack_deadline": rest.pop("ackDeadlineSeconds", 10),
        "retention": _seconds(rest.pop("messageRetentionDuration", f"{7 * DAY}s")),
        "min_backoff": _seconds(retry.pop("minimumBackoff", "10s")) if raw.get("retryPolicy") else None,
        "max_backoff": _seconds(retry.pop("maximumBackoff", "600s")) if raw.get("retryPolicy") else None,
        "dead_letter": dead.pop("deadLetterTopic", ""),
        "retries": dead.pop("maxDeliveryAttempts", LEAST_ATTEMPTS) - 1
        if raw.get("deadLetterPolicy")
        else None,
        "expires": expires.pop("ttl", NEVER),
        "enabled": bool(endpoint),
        "detached": rest.pop("detached", False),
    }
    other = {**rest, **push, **token, **retry, **dead, **expires}
    return {**settings, "other": {key: str(value) for key, value in other.items()}}


def _seconds(duration: str) -> int | float:
    value = float(duration.removesuffix("s"))
    return int(value) if value.is_integer() else value
