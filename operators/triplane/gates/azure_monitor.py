"""Azure Monitor: a resource's metric, or alert rules.

Query: ``{"connection", "resource": full id, "metric", "aggregation": "Average", "namespace", "filter", "interval": 60,
"window": 300}``, or ``{"connection", "rules": [full id of a metric alert rule]}``, good while none of them fires.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from triplane.core.errors import InputError
from triplane.gates.check import Reading
from triplane.gates.rest import ask, stamp

METRICS_VERSION = "2023-10-01"
RULES_VERSION = "2018-03-01"
ALERTS_VERSION = "2019-03-01"


class Source:
    """Asks Resource Manager."""

    def __init__(self, query: Mapping[str, Any]) -> None:
        import requests

        from triplane.clouds import azure

        self._query = query
        self._base = azure.manager_url(str(query["connection"]))
        self._tokens = azure.manager_tokens(str(query["connection"]))
        self._session = requests.Session()

    def read(self, at: float) -> Reading:
        """:raises InputError: it is asked for something wrong, or the credentials are not accepted
        :raises TransientError: Azure throttles or fails, also after some tries
        """
        if self._query.get("rules"):
            return self._alerts()
        path = f"{str(self._query['resource']).rstrip('/')}/providers/Microsoft.Insights/metrics"
        found = parse(self._ask(path, metrics_query(self._query, at)), self._query)
        return found if found.values else Reading(text=f"no value of {self._query['metric']}")

    def _alerts(self) -> Reading:
        firing = []
        for rule in self._query["rules"]:
            found = self._ask(rule, {"api-version": RULES_VERSION})
            if not found.get("properties", {}).get("enabled", True):
                return Reading(text=f"{found.get('name', rule)} is not enabled")
            query = {
                "api-version": ALERTS_VERSION,
                "alertRule": rule,
                "monitorCondition": "Fired",
                "timeRange": "1d",
            }
            subscription = "/".join(str(rule).split("/")[:3])
            alerts = self._ask(f"{subscription}/providers/Microsoft.AlertsManagement/alerts", query)
            firing += [str(found.get("name", rule))] if alerts.get("value") else []
        names = ", ".join(str(rule).rpartition("/")[2] for rule in self._query["rules"])
        if firing:
            return Reading(good=False, text=f"firing: {', '.join(firing)}")
        return Reading(good=True, text=f"{names} does not fire")

    def _ask(self, path: str, query: Mapping[str, str]) -> Any:
        return ask(
            self._session,
            "GET",
            f"{self._base}{path}",
            query=query,
            headers=lambda *_: {"Authorization": f"Bearer {self._tokens()}"},
            who=str(self._query["connection"]),
        )


def metrics_query(query: Mapping[str, Any], at: float) -> dict[str, str]:
    """The parameters of the metrics API."""
    start = at - float(query.get("window", 300))
    found = {
        "api-version": METRICS_VERSION,
        "metricnames": query["metric"],
        "aggregation": query.get("aggregation", "Average"),
        "timespan": f"{stamp(start)}/{stamp(at)}",
        "interval": f"PT{int(query.get('interval', 60)) // 60}M",
        "metricnamespace": query.get("namespace"),
        "$filter": query.get("filter"),
    }
    return {name: str(value) for name, value in found.items() if value}


def parse(answer: Mapping[str, Any], query: Mapping[str, Any]) -> Reading:
    """The newest value of each series. Times without data come without a value."""
    key = str(query.get("aggregation", "Average")).lower()
    newest: list[tuple[float, float]] = []
    for metric in answer.get("value", ()):
        if metric.get("errorCode", "Success") != "Success":
            raise InputError(
                f"Azure Monitor: {metric['errorCode']}: {metric.get('errorMessage')}; correct the gate"
            )
        for series in metric.get("timeseries", ()):
            known = [point for point in series.get("data", ()) if point.get(key) is not None]
            if known:
                last = max(known, key=lambda point: str(point["timeStamp"]))
                newest.append((datetime.fromisoformat(last["timeStamp"]).timestamp(), float(last[key])))
    grain = int(query.get("interval", 60))
    return Reading(
        values=tuple(value for _, value in newest), ends=tuple(moment + grain for moment, _ in newest)
    )
