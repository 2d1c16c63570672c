"""Schedules of EventBridge as they are taken: expressions, time zones, roles and tokens are looked at.

They do not go off by themselves.
"""

from __future__ import annotations

import json
import re
import zoneinfo
from typing import Any

from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.scheduler.exceptions import ValidationException
from moto.scheduler.responses import EventBridgeSchedulerResponse

from triplane.sandbox.aws_server.accounts import ACCOUNT

RATE = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minutes|hours|days))\)")
CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
AT = re.compile(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)")


def install() -> None:
    """Put it over moto's."""
    create, update = (
        EventBridgeSchedulerResponse.create_schedule,
        EventBridgeSchedulerResponse.update_schedule,
    )
    done: dict[str, tuple[str, str]] = {}

    def once(call: Any) -> Any:
        def respond(self: Any) -> str:
            asked = json.loads(self.body)
            token = f"{self.region}:{self.uri}:{asked.pop('ClientToken', '')}"
            body = json.dumps([call.__name__, asked], sort_keys=True)
            if token in done and done[token][0] == body:
                return done[token][1]
            _check(asked)
            answer = str(call(self))
            if not token.endswith(":"):
                done[token] = (body, answer)
            return answer

        return respond

    EventBridgeSchedulerResponse.create_schedule = once(create)
    EventBridgeSchedulerResponse.update_schedule = once(update)


def _check(asked: dict[str, Any]) -> None:
    expression = asked["ScheduleExpression"]
    cron = CRON.fullmatch(expression)
    if not (RATE.fullmatch(expression) or AT.fullmatch(expression) or (cron and "?" in (cron[3], cron[5]))):
        raise ValidationException(f"Invalid Schedule Expression {expression}.")
    zone = asked.get("ScheduleExpressionTimezone", "UTC")
    if zone not in zoneinfo.available_timezones():
        raise ValidationException(f"Invalid ScheduleExpressionTimezone {zone}.")
    if not trusts(asked["Target"]["RoleArn"], "scheduler.amazonaws.com"):
        raise ValidationException(
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        )


def trusts(role: str, service: str) -> bool:
    """Whether ``service`` can assume ``role``."""
    try:
        found = iam_backends[ACCOUNT]["aws"].get_role_by_arn(role)
    except NotFoundException:
        return False
    said = json.loads(found.assume_role_policy_document)["Statement"]
    statements = said if isinstance(said, list) else [said]
    named = [each.get("Principal", {}).get("Service", []) for each in statements if each["Effect"] == "Allow"]
    return any(service in ([each] if isinstance(each, str) else each) for each in named)
