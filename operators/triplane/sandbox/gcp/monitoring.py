"""Cloud Monitoring: time series that a test or a project writes, alerting policies, and their alerts.

Metrics of the project's own (``custom.googleapis.com/...``) come by ``timeSeries.create``, as from a customer; those
of services by ``POST /_sandbox/series`` with ``{"type", "labels": {}, "resource": {"type", "labels"}, "value", "at"}``.
"""

from __future__ import annotations

import math
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.state import Body, Call, Handler, State, merge

PREFIX = "monitoring.projects"
OWN = ("custom.googleapis.com/", "external.googleapis.com/", "workload.googleapis.com/")
SERVICES = frozenset(
    f"{service}/{name}"
    for service, names in {
        "run.googleapis.com": ("request_count", "request_latencies", "container/instance_count"),
        "cloudfunctions.googleapis.com": ("function/execution_count", "function/execution_times"),
    }.items()
    for name in names
)
LONGEST_SECONDS = 25 * 3600
_CONDITION = re.compile(r'\s*([\w.]+(?:\."[^"]+")?)\s*(=|!=)\s*(?:"([^"]*)"|starts_with\("([^"]*)"\))\s*')
_REDUCE: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum,
    "MEAN": statistics.fmean,
    "MAX": max,
    "MIN": min,
    "COUNT": lambda values: float(len(values)),
}
Key = tuple[str, tuple[tuple[str, str], ...], str, tuple[tuple[str, str], ...]]


