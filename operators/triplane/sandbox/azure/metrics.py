"""Azure Monitor: metrics of resources, as ``GET {resource}/providers/Microsoft.Insights/metrics`` gives them, and alerts.

A test writes points by ``POST /_sandbox/series`` with ``{"resource", "metric", "dimensions": {}, "value", "at"}``, and
opens or closes an alert by ``POST /_sandbox/alerts`` with ``{"rule", "fired"}``.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from triplane.sandbox.azure.arm import bearer
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.tokens import Directory
from triplane.sandbox.azure.world import World

METRICS_PATH = re.compile(r"(?P<resource>/subscriptions/.+)/providers/microsoft\.insights/metrics", re.I)
RULE_PATH = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/microsoft\.insights/metricalerts/[^/]+", re.I
)
ALERTS_PATH = re.compile(r"/subscriptions/[^/]+/providers/microsoft\.alertsmanagement/alerts", re.I)
ANNOTATIONS_PATH = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/microsoft\.insights/components/[^/]+/annotations",
    re.I,
)
VERSIONS = {"metrics": ("2018-01-01", "2019-07-01", "2021-05-01", "2023-10-01", "2024-02-01")}
GRAINS = {
    "PT1M": 60,
    "PT5M": 300,
    "PT15M": 900,
    "PT30M": 1800,
    "PT1H": 3600,
    "PT6H": 21600,
    "PT12H": 43200,
    "P1D": 86400,
}
LONGEST_SECONDS = 30 * 24 * 3600
MOST_POINTS = 1440
AGGREGATIONS = ("Average", "Total", "Maximum", "Minimum", "Count")


@dataclass(frozen=True)
class Definition:
    """What is known of a metric."""

    aggregations: tuple[str, ...]
    dimensions: tuple[str, ...]


DEFINITIONS: dict[str, dict[str, Definition]] = {
    "microsoft.app/containerapps": {
        "Requests": Definition(("Total",), ("statusCodeCategory", "statusCode", "revisionName", "podName")),
        "ResponseTime": Definition(("Average", "Maximum", "Minimum"), ("statusCodeCategory", "statusCode")),
        "Replicas": Definition(("Maximum", "Minimum", "Average", "Total"), ("revisionName",)),
        "RestartCount": Definition(("Total", "Maximum"), ("revisionName", "podName")),
    },
    "microsoft.web/sites": {
        name: Definition(("Total", "Average"), ("Instance",))
        for name in ("Requests", "Http5xx", "Http4xx", "FunctionExecutionCount", "HttpResponseTime")
    },
}
Points = list[tuple[float, float]]
_WORK: dict[str, Callable[[list[float]], float]] = {
    "total": sum,
    "maximum": max,
    "minimum": min,
    "count": len,
    "average": statistics.fmean,
}


class Metrics:
    """All series of the subscription."""

    def __init__(self, world: World, directory: Directory) -> None:
        self._world = world
        self._directory = directory
        self._series: dict[tuple[str, str], dict[tuple[tuple[str, str], ...], Points]] = defaultdict(dict)
        self._rules: dict[str, bool] = {}
        self._annotations: dict[str, dict[str, Any]] = {}

    def write(self, body: Mapping[str, Any]) -> None:
        """One point, from a test."""
        key = (body["resource"].lower(), body["metric"].lower())
        dimensions = tuple(
            sorted((name.lower(), str(value)) for name, value in body.get("dimensions", {}).items())
        )
        point = (float(body.get("at", time.time())), float(body["value"]))
        self._series[key].setdefault(dimensions, []).append(point)

    def fire(self, body: Mapping[str, Any]) -> None:
        """A rule, and whether it fires, from a test."""
        self._rules[body["rule"].lower()] = bool(body["fired"])

    async def answer(self, request: web.Request) -> web.Response | None:
        """None for what is no business of Azure Monitor. Raises ArmError."""
        found = METRICS_PATH.fullmatch(request.path)
        rule, alerts = RULE_PATH.fullmatch(request.path), ALERTS_PATH.fullmatch(request.path)
        annotations = ANNOTATIONS_PATH.fullmatch(request.path)
        if not annotations and (not (found or rule or alerts) or request.method != "GET"):
            return None
        bearer(self._directory, request.headers.get("Authorization", ""))
        if not request.query.get("api-version"):
            raise ArmError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if annotations:
            if request.method == "PUT":
                return web.json_response([self._annotate(request.path, await request.json())])
            kept = [each for key, each in self._annotations.items() if key.startswith(request.path.lower())]
            return web.json_response({"value": kept})
        if found:
            return web.json_response(self._metrics(found["resource"], request.query))
        if rule:
            return web.json_response(self._rule(request.path))
        return web.json_response(self._alerts(request.query))

    def _annotate(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The one way to write to Application Insights through Resource Manager. The same id again is the same one."""
        needed = ("Id", "AnnotationName", "EventTime", "Category")
        if missing := [name for name in needed if not body.get(name)]:
            raise bad(f"The annotation lacks {', '.join(missing)}.")
        if strange := sorted(set(body) - {*needed, "Properties", "RelatedAnnotation"}):
            raise bad(f"The annotation has no {', '.join(strange)}.")
        self._annotations[f"{path}/{body['Id']}".lower()] = body
        return body

    def _metrics(self, resource: str, query: Mapping[str, str]) -> dict[str, Any]:
        if query["api-version"] not in VERSIONS["metrics"]:
            raise ArmError(
                400, "UnsupportedApiVersion", f"The api-version {query['api-version']} is not supported."
            )
        if self._world.get(resource) is None:
            raise ArmError(404, "ResourceNotFound", f"The Resource '{resource}' was not found.")
        provider = "/".join(resource.rpartition("/providers/")[2].split("/")[:2])
        known = DEFINITIONS.get(provider.lower(), {})
        name = next((each for each in known if each.lower() == query.get("metricnames", "").lower()), None)
        if name is None:
            raise bad(
                f"Failed to find metric configuration for provider: {provider.partition('/')[0]}, resource Type: "
                f"{provider.partition('/')[2]}, metric: {query.get('metricnames')}, Valid metrics: {','.join(known)}"
            )
        aggregation = query.get("aggregation") or known[name].aggregations[0]
        if aggregation.capitalize() not in AGGREGATIONS:
            raise bad(f"Invalid aggregation type: {aggregation}")
        start, end = _timespan(query.get("timespan"))
        grain = _grain(query.get("interval", "PT1M"), end - start)
        wanted = _filter(query.get("$filter", ""), known[name])
        values = _data(self._matching(resource, name, wanted), aggregation.lower(), start, end, grain)
        series = [{"metadatavalues": _metadata(wanted), "data": values}] if values is not None else []
        return {
            "timespan": query.get("timespan"),
            "interval": query.get("interval", "PT1M"),
            "namespace": provider,
            "value": [
                {
                    "id": f"{resource}/providers/Microsoft.Insights/metrics/{name}",
                    "type": "Microsoft.Insights/metrics",
                    "name": {"value": name},
                    "timeseries": series,
                    "errorCode": "Success",
                }
            ],
        }

    def _matching(self, resource: str, metric: str, wanted: Mapping[str, str]) -> Points | None:
        """All points of the series that have these dimensions, None where no series has."""
        found = [
            points
            for dimensions, points in self._series[(resource.lower(), metric.lower())].items()
            if all(dict(dimensions).get(name) == value for name, value in wanted.items())
        ]
        return [point for points in found for point in points] if found or not wanted else None

    def _rule(self, path: str) -> dict[str, Any]:
        if path.lower() not in self._rules:
            name = path.rpartition("/")[2]
            raise ArmError(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.Insights/metricAlerts/{name}' was not found.",
            )
        return {"id": path, "name": path.rpartition("/")[2], "properties": {"enabled": True}}

    def _alerts(self, query: Mapping[str, str]) -> dict[str, Any]:
        condition = query.get("monitorCondition")
        if condition not in (None, "Fired", "Resolved"):
            raise bad(f"The value '{condition}' of monitorCondition is not valid.")
        if query.get("timeRange", "1d") not in ("1h", "1d", "7d", "30d"):
            raise bad(f"The value '{query['timeRange']}' of timeRange is not valid.")
        rule = query.get("alertRule", "").lower()
        found = [
            {
                "id": f"{each}/alert",
                "properties": {"essentials": {"alertRule": each, "monitorCondition": "Fired"}},
            }
            for each, fired in self._rules.items()
            if fired and condition != "Resolved" and rule in ("", each)
        ]
        return {"value": found}


