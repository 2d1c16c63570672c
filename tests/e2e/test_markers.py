"""Rollouts in the sandbox's monitoring, read back as a graph would."""

from __future__ import annotations

import time
import urllib.request
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.monitoring_lab import direct
from tests.ordered import MINE, OWNER
from triplane.clouds import aws, azure, gcp
from triplane.gates import rest
from triplane.rollout.marking import mark
from triplane.sandbox.azure.part import GROUP, SUBSCRIPTION
from triplane.sandbox.gcp.state import PROJECT
from triplane.sandbox.runtime import Sandbox

pytestmark = pytest.mark.usefixtures("cloud_env")
INSIGHTS = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Insights/components/shop"
)
PLACES = [
    {"kind": "cloudwatch", "connection": "aws_default", "region": "eu-west-1"},
    {"kind": "cloud_monitoring", "connection": "google_cloud_default", "project": PROJECT},
    {"kind": "application_insights", "connection": "azure_default", "resource": INSIGHTS},
    {"kind": "pushgateway", "connection": "pushgateway_default"},
]
RESULTS = [
    {"address": "aws/stack/a", "state": "deployed", "version": "1", "seconds": 4.0},
    {"address": "aws/stack/b", "state": "deployed", "version": "1", "seconds": 2.5},
    {"address": "aws/stack/c", "state": "unchanged", "version": "1", "seconds": 9.0},
]


RUN = SimpleNamespace(run_id="run 1", start_date=datetime.now(UTC))


def change_set(platform: str) -> Any:
    return SimpleNamespace(
        platform=platform, environment="prod", cloud="aws", revision="0123456789abcdef", intent="deploy"
    )


def test_a_rollout_is_seen_in_all_places(sandbox: Sandbox) -> None:
    platform, said = f"p{uuid.uuid4().hex[:8]}", []
    for _ in range(2):  # the task may be tried again
        mark(PLACES, change_set(platform), RESULTS, RUN, said.append)
    assert len(said) == 2 * len(PLACES)
    assert all(line.endswith(f"deploy of {platform} 0123456789ab to prod (aws)") for line in said), said

    names = {
        "Platform": platform,
        "Environment": "prod",
        "Cloud": "aws",
        "Intent": "deploy",
        "Outcome": "succeeded",
    }
    dimensions = [{"Name": name, "Value": value} for name, value in names.items()]
    client = aws.client("cloudwatch", "aws_default", "eu-west-1")
    metrics = client.list_metrics(Namespace="Triplane", Dimensions=dimensions)["Metrics"]
    assert {metric["MetricName"] for metric in metrics} == {"Rollout"}

    now = time.time() + 1
    stamps = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in (now - 600, now)]
    wanted = f'metric.type="custom.googleapis.com/triplane/rollout" AND metric.labels.platform="{platform}"'
    url = f"https://monitoring.googleapis.com/v3/projects/{PROJECT}/timeSeries"
    query = {"filter": wanted, "interval.startTime": stamps[0], "interval.endTime": stamps[1]}
    (series,) = gcp.session("google_cloud_default").get(url, params=query).json()["timeSeries"]
    assert [point["value"] for point in series["points"]] == [{"doubleValue": 2.0}] * 2
    assert series["metric"]["labels"]["environment"] == "prod"

    import requests

    token = azure.manager_tokens("azure_default")()
    found = requests.get(
        f"https://management.azure.com{INSIGHTS}/Annotations",
        params={"api-version": "2015-05-01"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    ).json()["value"]
    mine = [each for each in found if platform in each["AnnotationName"]]
    assert [each["Category"] for each in mine] == ["Deployment"]
    assert "0123456789abcdef" in mine[0]["Properties"]

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    pushed = (
        opener.open(f"http://127.0.0.1:{sandbox.port('pushgateway')}/metrics", timeout=30).read().decode()
    )
    (line,) = [
        each
        for each in pushed.splitlines()
        if each.startswith("triplane_rollout_duration") and platform in each
    ]
    assert line.endswith(" 6.5")
    assert 'environment="prod"' in line


FAULTS = {
    "cloudwatch": (
        "aws",
        {"action": "PutMetricData"},
        {429: "ThrottlingException", 401: "ExpiredTokenException"},
    ),
    "cloud_monitoring": ("gcp-rest", {"path": "timeSeries"}, {}),
    "application_insights": ("azure-arm", {"path": "nnotations"}, {}),
}


@pytest.mark.parametrize("times", [1, 99])
@pytest.mark.parametrize("status", [429, 401])
@pytest.mark.parametrize("place", PLACES[:3], ids=FAULTS)
def test_throttling_and_tokens_that_ended(
    place: dict[str, str], status: int, times: int, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once is tried again; but for CloudWatch's token, for which the next rollout has a new client. Always is only said."""
    monkeypatch.setattr(rest, "REPEATS", replace(rest.REPEATS, first=0.01))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    port, where, codes = FAULTS[place["kind"]]
    how = {"code": codes[status]} if codes else {"status": status}
    said: list[str] = []
    direct(sandbox, port, MINE, {"owner": OWNER, **where, **how, "message": "no", "times": times})
    try:
        mark([place], change_set(f"p{uuid.uuid4().hex[:8]}"), RESULTS, RUN, said.append, "failed")
    finally:
        direct(sandbox, port, MINE, None, "DELETE")
    (line,) = said
    written = times == 1 and (place["kind"], status) != ("cloudwatch", 401)
    assert line.startswith(f"Marked in {place['kind']}" if written else f"No mark in {place['kind']}"), line
    assert line.endswith("to prod (aws), failed") if written else codes.get(status, str(status)) in line


def test_a_mark_that_cannot_be_written_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    wrong = [
        {"kind": "pushgateway", "url": "http://127.0.0.1:9"},
        {"kind": "smoke signals"},
        {**PLACES[1], "project": "somebody-elses"},
        {**PLACES[2], "resource": "/subscriptions/x/nothing"},
    ]
    mark(wrong, change_set("p"), RESULTS, RUN, said.append)
    assert [line.partition(":")[0] for line in said] == [f"No mark in {place['kind']}" for place in wrong]
    assert "smoke signals is none of cloudwatch" in said[1]


def test_what_changed_nothing_leaves_no_mark() -> None:
    said: list[str] = []
    mark(PLACES, change_set("p"), RESULTS[2:], RUN, said.append)
    assert said == []