class Monitoring:
    """``projects.timeSeries``, ``projects.alertPolicies`` and ``projects.alerts``."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._points: dict[Key, list[tuple[float, float]]] = defaultdict(list)

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.timeSeries.list": self.listed,
            f"{PREFIX}.timeSeries.create": self.create,
            f"{PREFIX}.alertPolicies.create": self.create_policy,
            f"{PREFIX}.alertPolicies.get": lambda call: self._state.get(call.params["name"]),
            f"{PREFIX}.alertPolicies.patch": self.patch_policy,
            f"{PREFIX}.alertPolicies.delete": self.delete_policy,
            f"{PREFIX}.alerts.list": self.alerts,
        }

    def write(self, body: Mapping[str, Any]) -> None:
        """One point of a series, from a test."""
        resource = body.get("resource", {"type": "global", "labels": {}})
        key = (
            body["type"],
            _pairs(body.get("labels", {})),
            resource["type"],
            _pairs(resource.get("labels", {})),
        )
        self._points[key].append((float(body.get("at", time.time())), float(body["value"])))

    def fire(self, body: Mapping[str, Any]) -> None:
        """Open (or close) the alert of a policy, from a test: ``{"policy", "state"}``."""
        name = f"projects/{body['policy'].split('/')[1]}/alerts/{body['policy'].rpartition('/')[2]}"
        policy = self._state.get(body["policy"])
        kept = {"name": policy["name"], "displayName": policy.get("displayName", "")}
        self._state.resources[name] = {"name": name, "state": body["state"], "policy": kept}

    def create(self, call: Call) -> Body:
        for index, series in enumerate(call.body.get("timeSeries", ())):
            kind = series.get("metric", {}).get("type", "")
            if not kind.startswith(OWN):
                raise invalid(
                    f"time_series[{index}].metric.type", f"Metric type {kind} cannot be written by a project."
                )
            points = series.get("points", [])
            if len(points) != 1:
                raise invalid(
                    f"time_series[{index}].points", "Exactly one point must be given for each series."
                )
            number = points[0]["value"]
            self.write(
                {
                    "type": kind,
                    "labels": series["metric"].get("labels", {}),
                    "resource": series.get("resource", {"type": "global", "labels": {}}),
                    "value": number.get("doubleValue", number.get("int64Value", 0)),
                    "at": _moment(points[0]["interval"].get("endTime"), "interval.end_time"),
                }
            )
        return {}

    def listed(self, call: Call) -> Body:
        asked = call.params
        start = _moment(
            asked.get("interval.startTime") or asked.get("interval.endTime"), "interval.start_time"
        )
        end = _moment(asked.get("interval.endTime"), "interval.end_time")
        if start > end:
            raise invalid("interval", "The start time must be before the end time.")
        conditions = parse(str(asked.get("filter", "")))
        kind = next((value for name, way, value in conditions if (name, way) == ("metric.type", "=")), None)
        if kind is None:
            raise invalid("filter", 'The filter must specify a single metric type (metric.type = "...").')
        if kind not in SERVICES and kind not in {key[0] for key in self._points}:
            raise ApiError(404, f"Cannot find metric(s) that match type = \"{kind}\". If a metric was created "
                                "recently, it could take up to 10 minutes to become available.")  # fmt: skip
        period = _alignment(asked, end - start)
        found = {
            key: points
            for key, points in self._points.items()
            if all(_meets(key, each) for each in conditions)
        }
        groups = _grouped(found, asked)
        series = [_series(key, _aligned(points, asked, start, end, period)) for key, points in groups]
        return {"timeSeries": [each for each in series if each["points"]], "unit": "1"}

    def create_policy(self, call: Call) -> Body:
        if not call.body.get("conditions"):
            raise invalid("alert_policy.conditions", "Field must contain at least one condition.")
        name = f"{call.params['name']}/alertPolicies/{len(self._state.resources) + 10**6}"
        self._state.resources[name] = {"enabled": True, **call.body, "name": name}
        return self._state.get(name)

    def patch_policy(self, call: Call) -> Body:
        merge(self._state.live(call.params["name"]), call.body, call.params.get("updateMask"))
        return self._state.get(call.params["name"])

    def delete_policy(self, call: Call) -> Body:
        self._state.live(call.params["name"])
        del self._state.resources[call.params["name"]]
        return {}

    def alerts(self, call: Call) -> Body:
        wanted = str(call.params.get("filter", ""))
        found = self._state.below(f"{call.params['parent']}/alerts")
        state, policies = (
            re.search(r'state\s*=\s*"(\w+)"', wanted),
            re.findall(r'policy\.name="([^"]+)"', wanted),
        )
        if wanted and not (state or policies):
            raise invalid("filter", f'Could not parse filter "{wanted}"')
        kept = [
            alert
            for alert in found
            if (not state or alert["state"] == state[1])
            and (not policies or alert["policy"]["name"] in policies)
        ]
        return {"alerts": kept, "totalSize": len(kept)}


def parse(text: str) -> list[tuple[str, str, str]]:
    """``metric.type = "x" AND resource.labels.y = "z"`` as (name, way, value). Raises 400."""
    found = []
    for part in re.split(r"\s+AND\s+|\s*\n\s*", text.strip()) if text.strip() else ():
        match = _CONDITION.fullmatch(part)
        name = match[1] if match else ""
        if match is None or not re.fullmatch(
            r"metric\.type|resource\.type|(metric|resource)\.labels?\..+", name
        ):
            raise invalid("filter", f"The supplied filter does not specify a valid combination: {part!r}")
        way, value = ("starts", match[4]) if match[4] is not None else (match[2], match[3])
        found.append((name.replace(".label.", ".labels."), way, value))
    return found


def _meets(key: Key, condition: tuple[str, str, str]) -> bool:
    name, way, value = condition
    there = _label(key, name)
    if way == "starts":
        return there.startswith(value)
    return (there == value) == (way == "=")


def _label(key: Key, name: str) -> str:
    if name in ("metric.type", "resource.type"):
        return key[0] if name == "metric.type" else key[2]
    place, _, label = name.partition(".labels.")
    return dict(key[1] if place == "metric" else key[3]).get(label.strip('"'), "")


def _alignment(asked: Mapping[str, Any], seconds: float) -> float:
    """The period, 0 for values as they are. Raises 400."""
    aligner = asked.get("aggregation.perSeriesAligner", "ALIGN_NONE")
    reducer = asked.get("aggregation.crossSeriesReducer", "REDUCE_NONE")
    if aligner == "ALIGN_NONE":
        if reducer != "REDUCE_NONE":
            raise invalid("aggregation.per_series_aligner", "Field must be set to reduce across series.")
        if seconds > LONGEST_SECONDS:
            raise invalid("interval", "The interval is too long without alignment.")
        return 0.0
    period = float(str(asked.get("aggregation.alignmentPeriod", "0s")).removesuffix("s"))
    if period < 60:
        text = f'Field aggregation.alignmentPeriod had an invalid value of "{period:g}s": must be at least 60 seconds.'
        raise invalid("aggregation.alignmentPeriod", text)
    if period > max(seconds, 60):
        raise invalid("interval", "The interval is shorter than the alignment period.")
    return period


def _grouped(
    found: Mapping[Key, list[tuple[float, float]]], asked: Mapping[str, Any]
) -> Iterable[tuple[Key, list[tuple[float, float]]]]:
    reducer = str(asked.get("aggregation.crossSeriesReducer", "REDUCE_NONE"))
    if reducer == "REDUCE_NONE":
        return list(found.items())
    fields = asked.get("aggregation.groupByFields") or []
    names = [fields] if isinstance(fields, str) else fields
    groups: dict[Key, list[tuple[float, float]]] = defaultdict(list)
    for key, points in found.items():
        metric = tuple(item for item in key[1] if f"metric.labels.{item[0]}" in names)
        resource = tuple(item for item in key[3] if f"resource.labels.{item[0]}" in names)
        groups[(key[0], metric, key[2], resource)] += points
    return list(groups.items())


def _aligned(
    points: list[tuple[float, float]], asked: Mapping[str, Any], start: float, end: float, period: float
) -> list[tuple[float, float]]:
    """(end of the period, value), the newest first. Periods end where the interval ends."""
    inside = [(at, value) for at, value in points if start <= at <= end]
    if not period:
        return sorted(inside, reverse=True)
    aligner = str(asked["aggregation.perSeriesAligner"])
    word = {"DELTA": "SUM", "RATE": "SUM"}.get(aligner.removeprefix("ALIGN_"), aligner.removeprefix("ALIGN_"))
    if word not in _REDUCE:
        raise ApiError(501, f"the sandbox does not align by {aligner}")
    reducer = str(asked.get("aggregation.crossSeriesReducer", "")).removeprefix("REDUCE_")
    work = _REDUCE["SUM" if reducer == "SUM" else word]
    slots: dict[int, list[float]] = defaultdict(list)
    for at, value in inside:
        slots[math.floor((end - at) / period)].append(value)
    rate = period if aligner == "ALIGN_RATE" else 1.0
    return [(end - number * period, work(values) / rate) for number, values in sorted(slots.items())]


def _series(key: Key, points: list[tuple[float, float]]) -> Body:
    return {
        "metric": {"type": key[0], "labels": dict(key[1])},
        "resource": {"type": key[2], "labels": dict(key[3])},
        "metricKind": "GAUGE",
        "valueType": "DOUBLE",
        "points": [
            {"interval": {"startTime": _stamp(at), "endTime": _stamp(at)}, "value": {"doubleValue": value}}
            for at, value in points
        ],
    }


def _moment(text: Any, field: str) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        raise invalid(field, f"Field {field} had an invalid value: {text!r}") from None


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _pairs(labels: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in labels.items()))
