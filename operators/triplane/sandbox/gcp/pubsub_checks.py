"""What Pub/Sub refuses, and what it fills in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.state import Body

NAME = re.compile(r"(?!goog)[A-Za-z][-A-Za-z0-9_.~+%]{2,254}")
FIXED = {
    "name": "name",
    "topic": "topic",
    "filter": "filter",
    "enableMessageOrdering": "enable_message_ordering",
}
EMPTY = (
    "One or more messages in the publish request is empty. Each message must contain either non-empty data, "
    "or at least one attribute."
)
TERM = re.compile(
    r'(?P<no>NOT\s+|-)?(?:hasPrefix\(\s*attributes\.(?P<prefixed>[\w-]+)\s*,\s*"(?P<prefix>[^"]*)"\s*\)'
    r'|attributes:(?P<has>[\w-]+)|attributes\.(?P<key>[\w-]+)\s*(?P<is>!?=)\s*"(?P<value>[^"]*)")'
)
DAY = 86400
Matches = Callable[[Mapping[str, str]], bool]


def missing(name: str) -> ApiError:
    return ApiError(404, f"Resource not found (resource={name.rpartition('/')[2]}).")


def check_name(full: str) -> None:
    kind, _, short = full.rpartition("/")
    if not NAME.fullmatch(short):
        raise invalid("name", f"Invalid [{kind.rpartition('/')[2]}] name: (name={full})")


def seconds(text: str, field: str, least: float, most: float) -> float:
    """A duration. Raises 400 outside of its limits."""
    if not re.fullmatch(r"\d+(\.\d{1,9})?s", text):
        raise invalid(field, f"Illegal duration format; duration must end with 's': '{text}'")
    value = float(text[:-1])
    if not least <= value <= most:
        raise invalid(field, f"Invalid {field}: {text}. It must be between {least:g} and {most:g} seconds.")
    return value


def filled(body: Body) -> Body:
    """A subscription with what the service fills in. Raises 400."""
    deadline = body.get("ackDeadlineSeconds") or 10
    if not 10 <= deadline <= 600:
        text = f"Invalid ack deadline given (ackDeadlineSeconds={deadline}). It must be between 10 and 600."
        raise invalid("ackDeadlineSeconds", text)
    retention = body.get("messageRetentionDuration") or f"{7 * DAY}s"
    seconds(retention, "message_retention_duration", 600, 31 * DAY)
    expiration = body.get("expirationPolicy", {"ttl": f"{31 * DAY}s"})
    ttl = expiration.get("ttl")
    if ttl and seconds(ttl, "expiration_policy.ttl", DAY, 365 * DAY) < float(retention[:-1]):
        raise invalid("expiration_policy", "The expiration policy's ttl is less than the message retention.")
    parse_filter(body.get("filter", ""))
    found = {
        **body,
        "ackDeadlineSeconds": deadline,
        "messageRetentionDuration": retention,
        "expirationPolicy": expiration,
        "pushConfig": _push(body.get("pushConfig", {})),
        "state": "ACTIVE",
    }
    if "retryPolicy" in body:
        found["retryPolicy"] = _retry(body["retryPolicy"])
    if "deadLetterPolicy" in body:
        found["deadLetterPolicy"] = _dead_letter(body["deadLetterPolicy"])
    return found


def _push(push: Body) -> Body:
    endpoint = push.get("pushEndpoint", "")
    if not endpoint:
        return {}
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname or " " in endpoint:
        raise invalid("pushEndpoint", f"Invalid push endpoint given (endpoint={endpoint}).")
    if "oidcToken" in push and "@" not in push["oidcToken"].get("serviceAccountEmail", ""):
        raise invalid("oidcToken", "Invalid service account email in the OIDC token of the push config.")
    return {**push, "attributes": {"x-goog-version": "v1", **push.get("attributes", {})}}


def _retry(policy: Body) -> Body:
    found = {"minimumBackoff": "10s", "maximumBackoff": "600s", **policy}
    least = seconds(found["minimumBackoff"], "minimum_backoff", 0, 600)
    if seconds(found["maximumBackoff"], "maximum_backoff", 0, 600) < least:
        raise invalid("retryPolicy", "The minimum backoff must not be greater than the maximum backoff.")
    return found


def _dead_letter(policy: Body) -> Body:
    attempts = policy.get("maxDeliveryAttempts") or 5
    if not 5 <= attempts <= 100:
        text = f"Invalid maxDeliveryAttempts: {attempts}. It must be between 5 and 100."
        raise invalid("deadLetterPolicy.maxDeliveryAttempts", text)
    if not policy.get("deadLetterTopic"):
        raise invalid("deadLetterPolicy.deadLetterTopic", "A dead letter topic must be given.")
    return {**policy, "maxDeliveryAttempts": attempts}


def parse_filter(text: str) -> Matches:
    """Terms on attributes joined by AND or by OR, without brackets. Raises 400 for another one."""
    if not text:
        return lambda attributes: True
    if len(text) > 256:
        raise invalid("filter", "Invalid filter: it is longer than 256 bytes.")
    join = any if re.search(r"\sOR\s", text) else all
    terms = [
        TERM.fullmatch(term.strip()) for term in re.split(r"\sOR\s" if join is any else r"\sAND\s", text)
    ]
    known = [term for term in terms if term]
    if len(known) < len(terms):
        raise invalid("filter", f"Invalid filter (filter={text}).")
    return lambda attributes: join(_holds(term, attributes) for term in known)


def _holds(term: re.Match[str], attributes: Mapping[str, str]) -> bool:
    if term["has"]:
        found = term["has"] in attributes
    elif term["prefixed"]:
        found = attributes.get(term["prefixed"], "").startswith(term["prefix"])
    else:
        found = (attributes.get(term["key"]) == term["value"]) == (term["is"] == "=")
    return found != bool(term["no"])