def bad(message: str) -> ArmError:
    """400, as Azure Monitor words it."""
    return ArmError(400, "BadRequest", message)


def _timespan(text: str | None) -> tuple[float, float]:
    try:
        start, end = (datetime.fromisoformat(part).timestamp() for part in str(text).split("/"))
    except ValueError:
        raise bad(f"Invalid time span: {text}") from None
    if not 0 < end - start <= LONGEST_SECONDS:
        raise bad(f"Start time and end time of {text} are not in order, or more than 30 days apart.")
    return start, end


def _grain(text: str, seconds: float) -> int:
    if text not in GRAINS:
        raise bad(f"Invalid time grain: {text}, supported ones are {','.join(GRAINS)}")
    if seconds / GRAINS[text] > MOST_POINTS:
        raise bad(f"The time grain {text} gives more than {MOST_POINTS} data points; use a longer one.")
    return GRAINS[text]


def _filter(text: str, definition: Definition) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in re.split(r"\s+and\s+", text.strip(), flags=re.I) if text.strip() else ():
        match = re.fullmatch(r"(\w+) eq '([^']*)'", part.strip())
        if match is None:
            raise bad(f"Invalid filter: {part!r}")
        if match[1].lower() not in (name.lower() for name in definition.dimensions):
            names = ",".join(definition.dimensions)
            raise bad(
                f"Metric does not support requested dimension combination: {match[1]}, supported ones are: {names}"
            )
        found[match[1].lower()] = match[2]
    return found


def _metadata(wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": {"value": name}, "value": value} for name, value in wanted.items()]


def _data(
    points: Points | None, aggregation: str, start: float, end: float, grain: int
) -> list[dict[str, Any]] | None:
    """A point for each grain; without a value where there was nothing."""
    if points is None:
        return None
    work = _WORK[aggregation]
    found = []
    slot = start - start % grain
    while slot < end:
        inside = [value for at, value in points if slot <= at < slot + grain and at <= end]
        value = {aggregation: float(work(inside))} if inside else {}
        found.append(
            {"timeStamp": datetime.fromtimestamp(slot, UTC).isoformat().replace("+00:00", "Z"), **value}
        )
        slot += grain
    return found
