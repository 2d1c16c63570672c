"""Rules of EventBridge: one on the default bus that calls the alias ``live`` of a Lambda function by the clock of UTC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from triplane.core.errors import InputError, TransientError
from triplane.serverless.aws import access
from triplane.serverless.aws.errors import errors, found
from triplane.serverless.aws.eventbridge import EVENT_AGE, MOST_RETRIES
from triplane.serverless.aws.lambda_settings import ALIAS
from triplane.serverless.events.schedules import COMMON, expression, one_target, retries
from triplane.serverless.events.source import Done, Found, Options, Progress, Wanted, text_of
from triplane.serverless.target import UNKNOWN, DeployFailed, Log, Unknown

TARGET: Final = "triplane"
SERVICE: Final = "events.amazonaws.com"
_TAKEN: Final = ("Name", "ScheduleExpression", "EventPattern", "State", "Description", "RoleArn")
_BUSY: Final = frozenset({"ConcurrentModificationException", "InternalException", "ThrottlingException"})


class EventBridgeRules:
    """Rules of one region; ``client`` is boto3's of ``events``, ``functions`` that of ``lambda``.

    Lambda lets a rule call by a statement in the policy of the alias, the setting ``permission``.
    """

    options = COMMON
    fixed: frozenset[str] = frozenset()

    def __init__(self, client: Any, functions: Any) -> None:
        self._client = client
        self._functions = functions

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        one_target(name, options)
        if options.get("url"):
            raise InputError(f"{name}: rules of EventBridge call no URLs here; give 'function'")
        return {
            "schedule": expression("eventbridge_rules", options),
            "calls": self._function(name, options["function"]),
            "payload": text_of(options.get("payload")),
            "retries": retries(name, options, MOST_RETRIES, MOST_RETRIES),
            "dead_letter": options.get("dead_letter") or "",
            "enabled": options.get("enabled", True),
            "permission": True,
            "other": {},
        }

    def _function(self, name: str, function: Any) -> Any:
        """``UNKNOWN`` while it is not there."""
        if isinstance(function, Unknown):
            return function
        if str(function).startswith("arn:"):
            if not _which(function):
                raise InputError(f"{name}: {function} is no Lambda function")
            return function
        with errors(f"reading function {function}"):
            alias = found(self._functions.get_alias, FunctionName=function, Name=ALIAS)
        return UNKNOWN if alias is None else alias["AliasArn"]

    def observe(self, wanted: Wanted) -> Found | None:
        """A rule that calls nobody is not there yet, or not any more."""
        with errors(f"reading rule {wanted.name}"):
            rule = found(self._client.describe_rule, Name=wanted.name)
            targets = self._targets(wanted.name) if rule else []
            if not targets:
                return None
            raw = {"rule": {key: rule[key] for key in _TAKEN if rule.get(key)}, "targets": targets}
            settings = _settings(raw)
            if "calls" in settings and self._permitted(settings["calls"], rule["Arn"]):
                settings["permission"] = True
            return Found(settings=settings, id=rule["Arn"], raw=raw)

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        """Each call makes all of its part, and may be made again."""
        settings = wanted.known()
        if found is not None and dict(found.settings) == settings:
            return Done(details={"rule": found.id})
        log(f"{wanted.name}: {'updating' if found else 'creating'} the rule {settings['schedule']}")
        rule, target = _bodies(wanted.name, settings)
        with errors(f"configuring rule {wanted.name}"):
            arn = self._send(rule, [target], [settings["calls"]])
            before = found.settings.get("calls") if found else None
            if before not in (None, settings["calls"]):
                self._forbid(before, arn)
        return Done(details={"rule": arn})

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        if previous is None:
            return self.delete(wanted)
        log(f"{wanted.name}: putting back the rule of before")
        calls = previous.settings.get("calls")
        permitted = [calls] if previous.settings.get("permission") else []
        with errors(f"putting back rule {wanted.name}"):
            arn = self._send(previous.raw["rule"], previous.raw["targets"], permitted)
            if wanted.settings["calls"] not in permitted:
                self._forbid(wanted.settings["calls"], arn)
        return Done(details={"rule": arn})

    def delete(self, wanted: Wanted) -> Progress:
        """In an order in which it is found again when it is cut off."""
        with errors(f"deleting rule {wanted.name}"):
            rule = found(self._client.describe_rule, Name=wanted.name)
            if rule is None:
                return Done()
            targets = self._targets(wanted.name)
            if targets:
                ids = [each["Id"] for each in targets]
                _whole(self._client.remove_targets(Rule=wanted.name, Ids=ids))
            for calls in {each["Arn"] for each in targets} | {wanted.settings.get("calls")}:
                self._forbid(calls, rule["Arn"])
            self._client.delete_rule(Name=wanted.name)
        return Done()

    def _send(self, rule: Mapping[str, Any], targets: list[Any], permitted: list[Any]) -> str:
        """The rule and exactly these targets; returns its ARN."""
        name = rule["Name"]
        arn = str(self._client.put_rule(**rule)["RuleArn"])
        for calls in permitted:
            self._permit(calls, arn)
        if targets:
            _whole(self._client.put_targets(Rule=name, Targets=targets))
        kept = {each["Id"] for each in targets}
        if strange := [each["Id"] for each in self._targets(name) if each["Id"] not in kept]:
            _whole(self._client.remove_targets(Rule=name, Ids=strange))
        return arn

    def _targets(self, name: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("list_targets_by_rule").paginate(Rule=name)
        return [dict(each) for page in pages for each in page["Targets"]]

    def _permitted(self, calls: str, rule: str) -> bool:
        which = _which(calls)
        policy = found(self._functions.get_policy, **which) if which else None
        statements = json.loads(policy["Policy"])["Statement"] if policy else []
        return any(access.invoker_of(each) == f"{SERVICE} {rule}" for each in statements)

    def _permit(self, calls: Any, rule: str) -> None:
        """A statement that is there already was made by a call that was cut off."""
        if self._permitted(calls, rule):
            return
        who = {"Principal": SERVICE, "SourceArn": rule, "Action": "lambda:InvokeFunction"}
        sid = access.sid_of(f"{SERVICE} {rule}")
        found(
            self._functions.add_permission,
            "ResourceConflictException",
            StatementId=sid,
            **_which(calls),
            **who,
        )

    def _forbid(self, calls: Any, rule: str) -> None:
        if which := _which(calls):
            sid = access.sid_of(f"{SERVICE} {rule}")
            found(self._functions.remove_permission, StatementId=sid, **which)


def _which(calls: Any) -> dict[str, str]:
    """The function and its alias, nothing for what is no function."""
    name, _, qualifier = str(calls).partition(":function:")[2].partition(":")
    if not name:
        return {}
    return {
        "FunctionName": str(calls).removesuffix(f":{qualifier}"),
        **({"Qualifier": qualifier} if qualifier else {}),
    }


def _whole(answer: Mapping[str, Any]) -> None:
    """:raises DeployFailed: EventBridge took a part only"""
    for entry in answer.get("FailedEntries") or ():
        said = f"{entry.get('TargetId')}: {entry.get('ErrorCode')}: {entry.get('ErrorMessage')}"
        raise (TransientError if entry.get("ErrorCode") in _BUSY else DeployFailed)(said)


def _bodies(name: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    state = "ENABLED" if settings["enabled"] else "DISABLED"
    rule = {"Name": name, "ScheduleExpression": settings["schedule"], "State": state}
    policy = {"MaximumRetryAttempts": settings["retries"], "MaximumEventAgeInSeconds": EVENT_AGE}
    target = {"Id": TARGET, "Arn": settings["calls"], "RetryPolicy": policy}
    if settings["payload"]:
        target["Input"] = settings["payload"]
    if settings["dead_letter"]:
        target["DeadLetterConfig"] = {"Arn": settings["dead_letter"]}
    return rule, target


def _settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``other`` holds what a deployment never sets. Of a target that is not there nothing is said."""
    rule = dict(raw["rule"])
    settings: dict[str, Any] = {
        "schedule": rule.pop("ScheduleExpression", ""),
        "enabled": rule.pop("State", "ENABLED") == "ENABLED",
    }
    rule.pop("Name")
    other = {key: str(value) for key, value in rule.items()}
    for each in raw["targets"]:
        if each["Id"] != TARGET:
            other[f"target {each['Id']}"] = each["Arn"]
            continue
        target = {key: value for key, value in each.items() if key != "Id" and value is not None}
        policy = dict(target.pop("RetryPolicy", {}))
        settings |= {
            "calls": target.pop("Arn"),
            "payload": target.pop("Input", ""),
            "retries": policy.pop("MaximumRetryAttempts", MOST_RETRIES),
            "dead_letter": (target.pop("DeadLetterConfig", None) or {}).get("Arn", ""),
        }
        if policy.get("MaximumEventAgeInSeconds", EVENT_AGE) != EVENT_AGE:
            other["MaximumEventAgeInSeconds"] = str(policy["MaximumEventAgeInSeconds"])
        other |= {key: str(value) for key, value in target.items()}
    return {**settings, "other": other}
