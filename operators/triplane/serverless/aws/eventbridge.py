"""EventBridge Scheduler: a schedule in a group that calls the alias ``live`` of a Lambda function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from triplane.core.errors import InputError, StaleError
from triplane.serverless.aws.errors import code_of, errors
from triplane.serverless.events.schedules import COMMON, expression, one_target, retries
from triplane.serverless.events.source import Done, Found, Options, Progress, Wanted, text_of
from triplane.serverless.target import UNKNOWN, Log, Unknown, Waiting

ALIAS = "live"
MOST_RETRIES = 185
EVENT_AGE = 86400
_ROLE = re.compile(r"arn:(?P<partition>[\w-]+):iam::(?P<account>\d{12}):role/.+")
_ANSWER_ONLY: Final = frozenset({"Arn", "CreationDate", "LastModificationDate", "ResponseMetadata"})
_KNOWN: Final = frozenset(
    {
        *("Name", "GroupName", "Description", "ScheduleExpression", "ScheduleExpressionTimezone"),
        *("FlexibleTimeWindow", "State", "Target"),
    }
)


class EventBridge:
    """Schedules of one region and group; ``client`` is boto3's of ``scheduler``."""

    options = COMMON | {"role"}
    fixed: frozenset[str] = frozenset()

    def __init__(self, client: Any, *, region: str, group: str = "default") -> None:
        self._client = client
        self._region = region
        self._group = group

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        """The Lambda function is in the account of ``role``."""
        one_target(name, options)
        if options.get("url"):
            raise InputError(f"{name}: EventBridge Scheduler calls no URLs; give 'function'")
        role = options.get("role")
        if not role:
            raise InputError(f"{name}: EventBridge Scheduler needs the 'role' that may invoke the function")
        return {
            "schedule": expression("eventbridge", options),
            "timezone": options.get("timezone") or "UTC",
            "calls": self._function(name, options["function"], role),
            "role": role,
            "payload": text_of(options.get("payload")),
            "retries": retries(name, options, MOST_RETRIES, MOST_RETRIES),
            "dead_letter": options.get("dead_letter") or "",
            "enabled": options.get("enabled", True),
            "window": "OFF",
            "other": {},
        }

    def _function(self, name: str, function: Any, role: Any) -> Any:
        if isinstance(role, Unknown) or isinstance(function, Unknown):
            return UNKNOWN
        if str(function).startswith("arn:"):
            return function
        match = _ROLE.fullmatch(str(role))
        if match is None:
            raise InputError(f"{name}: give 'role' as an ARN (arn:aws:iam::<account>:role/<name>)")
        return (
            f"arn:{match['partition']}:lambda:{self._region}:{match['account']}:function:{function}:{ALIAS}"
        )

    def observe(self, wanted: Wanted) -> Found | None:
        with errors(f"reading schedule {wanted.name}"):
            try:
                found = self._client.get_schedule(Name=wanted.name, GroupName=self._group)
            except self._client.exceptions.ResourceNotFoundException:
                return None
        raw = {key: value for key, value in found.items() if key not in _ANSWER_ONLY and value is not None}
        return Found(settings=_settings(raw), id=str(found.get("Arn", "")), raw=raw)

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        """One call makes all settings."""
        settings = wanted.known()
        if found is not None and dict(found.settings) == settings:
            return Done(details={"group": self._group})
        body = self._body(wanted.name, settings)
        log(f"{wanted.name}: {'updating' if found else 'creating'} the schedule {settings['schedule']}")
        return self._send(wanted, body, new=found is None)

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        now = self.observe(wanted)
        if previous is None:
            return self.delete(wanted)
        if now is not None and now.settings == previous.settings:
            return Done()
        log(f"{wanted.name}: putting back the schedule of before")
        return self._send(wanted, dict(previous.raw), new=now is None)

    def delete(self, wanted: Wanted) -> Progress:
        with errors(f"deleting schedule {wanted.name}"):
            try:
                self._client.delete_schedule(Name=wanted.name, GroupName=self._group)
            except self._client.exceptions.ResourceNotFoundException:
                pass
        return Done()

    def _send(self, wanted: Wanted, body: Mapping[str, Any], *, new: bool) -> Progress:
        """Without a token of ours: a run that is cleared after it was put back sends the same again, and means it."""
        from botocore.exceptions import ClientError

        call = self._client.create_schedule if new else self._client.update_schedule
        with errors(f"configuring schedule {wanted.name}"):
            try:
                call(**body)
            except self._client.exceptions.ValidationException as error:
                if "assume the role" not in str(error):
                    raise
                return Waiting(why="EventBridge Scheduler cannot assume the role yet")
            except ClientError as error:
                if code_of(error) != "ConflictException":
                    raise
                raise StaleError(
                    f"{wanted.name}: {error}; somebody else is at work on it, plan again"
                ) from error
        return Done(details={"group": self._group})

    def _body(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        dead_letter = settings["dead_letter"]
        return {
            "Name": name,
            "GroupName": self._group,
            "ScheduleExpression": settings["schedule"],
            "ScheduleExpressionTimezone": settings["timezone"],
            "FlexibleTimeWindow": {"Mode": settings["window"]},
            "State": "ENABLED" if settings["enabled"] else "DISABLED",
            "Target": {
                "Arn": settings["calls"],
                "RoleArn": settings["role"],
                **({"Input": settings["payload"]} if settings["payload"] else {}),
                "RetryPolicy": {
                    "MaximumRetryAttempts": settings["retries"],
                    "MaximumEventAgeInSeconds": EVENT_AGE,
                },
                **({"DeadLetterConfig": {"Arn": dead_letter}} if dead_letter else {}),
            },
        }


def _settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``other`` holds what a deployment never sets."""
    target = dict(raw["Target"])
    policy = dict(target.pop("RetryPolicy", {}))
    window = dict(raw.get("FlexibleTimeWindow", {}))
    settings = {
        "schedule": raw["ScheduleExpression"],
        "timezone": raw.get("ScheduleExpressionTimezone") or "UTC",
        "calls": target.pop("Arn"),
        "role": target.pop("RoleArn"),
        "payload": target.pop("Input", ""),
        "retries": policy.pop("MaximumRetryAttempts", MOST_RETRIES),
        "dead_letter": (target.pop("DeadLetterConfig", None) or {}).get("Arn", ""),
        "enabled": raw.get("State", "ENABLED") == "ENABLED",
        "window": window.pop("Mode", "OFF"),
    }
    other = {key: str(value) for key, value in raw.items() if key not in _KNOWN}
    if other.get("ActionAfterCompletion") == "NONE":
        del other["ActionAfterCompletion"]
    other |= {key: str(value) for key, value in {**target, **window}.items()}
    if policy.get("MaximumEventAgeInSeconds", EVENT_AGE) != EVENT_AGE:
        other["MaximumEventAgeInSeconds"] = str(policy["MaximumEventAgeInSeconds"])
    return {**settings, "other": other}
