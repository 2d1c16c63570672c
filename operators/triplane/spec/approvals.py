"""Who must agree to a change of an environment, and when it may be changed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from itertools import combinations
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator
from pydantic import WithJsonSchema as JsonSchema

from triplane.spec.values import Duration, Name, Value

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RISKS = ("low", "medium", "high", "critical")
People = Annotated[tuple[str, ...], Field(strict=False)]


def _zone(value: Any) -> Any:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, TypeError, OSError):
        raise ValueError(f"{value!r} is not a time zone such as Europe/Berlin") from None
    return value


def _days(value: Any) -> Any:
    """``mon-thu``, ``sat`` or a list of such."""
    found: list[int] = []
    for part in [value] if isinstance(value, str) else value or ():
        first, dash, last = str(part).partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{part!r} is not a day or a range of days such as mon-fri")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found += [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    return tuple(sorted(set(found)))


def _time(value: Any) -> Any:
    """``"09:00"``; YAML reads 9:00 without quotes as a number of seconds or minutes."""
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f'{value!r} is not a time of the day: write it in quotes, such as "09:00"')
    return time.fromisoformat(value)


def _every_day() -> tuple[int, ...]:
    return tuple(range(7))


DAYS_SCHEMA = JsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
Zone = Annotated[str, BeforeValidator(_zone)]
TimeOfDay = Annotated[time, BeforeValidator(_time)]


class DeploymentWindow(Value):
    """A time of the week at which the environment may be changed."""

    days: Annotated[
        tuple[int, ...], BeforeValidator(_days), Field(min_length=1, default_factory=_every_day), DAYS_SCHEMA
    ]
    """Days of the week: ``mon-thu``, ``[sat, sun]``; every day where it is left out."""
    start: Annotated[TimeOfDay, Field(alias="from")]
    """Time of the day, in quotes: ``"09:00"``."""
    end: Annotated[TimeOfDay, Field(alias="to")]
    """Time of the day; of the next one where it is not later than ``from``."""
    timezone: Zone = "UTC"
    """A name of IANA."""


class DeploymentFreeze(Value):
    """Days, both included, on which the environment is not changed."""

    first: Annotated[date, Field(strict=False, alias="from")]
    """The first day: ``2026-12-20``."""
    last: Annotated[date, Field(strict=False, alias="to")]
    """The last day."""
    reason: Annotated[str, Field(min_length=1)]
    """Why; whoever has to wait reads it."""
    timezone: Zone = "UTC"
    """A name of IANA."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError("a freeze ends on the day it begins, or later")
        if self.last.year == date.max.year:
            raise ValueError("a freeze ends before the year 9999")
        return self


def _among(users: Sequence[str], may: set[str]) -> set[str]:
    return set(users) & may if may else set(users)


def _fewest(groups: Sequence[set[str]]) -> int:
    """How few people are enough to have somebody of each group; 0 if nobody is in one of them."""
    everybody: set[str] = set().union(*groups)
    roles = {frozenset(number for number, users in enumerate(groups) if user in users) for user in everybody}
    return next(
        (
            size
            for size in range(1, len(groups) + 1)
            for some in combinations(roles, size)
            if len(frozenset().union(*some)) == len(groups)
        ),
        0,
    )


class Approval(Value):
    """How many different people must approve a change of each risk; 0 passes without asking."""

    low: Annotated[int, Field(ge=0, le=10)] = 1
    medium: Annotated[int, Field(ge=0, le=10)] = 1
    high: Annotated[int, Field(ge=1, le=10)] = 1
    critical: Annotated[int, Field(ge=1, le=10)] = 1
    emergency: Annotated[int, Field(ge=1, le=10)] = 2
    """How many, at least, where a run does not wait for a deployment window."""
    expires: Duration = timedelta(hours=24)
    """How long a decision holds."""
    plan_max_age: Duration = timedelta(hours=24)
    """How old a plan may be when it is applied."""
    remind: Duration | None = None
    """After how long without an answer people are reminded, and again after as long."""
    requester_may_approve: bool = False
    approvers: People = ()
    """User names, or names of groups, that may decide; empty means everybody who may answer in Airflow."""
    required: dict[
        Literal["low", "medium", "high", "critical"], Annotated[tuple[Name, ...], Field(strict=False)]
    ] = {}
    """Risk -> groups of which somebody must approve it."""
    reason_from: Literal["low", "medium", "high", "critical", "never"] = "high"
    """From which risk on an approval needs a reason."""

    def problems(self, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Why nobody could ever approve something."""
        may = set(self.people(groups))
        needed = max(self.low, self.medium, self.high, self.critical)
        if may and needed > len(may):
            yield f"{needed} approvals are needed, but only {len(may)} may give one"
        elif may and "emergency" in self.model_fields_set and self.emergency > len(may):
            yield (
                f"an emergency needs {self.emergency} approvals, but only {len(may)} may give one: "
                "name more approvers, or set 'emergency' lower"
            )
        for risk, names in self.required.items():
            for name in names:
                users = set(groups.get(name, ()))
                if name in groups and may and not users & may:
                    yield f"a change of {risk} risk needs somebody of {name}, but none of them is among the approvers"
            if not getattr(self, risk) and names:
                yield f"a change of {risk} risk asks nobody ({risk}: 0), and needs somebody of {', '.join(names)}"
            elif (least := _fewest([_among(groups.get(name, ()), may) for name in names])) > getattr(
                self, risk
            ):
                yield (
                    f"a change of {risk} risk asks {getattr(self, risk)} people, but it takes {least} to have "
                    f"somebody of each of {', '.join(names)}"
                )

    def people(self, groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """The users that may decide, with groups replaced by their members."""
        users = (user for name in self.approvers for user in groups.get(name, (name,)))
        return tuple(dict.fromkeys(users))

    def policy(
        self,
        groups: Mapping[str, Sequence[str]],
        windows: Sequence[DeploymentWindow] = (),
        freezes: Sequence[DeploymentFreeze] = (),
    ) -> dict[str, Any]:
        """The same as :class:`triplane.core.approval.Policy` writes it in a change set."""
        return {
            "votes": {risk: getattr(self, risk) for risk in RISKS},
            "emergency": self.emergency,
            "expires": self.expires.total_seconds(),
            "plan_max_age": self.plan_max_age.total_seconds(),
            "remind": self.remind.total_seconds() if self.remind else 0.0,
            "requester_may_approve": self.requester_may_approve,
            "approvers": list(self.people(groups)),
            "required": {
                risk: {name: list(groups[name]) for name in names} for risk, names in self.required.items()
            },
            "reason_from": self.reason_from,
            "calendar": {
                "windows": [window.asdict() for window in windows],
                "freezes": [freeze.asdict() for freeze in freezes],
            },
        }
