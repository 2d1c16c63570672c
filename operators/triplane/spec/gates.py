"""What has to be good before a deployment goes on: the checks of ``gates:``, by name."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic import WithJsonSchema as JsonSchema

from triplane.spec.values import AirflowName, Duration, Name, Value


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


GateNames = Annotated[
    tuple[Name, ...],
    Field(strict=False),
    BeforeValidator(_names),
    JsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""The names of gates that all have to pass: one, or a list."""
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]
MetricId = Annotated[str, StringConstraints(pattern=r"^[a-z][A-Za-z0-9_]*$", max_length=255)]
ResourceId = Annotated[str, StringConstraints(pattern=r"^/subscriptions/[^\s]+$")]
MINUTE, WINDOW = timedelta(minutes=1), timedelta(minutes=5)


class Source(Value):
    """Where values come from. ``states``: the key that makes it tell only good and bad."""

    states: ClassVar[str] = ""

    def asked(self) -> dict[str, Any]:
        """What an operator gets; times in seconds."""
        return {name: value for name, value in self.asdict().items() if value not in ([], {})}


class Http(Source):
    """A URL that has to answer well."""

    states = "url"

    url: Url
    """What is asked."""
    status: Annotated[int, Field(ge=100, le=599)] = 200
    """What it must answer."""
    contains: str = ""
    """A text that the answer must hold."""
    timeout: Duration = timedelta(seconds=10)
    """How long it may take."""


class Prometheus(Source):
    """A Prometheus, or with ``cloud`` that cloud's managed one."""

    query: Annotated[str, Field(min_length=1)]
    """PromQL."""
    url: Url | None = None
    """Where it is."""
    connection: AirflowName | None = None
    """Airflow connection of type HTTP, or that of ``cloud``."""
    cloud: Literal["aws", "gcp", "azure"] | None = None
    """Whose managed Prometheus it is."""
    region: str | None = None
    """Of ``cloud: aws``."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.cloud and not self.url:
            raise ValueError("a cloud's Prometheus needs its 'url'")
        if not (self.url or self.connection):
            raise ValueError("give the 'url' of the Prometheus, or an Airflow 'connection'")
        return self


class Metric(Value):
    """One metric of CloudWatch."""

    namespace: str
    """Such as ``AWS/Lambda``."""
    metric: str
    """Its name."""
    dimensions: dict[str, str] = {}
    """Which of its series."""
    stat: str = "Sum"
    """Statistic: ``Sum``, ``Average``, ``p99``."""


class CloudWatch(Source):
    """Metrics of CloudWatch with metric math, or alarms."""

    states = "alarms"

    metrics: dict[MetricId, Metric] = {}
    """Id -> metric."""
    expression: str | None = None
    """Metric math over the ids; needed by several metrics."""
    period: Duration = MINUTE
    """What one value sums up."""
    window: Duration = WINDOW
    """How far back a value may lie."""
    alarms: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names of alarms: good while all are ``OK``."""
    connection: AirflowName | None = None
    """That of the cloud where it is left out."""
    region: str | None = None
    """That of the cloud where it is left out."""

    @model_validator(mode="after")
    def _one_result(self) -> Self:
        if bool(self.metrics) == bool(self.alarms):
            raise ValueError("give either 'metrics' or 'alarms'")
        if len(self.metrics) > 1 and self.expression is None:
            raise ValueError("several metrics need an 'expression', for example errors / calls")
        return self


class CloudMonitoring(Source):
    """Time series of Cloud Monitoring, PromQL, or alerting policies."""

    states = "policies"

    filter: str | None = None
    """Which time series, as in ``timeSeries.list``."""
    aligner: str = "ALIGN_MEAN"
    """How values of one series are put together."""
    reducer: str | None = None
    """How several series are."""
    group_by: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Labels by which series are reduced."""
    alignment: Duration = MINUTE
    """What one value sums up."""
    window: Duration = WINDOW
    """How far back a value may lie."""
    promql: str | None = None
    """A query in place of ``filter``."""
    policies: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Alerting policies: good while none has an open alert."""
    project: str | None = None
    """That of the cloud where it is left out."""
    connection: AirflowName | None = None
    """That of the cloud where it is left out."""

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if sum(map(bool, (self.filter, self.promql, self.policies))) != 1:
            raise ValueError("give exactly one of 'filter', 'promql' and 'policies'")
        return self


