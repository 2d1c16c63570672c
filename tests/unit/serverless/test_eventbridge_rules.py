"""Rules of EventBridge: what is written in the words of AWS, and an answer that took a part only."""

from __future__ import annotations

from typing import Any

import pytest

from triplane.core.errors import InputError, TransientError
from triplane.serverless.aws.eventbridge_rules import EventBridgeRules
from triplane.serverless.events.source import Wanted
from triplane.serverless.target import UNKNOWN, DeployFailed

CALLS = "arn:aws:lambda:eu-west-1:123456789012:function:hook:live"
OPTIONS: dict[str, Any] = {"function": CALLS, "every": 3600}


class Events:
    """boto3's client of ``events``, which takes the rule and refuses its target."""

    def __init__(self, code: str) -> None:
        self.code = code

    def put_rule(self, **rule: Any) -> Any:
        return {"RuleArn": f"arn:aws:events:eu-west-1:123456789012:rule/{rule['Name']}"}

    def put_targets(self, **targets: Any) -> Any:
        entry = {"TargetId": "triplane", "ErrorCode": self.code, "ErrorMessage": "no"}
        return {"FailedEntryCount": 1, "FailedEntries": [entry]}


class Functions:
    """boto3's client of ``lambda``; ``permitted`` is what it was asked to allow."""

    def __init__(self) -> None:
        self.permitted: list[dict[str, Any]] = []

    def get_policy(self, **which: Any) -> Any:
        return {"Policy": '{"Statement": []}'}

    def add_permission(self, **asked: Any) -> None:
        self.permitted.append(asked)


def settings(**options: Any) -> dict[str, Any]:
    return EventBridgeRules(Events(""), Functions()).settings("nightly", {**OPTIONS, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": "Europe/Berlin"}, "take the target 'eventbridge'"),
        ({"function": None, "url": "https://x"}, "call no URLs"),
        ({"function": "arn:aws:sqs:eu-west-1:123456789012:queue"}, "no Lambda function"),
        ({"retries": 186}, "from 0 to 185"),
        ({"every": 90}, "whole minutes"),
    ],
)
def test_what_rules_cannot_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**options)


def test_what_is_written() -> None:
    found = settings(payload={"a": 1}, enabled=False)
    assert (found["schedule"], found["payload"], found["enabled"]) == ("rate(1 hour)", '{"a": 1}', False)
    assert settings(function=UNKNOWN)["calls"] is UNKNOWN


@pytest.mark.parametrize(
    ("code", "kind"),
    [("ConcurrentModificationException", TransientError), ("ResourceNotFoundException", DeployFailed)],
)
def test_an_answer_that_took_a_part_only(code: str, kind: type[Exception]) -> None:
    functions = Functions()
    target = EventBridgeRules(Events(code), functions)
    with pytest.raises(kind, match=code):
        target.apply(Wanted(name="nightly", settings=settings()), None, print)
    (asked,) = functions.permitted
    assert (asked["Qualifier"], asked["Principal"]) == ("live", "events.amazonaws.com")
    assert asked["SourceArn"].endswith(":rule/nightly")
