"""Every source of a gate with what makes it good, bad, silent, throttled and refused, for the matrix of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.monitoring_lab import cloudwatch, direct, early_in_the_minute
from tests.ordered import MINE, OWNER
from tests.unit.gates.services import Service, vector
from triplane.sandbox.azure.part import GROUP, LOCATION, SUBSCRIPTION
from triplane.sandbox.gcp.state import PROJECT
from triplane.sandbox.runtime import Sandbox

REGION = "eu-west-1"
POLICIES = f"https://monitoring.googleapis.com/v3/projects/{PROJECT}/alertPolicies"
SUBSCRIBED = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
BOUND = 5.0
THROTTLED = {"status": 429, "message": "slower"}
ENDED = {"status": 401, "message": "the token has ended"}


@dataclass
class Case:
    """One source. ``good`` and ``bad`` write what it then finds; at first there is nothing. ``fails`` orders failures."""

    check: dict[str, Any]
    good: Callable[[], object]
    bad: Callable[[], object]
    fails: Callable[[dict[str, Any], int], object]
    calm: Callable[[], object] = field(default=lambda: None)
    bad_text: str = "7 (at most 5)"


def of_cloudwatch(name: str, sandbox: Sandbox, alarms: bool = False) -> Case:
    """A metric, halved by metric math; or an alarm."""
    from triplane.clouds import aws

    metrics = {"m": {"namespace": "Shop", "metric": name, "dimensions": {}, "stat": "Maximum"}}
    query: dict[str, Any] = {"connection": "aws_default", "region": REGION}
    actions = "GetMetricData|DescribeAlarms"

    def fails(how: dict[str, Any], times: int) -> None:
        code = "ThrottlingException" if how is THROTTLED else "ExpiredTokenException"
        fault = {"action": actions, "code": code, "message": how["message"], "times": times}
        direct(sandbox, "aws", MINE, {"owner": OWNER, **fault})

    calm = lambda: direct(sandbox, "aws", MINE, None, "DELETE")  # noqa: E731
    if not alarms:
        check = {
            "source": "cloudwatch",
            "at_most": BOUND,
            "query": {**query, "metrics": metrics, "expression": "m / 2"},
        }
        return Case(check, lambda: cloudwatch(name, 4.0), lambda: cloudwatch(name, 14.0), fails, calm)
    client = aws.client("cloudwatch", "aws_default", REGION)
    client.put_metric_alarm(
        AlarmName=name, MetricName="m", Namespace="Shop", Period=60, EvaluationPeriods=1, Threshold=1.0,
        Statistic="Sum", ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    state = lambda value: client.set_alarm_state(AlarmName=name, StateValue=value, StateReason="test")  # noqa: E731
    state("INSUFFICIENT_DATA")
    check = {"source": "cloudwatch", "query": {**query, "alarms": [name]}}
    return Case(check, lambda: state("OK"), lambda: state("ALARM"), fails, calm, f"{name} is ALARM")


def of_cloud_monitoring(name: str, sandbox: Sandbox, policies: bool = False) -> Case:
    """Time series, or an alerting policy that is not enabled at first."""
    from triplane.clouds import gcp

    query: dict[str, Any] = {"connection": "google_cloud_default", "project": PROJECT}

    def fails(how: dict[str, Any], times: int) -> None:
        direct(sandbox, "gcp-rest", MINE, {"owner": OWNER, "path": "timeSeries|alert", "times": times, **how})

    calm = lambda: direct(sandbox, "gcp-rest", MINE, None, "DELETE")  # noqa: E731
    if policies:
        session = gcp.session("google_cloud_default")
        body = {"displayName": name, "conditions": [{"displayName": "c"}], "combiner": "OR", "enabled": False}
        policy = session.post(POLICIES, json=body).json()["name"]

        def enable(fired: bool) -> None:
            url = f"https://monitoring.googleapis.com/v3/{policy}?updateMask=enabled"
            assert session.patch(url, json={"enabled": True}).status_code == 200
            if fired:
                direct(sandbox, "gcp-rest", "/_sandbox/alerts", {"policy": policy, "state": "OPEN"})

        check = {"source": "cloud_monitoring", "query": {**query, "policies": [policy]}}
        return Case(check, lambda: enable(False), lambda: enable(True), fails, calm, "open alerts")
    kind, resource = "run.googleapis.com/request_count", {"revision_name": name}
    wanted = f'metric.type="{kind}" AND resource.labels.revision_name="{name}"'
    given = {**query, "filter": wanted, "aligner": "ALIGN_SUM", "reducer": "REDUCE_SUM"}

    def write(value: float) -> None:
        body = {"type": kind, "resource": {"type": "cloud_run_revision", "labels": resource}, "value": value}
        direct(sandbox, "gcp-rest", "/_sandbox/series", body)

    check = {"source": "cloud_monitoring", "at_most": BOUND, "query": given}
    return Case(check, lambda: write(2.0), lambda: write(7.0), fails, calm, "9 (at most 5)")


def of_azure_monitor(name: str, sandbox: Sandbox, rules: bool = False) -> Case:
    """A metric of a web app, or an alert rule that is not there at first."""
    from azure.mgmt.web import WebSiteManagementClient

    from triplane.clouds import azure

    query: dict[str, Any] = {"connection": "azure_default"}

    def fails(how: dict[str, Any], times: int) -> None:
        fault = {"owner": OWNER, "path": "insights/metric|alertsmanagement", "times": times, **how}
        direct(sandbox, "azure-arm", MINE, fault)

    calm = lambda: direct(sandbox, "azure-arm", MINE, None, "DELETE")  # noqa: E731
    if rules:
        rule = f"{SUBSCRIBED}/Microsoft.Insights/metricAlerts/{name}"
        fire = lambda fired: direct(sandbox, "azure-arm", "/_sandbox/alerts", {"rule": rule, "fired": fired})  # noqa: E731
        check = {"source": "azure_monitor", "query": {**query, "rules": [rule]}}
        return Case(check, lambda: fire(False), lambda: fire(True), fails, calm, f"firing: {name}")
    sites = azure.client(WebSiteManagementClient, "azure_default").web_apps
    sites.begin_create_or_update(
        GROUP, name, {"location": LOCATION, "kind": "functionapp"}, polling_interval=0
    ).result()
    resource = f"{SUBSCRIBED}/Microsoft.Web/sites/{name}"
    series = {"resource": resource, "metric": "Http5xx"}

    def write(value: float) -> None:
        direct(sandbox, "azure-arm", "/_sandbox/series", {**series, "value": value})

    def good() -> None:
        early_in_the_minute()
        write(2.0)

    check = {
        "source": "azure_monitor",
        "at_most": BOUND,
        "query": {**query, **series, "aggregation": "Total"},
    }
    return Case(check, good, lambda: write(7.0), fails, calm, "9 (at most 5)")


def of_prometheus(service: Service, cloud: str = "") -> Case:
    """A Prometheus of one's own, or a cloud's managed one with its authentication, each request of which is looked at."""
    place = {"query": "errors", "url": service.url}
    connections = {"aws": "aws_default", "gcp": "google_cloud_default", "azure": "azure_default"}
    if cloud:
        place |= {"cloud": cloud, "connection": connections[cloud], "region": REGION}
    return _served(service, {"source": "prometheus", "at_most": BOUND, "query": place}, vector())


def of_promql(service: Service, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Cloud Monitoring's PromQL."""
    monkeypatch.setattr("triplane.gates.cloud_monitoring.API", service.url)
    place = {"connection": "google_cloud_default", "project": PROJECT, "promql": "errors"}
    return _served(service, {"source": "cloud_monitoring", "at_most": BOUND, "query": place}, vector())


def _served(service: Service, check: dict[str, Any], silent: Any) -> Case:
    service.answers = [silent]

    def now(answer: Any) -> None:
        service.asked.clear()
        service.answers = [answer]

    def fails(how: dict[str, Any], times: int) -> None:
        failure = (how["status"], {"status": "error", "error": how["message"]})
        service.asked.clear()
        service.answers = [*[failure] * times, service.answers[-1]]

    return Case(check, lambda: now(vector(2)), lambda: now(vector(7)), fails)


def of_http(service: Service) -> Case:
    """A URL. What it answers is good or bad by itself, a 429 and a 401 too: it has no credentials."""
    case = _served(service, {"source": "http", "query": {"url": service.url, "contains": "ok"}}, None)

    def now(answer: Any) -> None:
        service.answers = [answer]

    return Case(
        case.check,
        lambda: now((200, "ok")),
        lambda: now((500, "ok")),
        case.fails,
        bad_text="answers 500, not 200",
    )