class AzureMonitor(Source):
    """A resource's metric, or alert rules."""

    states = "rules"

    resource: ResourceId | None = None
    """Resource id of what is measured."""
    metric: str | None = None
    """Its name."""
    aggregation: Literal["Average", "Total", "Maximum", "Minimum", "Count"] = "Average"
    """How values are put together."""
    namespace: str | None = None
    """The metric's, where the resource has several."""
    filter: str | None = None
    """As in the metrics API."""
    interval: Duration = MINUTE
    """What one value sums up."""
    window: Duration = WINDOW
    """How far back a value may lie."""
    rules: Annotated[tuple[ResourceId, ...], Field(strict=False)] = ()
    """Resource ids of metric alert rules: good while none fires."""
    connection: AirflowName | None = None
    """That of the cloud where it is left out."""

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if bool(self.rules) == bool(self.resource and self.metric):
            raise ValueError("give either 'resource' and 'metric', or 'rules'")
        return self


SOURCES = ("http", "prometheus", "cloudwatch", "cloud_monitoring", "azure_monitor")


class Gate(Value):
    """One check: a source, and which of its values are good."""

    http: Http | None = None
    prometheus: Prometheus | None = None
    cloudwatch: CloudWatch | None = None
    cloud_monitoring: CloudMonitoring | None = None
    azure_monitor: AzureMonitor | None = None
    at_most: float | None = None
    at_least: float | None = None
    against: Literal["before"] | None = None
    """Compared with the value before the deployment."""
    baseline: dict[str, Any] | None = None
    """Compared with the same source, asked with these keys instead."""
    by: Literal["ratio", "difference"] = "ratio"
    lasting: Annotated[Duration, Field(alias="for")] = timedelta(seconds=60)
    """How long it must be good without a break."""
    every: Duration = timedelta(seconds=15)
    no_data: Literal["wait", "fail", "ask"] = "wait"
    patience: Duration = timedelta(minutes=10)
    """How long data that is missing is waited for, in all, before a person is asked too."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        found = [name for name in SOURCES if getattr(self, name) is not None]
        if len(found) != 1:
            raise ValueError(f"a gate has exactly one of {', '.join(SOURCES)}")
        if self.every > self.lasting:
            raise ValueError("'every' must not be longer than 'for'")
        if self.against and self.baseline is not None:
            raise ValueError("a gate compares with the value before, or with a baseline, not with both")
        tells = bool(self.source.states and getattr(self.source, self.source.states))
        bounded = self.at_most is not None or self.at_least is not None
        if tells and (bounded or self.against or self.baseline is not None):
            raise ValueError(
                f"'{self.source.states}' are good or bad by themselves: there is nothing to compare"
            )
        if not tells and not bounded:
            raise ValueError("say 'at_most' or 'at_least', else no value is good or bad")
        self._baseline()
        return self

    @property
    def source(self) -> Source:
        """Its one source."""
        return next(found for name in SOURCES if (found := getattr(self, name)) is not None)

    @property
    def kind(self) -> str:
        """The key of its source."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    def _baseline(self) -> Source | None:
        if self.baseline is None:
            return None
        written = self.source.model_dump(by_alias=True, exclude_unset=True)
        try:
            return type(self.source).model_validate({**written, **self.baseline})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"baseline: {place} {first['msg']}".replace("  ", " ")) from None

    def plain(self, name: str, **defaults: Any) -> dict[str, Any]:
        """What operators get, see ``triplane.gates.check``; ``defaults`` are for keys of the query."""
        baseline = self._baseline()
        against = "baseline" if baseline else self.against or "nothing"
        return {
            "name": name,
            "source": self.kind,
            "query": {**defaults, **self.source.asked()},
            "at_most": self.at_most,
            "at_least": self.at_least,
            "against": against,
            "by": self.by,
            "baseline": {**defaults, **baseline.asked()} if baseline else None,
            "lasting": self.lasting.total_seconds(),
            "every": self.every.total_seconds(),
            "no_data": self.no_data,
            "patience": self.patience.total_seconds(),
        }
