"""What gates can be asked, against the sandbox's monitoring: metric math, comparisons, and what services refuse. Every source in every
situation is in ``test_gate_matrix``.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest

from tests.e2e.monitoring_lab import QUICK, cloudwatch, direct, watched
from triplane.core.errors import InputError
from triplane.gates.watch import source
from triplane.sandbox.azure.part import GROUP, LOCATION, SUBSCRIPTION
from triplane.sandbox.gcp.state import PROJECT
from triplane.sandbox.runtime import Sandbox

pytestmark = pytest.mark.usefixtures("cloud_env")
WRONG_KEY = json.dumps(
    {"conn_type": "aws", "login": "AKIAOLD", "password": "old", "extra": {"region_name": "eu-west-1"}}
)
AZURE_SITE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Web/sites"


@pytest.fixture
def name() -> str:
    return f"m{uuid.uuid4().hex[:10]}"


def aws(name: str, **query: Any) -> dict[str, Any]:
    metrics = {"value": {"namespace": "Shop", "metric": name, "dimensions": {}, "stat": "Sum"}}
    return {
        **QUICK,
        "name": name,
        "source": "cloudwatch",
        "query": {"connection": "aws_default", "region": "eu-west-1", "metrics": metrics, **query},
        "at_most": 5.0,
    }


def gcp(name: str, **query: Any) -> dict[str, Any]:
    wanted = f'metric.type="run.googleapis.com/request_count" AND resource.labels.revision_name="{name}"'
    given = {"filter": wanted, "aligner": "ALIGN_SUM", "reducer": "REDUCE_SUM", **query}
    return {
        **QUICK,
        "name": name,
        "source": "cloud_monitoring",
        "query": {"connection": "google_cloud_default", "project": PROJECT, **given},
        "at_most": 5.0,
    }


def azure(name: str, **query: Any) -> dict[str, Any]:
    given = {"resource": f"{AZURE_SITE}/{name}", "metric": "Http5xx", "aggregation": "Total", **query}
    return {
        **QUICK,
        "name": name,
        "source": "azure_monitor",
        "query": {"connection": "azure_default", **given},
        "at_most": 5.0,
    }


def prometheus(sandbox: Sandbox, query: str) -> dict[str, Any]:
    return {
        **QUICK,
        "name": "prometheus",
        "source": "prometheus",
        "query": {"query": query, "connection": "prometheus_default"},
        "at_most": 5.0,
    }


def site(name: str) -> None:
    from azure.mgmt.web import WebSiteManagementClient

    from triplane.clouds import azure as cloud

    sites = cloud.client(WebSiteManagementClient, "azure_default").web_apps
    sites.begin_create_or_update(GROUP, name, {"location": LOCATION, "kind": "functionapp"}).result()


@pytest.mark.parametrize(
    ("query", "said"),
    [("sum(", "parse error"), ("up[1m]", "gives a matrix"), ("'text'", "gives a string")],
)
def test_a_query_that_is_wrong_decides_at_once(query: str, said: str, sandbox: Sandbox) -> None:
    found = watched({**prometheus(sandbox, query), "patience": 5.0, "lasting": 5.0})
    assert (found["state"], found["observed"]) == ("no_data", 1)
    assert said in found["reason"]


def test_metric_math_and_the_baseline_of_a_canary(name: str) -> None:
    for version, errors in (("1", 2.0), ("2", 3.0)):
        cloudwatch("Errors", errors, Function=name, Version=version)
        cloudwatch("Calls", 100.0, Function=name, Version=version)

    def metrics(version: str) -> dict[str, Any]:
        dimensions = {"Function": name, "Version": version}
        return {
            metric.lower(): {"namespace": "Shop", "metric": metric, "dimensions": dimensions, "stat": "Sum"}
            for metric in ("Errors", "Calls")
        }

    base = {"connection": "aws_default", "region": "eu-west-1", "expression": "100 * errors / calls"}
    base |= {"period": 3600, "window": 7200}  # values of this hour: no minute ends on the way
    check = {**aws(name), "query": {**base, "metrics": metrics("2")}}
    assert watched(check)["samples"][0]["text"] == "3 (at most 5)"
    compared = {**check, "against": "baseline", "baseline": {**base, "metrics": metrics("1")}}
    bad = watched({**compared, "at_most": 1.2})
    assert bad["state"] == "fail"
    assert "3, that is 1.5 x the 2 of the baseline (at most 1.2)" in bad["reason"]
    assert watched({**compared, "at_most": 1.0, "by": "difference"})["state"] == "pass"
    alone = {**compared, "baseline": {**base, "metrics": metrics("0")}}
    assert watched({**alone, "at_most": 1.2})["state"] == "no_data", "nothing to compare with"


def test_against_the_value_before(name: str, sandbox: Sandbox) -> None:
    now = time.time()
    body = {
        "type": "run.googleapis.com/request_count",
        "resource": {"type": "cloud_run_revision", "labels": {"revision_name": name}},
    }
    for at, value in ((now - 1800, 4.0), (now, 5.0)):
        direct(sandbox, "gcp-rest", "/_sandbox/series", {**body, "value": value, "at": at})
    check = {**gcp(name), "against": "before"}
    bad = watched({**check, "at_most": 1.2}, before=now - 1799)
    assert "5, that is 1.25 x the 4 before" in bad["reason"]
    assert watched({**check, "at_most": 1.3}, before=now - 1799)["state"] == "pass"
    assert watched({**check, "at_most": 1.3}, before=now - 900)["state"] == "no_data"


def test_what_is_older_than_the_gate_tells_nothing(name: str, sandbox: Sandbox) -> None:
    body = {
        "type": "run.googleapis.com/request_count",
        "resource": {"type": "cloud_run_revision", "labels": {"revision_name": name}},
        "value": 1.0,
        "at": time.time() - 120,
    }
    direct(sandbox, "gcp-rest", "/_sandbox/series", body)
    found = watched(gcp(name))
    assert found["state"] == "no_data"
    assert "from before the gate began" in found["reason"]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (gcp("x", filter='resource.labels.revision_name="x"'), "must specify a single metric type"),
        (gcp("x", filter="metric.type is wrong"), "does not specify a valid combination"),
        (gcp("x", filter='metric.type="run.googleapis.com/no_such"'), "Cannot find metric"),
        (gcp("x", alignment=10), "at least 60 seconds"),
        (gcp("x", aligner="ALIGN_NONE"), "must be set to reduce"),
        (gcp("x", aligner="ALIGN_SOMEHOW"), "ALIGN_SOMEHOW"),
        (azure("there", metric="NoSuch"), "Valid metrics"),
        (azure("there", filter="Planet eq 'mars'"), "does not support requested dimension"),
        (azure("there", filter="so what"), "Invalid filter"),
        (azure("there", window=90 * 24 * 3600), "more than 30 days"),
        (azure("there", interval=120), "Invalid time grain"),
        (azure("missing"), "was not found"),
        (aws("x", period=7), "multiple of 60"),
        (aws("x", expression="value +"), "Invalid syntax"),
        (aws("x", expression="value + other"), "Unknown reference other"),
        (aws("x", alarms=["no-such-alarm"]), "no alarm no-such-alarm"),
    ],
)
def test_what_the_service_refuses_is_said_and_passes_nothing(check: dict[str, Any], said: str) -> None:
    if check["source"] == "azure_monitor":
        site("there")
    found = watched({**check, "patience": 5.0, "lasting": 5.0})
    assert (found["state"], found["observed"]) == ("no_data", 1)
    assert said in found["reason"]


def test_keys_that_are_not_accepted_pass_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, cloud_env: dict[str, str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", WRONG_KEY)
    found = watched({**aws(name), "patience": 5.0, "lasting": 5.0})
    assert (found["state"], found["observed"]) == ("no_data", 1)
    assert "are not accepted: renew them" in found["reason"]


def test_a_prometheus_that_nobody_reaches_is_silent() -> None:
    check = {**QUICK, "name": "p", "source": "prometheus", "at_most": 1.0}
    query = {"query": "up", "url": "http://127.0.0.1:9"}
    assert watched({**check, "query": query, "lasting": 0.2, "patience": 0.1})["state"] == "no_data"
    with pytest.raises(InputError, match="needs `url` or `connection`"):
        source("prometheus", {"query": "up"})
