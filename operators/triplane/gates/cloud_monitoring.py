"""Google Cloud Monitoring: time series, PromQL, or alerting policies.

Query: ``{"connection", "project"}`` and one of

- ``{"filter", "aligner", "reducer", "group_by": [], "alignment": 60, "window": 300}``, see ``projects.timeSeries.list``
- ``{"promql"}``
- ``{"policies": ["projects/P/alertPolicies/N"]}``, good while none of them has an open alert
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from triplane.core.errors import InputError
from triplane.gates import prometheus
from triplane.gates.check import Reading
from triplane.gates.rest import ask, stamp

API = "https://monitoring.googleapis.com"


class Source:
    """Asks for the newest value of each series."""

    def __init__(self, query: Mapping[str, Any]) -> None:
        from triplane.clouds import gcp

        self._query = query
        conn_id = str(query["connection"])
        self._project = query.get("project") or gcp.project_id(conn_id)
        self._session = gcp.session(conn_id)

    def read(self, at: float) -> Reading:
        """:raises InputError: it is asked for something wrong, or the credentials are not accepted
        :raises TransientError: the API throttles or fails, also after some tries
        """
        if self._query.get("policies"):
            return self._alerts()
        if promql := self._query.get("promql"):
            path = f"/v1/projects/{self._project}/location/global/prometheus/api/v1/query"
            return prometheus.parse(self._ask("POST", path, body={"query": promql, "time": f"{at:.3f}"}))
        found = parse(
            self._ask("GET", f"/v3/projects/{self._project}/timeSeries", query=series_query(self._query, at))
        )
        return found if found.values else Reading(text=f"no value of {self._query['filter']}")

    def _alerts(self) -> Reading:
        names = list(self._query["policies"])
        for name in names:
            if self._ask("GET", f"/v3/{name}").get("enabled", True) is False:
                return Reading(text=f"{name} is not enabled")
        wanted = " OR ".join(f'policy.name="{name}"' for name in names)
        query = {"filter": f'state="OPEN" AND ({wanted})', "pageSize": "10"}
        found = self._ask("GET", f"/v3/projects/{self._project}/alerts", query=query)
        opened = [
            str(alert.get("policy", {}).get("displayName") or alert["name"])
            for alert in found.get("alerts", ())
        ]
        if opened:
            return Reading(good=False, text=f"open alerts: {', '.join(opened)}")
        return Reading(good=True, text=f"no open alert of {', '.join(names)}")

    def _ask(self, verb: str, path: str, **options: Any) -> Any:
        return ask(self._session, verb, f"{API}{path}", who=str(self._query["connection"]), **options)


def series_query(query: Mapping[str, Any], at: float) -> list[tuple[str, str]]:
    """The parameters of ``timeSeries.list``."""
    start = at - float(query.get("window", 300))
    found = [
        ("filter", query["filter"]),
        ("interval.startTime", stamp(start)),
        ("interval.endTime", stamp(at)),
        ("aggregation.alignmentPeriod", f"{int(query.get('alignment', 60))}s"),
        ("aggregation.perSeriesAligner", query.get("aligner", "ALIGN_MEAN")),
        ("view", "FULL"),
    ]
    if reducer := query.get("reducer"):
        found.append(("aggregation.crossSeriesReducer", reducer))
        found += [("aggregation.groupByFields", name) for name in query.get("group_by", ())]
    return found


def parse(answer: Mapping[str, Any]) -> Reading:
    """The newest point of each series; they come newest first."""
    newest = [series["points"][0] for series in answer.get("timeSeries", ()) if series.get("points")]
    if not newest:
        return Reading()
    values = tuple(_number(point["value"]) for point in newest)
    ends = (datetime.fromisoformat(point["interval"]["endTime"]).timestamp() for point in newest)
    return Reading(values=values, ends=tuple(ends))


def _number(value: Mapping[str, Any]) -> float:
    for kind in ("doubleValue", "int64Value", "boolValue"):
        if kind in value:
            return float(value[kind])
    if "distributionValue" in value:
        return float(value["distributionValue"].get("mean", 0.0))
    raise InputError(f"a value of type {', '.join(value)} cannot be compared; align or reduce it to a number")
