"""Schedules in a spec: what calls a function, or a URL, again and again."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from triplane.core.errors import InputError
from triplane.spec.drift import Drift
from triplane.spec.functions import Instances, Reference
from triplane.spec.values import Duration, Name, Value


class Event(Value):
    """What calls a function by itself; ``target`` is a service of the cloud.

    ``name`` is its name at the cloud, by default ``<platform>-<environment>-<key>``.
    """

    target: str
    name: str | None = None
    function: Name | None = None
    """One of the cloud's ``functions``."""
    enabled: bool | Reference = True
    drift: Annotated[Drift, Field(default_factory=Drift)]

    def options(self) -> dict[str, Any]:
        """What the target calls its options, all but the function; durations in seconds."""
        ours = {*Event.model_fields} - {"enabled"}
        return {key: value for key, value in self.asdict().items() if key not in ours}


class Schedule(Event):
    """Either ``cron``, five fields as Unix knows them, or ``every`` so often."""

    calls: ClassVar[tuple[str, ...]] = ("function", "url")

    cron: str | None = None
    every: Duration | None = None
    timezone: str = "UTC"
    """A name of IANA: ``Europe/Berlin``."""
    payload: Any = None
    """Text as it is, all else as JSON."""
    retries: Instances | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = [name for name in self.calls if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a schedule here needs {' or '.join(map(repr, self.calls))}, exactly one")
        if (self.cron is None) == (self.every is None):
            raise ValueError("a schedule needs exactly one of 'cron' and 'every'")
        if "${" not in f"{self.cron}{self.timezone}":
            self._sayable()
        return self

    def _sayable(self) -> None:
        from triplane.core import cron_services

        every = None if self.every is None else self.every.total_seconds()
        try:
            cron_services.check(self.target, cron=self.cron, every=every, zone=self.timezone)
        except InputError as error:
            raise ValueError(str(error)) from None


class AwsSchedule(Schedule):
    """A schedule of Amazon EventBridge Scheduler, or a rule of EventBridge, which goes by UTC."""

    calls = ("function",)

    target: Literal["eventbridge", "eventbridge_rules"] = "eventbridge"
    role: str | None = None
    """As whom EventBridge Scheduler calls the function."""
    dead_letter: str | None = None
    """ARN of an SQS queue for what could not be delivered."""

    @model_validator(mode="after")
    def _caller(self) -> Self:
        if (self.role is None) == (self.target == "eventbridge"):
            needs = "needs a 'role' to call the function as" if self.role is None else "takes no 'role'"
            raise ValueError(f"{self.target} {needs}")
        return self


class GcpSchedule(Schedule):
    """A job of Google Cloud Scheduler."""

    target: Literal["cloud_scheduler"] = "cloud_scheduler"
    url: str | None = None
    path: str | None = None
    """Added to the function's URL."""
    service_account: str | None = None
    """As whom it calls."""


class AzureSchedule(Schedule):
    """A workflow of Azure Logic Apps, started by a recurrence."""

    target: Literal["logic_apps"] = "logic_apps"
    url: str | None = None
    path: str | None = None
    """Added to the function's URL."""
