"""How each source asks: credentials, parameters, what it makes of answers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.gates.services import Service, serving, vector

from triplane.clouds import aws, azure, gcp
from triplane.core.errors import InputError, TransientError
from triplane.gates import azure_monitor, cloud_monitoring, cloudwatch, rest
from triplane.gates.check import Check, Reading
from triplane.gates.watch import Looker, source

AT = 1_800_000_000.0


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(rest, "REPEATS", replace(rest.REPEATS, first=0.01))
    with serving(vector(1)) as made:
        yield made


def connection(monkeypatch: pytest.MonkeyPatch, url: str, **fields: Any) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    found = {"conn_type": "http", "host": host, "port": int(port), "schema": "http", **fields}
    monkeypatch.setenv("AIRFLOW_CONN_METRICS", json.dumps(found))


def test_prometheus_by_password_by_token_and_without(
    metrics: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"query": "up", "connection": "metrics"}
    basic = "Basic " + base64.b64encode(b"user:secret-word").decode()
    cases = (
        ({}, None),
        ({"login": "user", "password": "secret-word"}, basic),
        ({"password": "a-token"}, "Bearer a-token"),
    )
    for fields, expected in cases:
        connection(monkeypatch, metrics.url, **fields)
        assert source("prometheus", query).read(AT) == Reading(values=(1.0,))
        path, asked, headers = metrics.asked[-1]
        assert (path, asked) == ("/api/v1/query", {"query": "up", "time": "1800000000.000"})
        assert headers.get("Authorization") == expected


def test_amazon_s_prometheus_is_signed(metrics: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        "conn_type": "aws",
        "login": "AKIDEXAMPLE",
        "password": "secret-word",
        "extra": {"region_name": "eu-west-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_KEYS", json.dumps(keys))
    query = {"query": "up + 1", "url": f"{metrics.url}/workspaces/w", "cloud": "aws", "connection": "keys"}
    source("prometheus", query).read(AT)
    path, asked, headers = metrics.asked[-1]
    assert (path, asked["query"]) == ("/workspaces/w/api/v1/query", "up + 1")
    assert "/eu-west-1/aps/aws4_request" in headers["Authorization"]

    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("POST", f"{metrics.url}{path}", data="query=up+%2B+1&time=1800000000.000")
    request.headers["Content-Type"] = headers["Content-Type"]
    request.headers["X-Amz-Date"] = headers["X-Amz-Date"]
    request.context["timestamp"] = headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", "secret-word"), "aps", "eu-west-1")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert headers["Authorization"].endswith(f"Signature={auth.signature(text, request)}")


def test_azure_s_and_google_s_prometheus_take_tokens(
    metrics: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    given = iter(["ended", "fresh", "fresh"])
    scopes: list[str] = []

    def tokens(conn_id: str, scope: str) -> Any:
        scopes.append(scope)
        return lambda: next(given)

    monkeypatch.setattr(azure, "tokens", tokens)
    metrics.answers = [(401, {}), vector(3)]
    query = {"query": "up", "url": metrics.url, "cloud": "azure", "connection": "z"}
    assert source("prometheus", query).read(AT).values == (3.0,), "the token is asked for anew"
    assert [headers["Authorization"] for *_, headers in metrics.asked] == ["Bearer ended", "Bearer fresh"]
    assert scopes == ["https://prometheus.monitor.azure.com/.default"]

    session = requests.Session()
    session.headers["Authorization"] = "Bearer google"
    monkeypatch.setattr(gcp, "session", lambda conn_id: session)
    source("prometheus", {**query, "cloud": "gcp"}).read(AT)
    assert metrics.asked[-1][2]["Authorization"] == "Bearer google"


@pytest.mark.parametrize(
    ("answers", "error", "asked"),
    [
        ([(429, {}), (503, {}), vector(1)], None, 3),
        ([(429, {})], TransientError, 3),
        ([None, vector(1)], None, 2),
        ([(200, "no json")], TransientError, 1),
        ([(401, {})], InputError, 2),
        ([(403, {})], InputError, 1),
        ([(400, {"status": "error", "error": "parse error"})], InputError, 1),
        ([(200, {"status": "error", "errorType": "bad_data", "error": "x"})], InputError, 1),
    ],
)
def test_what_is_asked_again(metrics: Service, answers: Any, error: Any, asked: int) -> None:
    metrics.answers = answers
    read = source("prometheus", {"query": "up", "url": metrics.url}).read
    if error is None:
        assert read(AT).values == (1.0,)
    else:
        with pytest.raises(error):
            read(AT)
    assert len(metrics.asked) == asked


@pytest.mark.parametrize(
    ("result", "values"),
    [
        ({"resultType": "scalar", "result": [0, "2.5"]}, (2.5,)),
        ({"resultType": "vector", "result": []}, ()),
        (
            {"resultType": "vector", "result": [{"value": [0, "NaN"]}, {"value": [0, "+Inf"]}]},
            (float("inf"),),
        ),
    ],
)
def test_what_prometheus_tells(metrics: Service, result: Any, values: Any) -> None:
    metrics.answers = [(200, {"status": "success", "data": result})]
    assert source("prometheus", {"query": "up", "url": metrics.url}).read(AT).values == values


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("prometheus", {"query": "up", "connection": "no_such"}),
        ("prometheus", {"query": "up", "connection": "no_such", "url": "http://x", "cloud": "azure"}),
        ("cloudwatch", {"metrics": {"e": {"namespace": "N", "metric": "M"}}, "connection": "no_such"}),
        ("cloud_monitoring", {"filter": "f", "connection": "no_such"}),
        ("azure_monitor", {"resource": "/r", "metric": "m", "connection": "no_such"}),
    ],
)
def test_a_connection_that_is_missing_decides_at_once(name: str, query: Any) -> None:
    sample, verdict = Looker(Check(source=name, query=query, at_most=1.0), begun=AT).look()
    assert verdict is not None
    assert (verdict.state, sample.good) == ("no_data", None)
    named = (
        "specify a region" if name == "cloudwatch" else "no_such"
    )  # Airflow goes on with the worker's own identity
    assert named in verdict.reason


def test_a_source_that_breaks_has_observed_nothing(metrics: Service) -> None:
    metrics.answers = [(200, {"status": "success", "data": {}})]
    check = Check(source="prometheus", query={"query": "up", "url": metrics.url}, at_most=1.0)
    sample, verdict = Looker(check, begun=time.time()).look()
    assert (sample.good, verdict) == (None, None)
    assert "nobody expected" in sample.text


class Client:
    """CloudWatch in the place of boto3's client: answers in turn."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.made = 0

    def get_metric_data(self, **asked: Any) -> Any:
        self.asked = asked
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def refusal(code: str, status: int = 400) -> Exception:
    from botocore.exceptions import ClientError

    said = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "GetMetricData")  # type: ignore[arg-type]


EMPTY: dict[str, Any] = {"MetricDataResults": [{"Id": "e", "Timestamps": [], "Values": []}]}
QUERY = {"connection": "a", "metrics": {"e": {"namespace": "N", "metric": "M"}}, "period": 60, "window": 300}


@pytest.mark.parametrize(
    ("answers", "error", "made"),
    [
        ([EMPTY], None, 1),
        ([refusal("ExpiredTokenException"), EMPTY], None, 2),
        ([refusal("ExpiredToken"), refusal("ExpiredToken")], InputError, 2),
        ([refusal("InvalidClientTokenId", 403)], InputError, 1),
        ([refusal("Throttling")], TransientError, 1),
        ([refusal("InternalServiceFault", 500)], TransientError, 1),
        ([refusal("ValidationError")], InputError, 1),
        ([{"MetricDataResults": [{"Values": [], "Messages": [{"Code": "E", "Value": "v"}]}]}], InputError, 1),
    ],
)
def test_cloudwatch_s_errors(monkeypatch: pytest.MonkeyPatch, answers: Any, error: Any, made: int) -> None:
    client = Client(*answers)

    def connect(*_: Any) -> Client:
        client.made += 1
        return client

    monkeypatch.setattr(aws, "client", connect)
    read = cloudwatch.Source(QUERY).read
    if error is None:
        assert read(AT).silent
    else:
        with pytest.raises(error):
            read(AT)
    assert client.made == made, "expired credentials are looked for once more in the connection"
    window = client.asked["EndTime"].timestamp() - client.asked["StartTime"].timestamp()
    assert (window, client.asked["ScanBy"]) == (300.0, "TimestampDescending")


def test_what_cloud_monitoring_is_asked_and_tells() -> None:
    query = {"filter": "f", "reducer": "REDUCE_SUM", "group_by": ["metric.labels.a", "resource.labels.b"]}
    asked = cloud_monitoring.series_query(query, AT)
    assert [value for name, value in asked if name == "aggregation.groupByFields"] == query["group_by"]
    assert ("interval.startTime", "2027-01-15T07:55:00.000000Z") in asked
    points = [
        {"interval": {"endTime": "2027-01-15T08:00:00Z"}, "value": {"int64Value": "7"}},
        {"interval": {"endTime": "2027-01-15T07:59:00Z"}, "value": {"int64Value": "9"}},
    ]
    older = [{"interval": {"endTime": "2027-01-15T07:58:00Z"}, "value": {"distributionValue": {"mean": 2.5}}}]
    found = cloud_monitoring.parse({"timeSeries": [{"points": points}, {"points": older}, {"points": []}]})
    assert found == Reading(values=(7.0, 2.5), ends=(AT, AT - 120))
    text = [{"interval": {"endTime": "2027-01-15T07:58:00Z"}, "value": {"stringValue": "x"}}]
    with pytest.raises(InputError, match="stringValue cannot be compared"):
        cloud_monitoring.parse({"timeSeries": [{"points": text}]})


def test_a_value_of_the_moment_after_the_gate_began_is_of_the_gate() -> None:
    begun = AT + 0.0177
    asked = dict(cloud_monitoring.series_query({"filter": "f"}, begun + 0.0002))
    point = {"interval": {"endTime": asked["interval.endTime"]}, "value": {"doubleValue": 2.0}}
    assert cloud_monitoring.parse({"timeSeries": [{"points": [point]}]}).since(begun).values == (2.0,)


def test_what_azure_monitor_is_asked_and_tells() -> None:
    query = {"metric": "Requests", "aggregation": "Total", "interval": 300, "filter": "a eq 'b'"}
    asked = azure_monitor.metrics_query(query, AT)
    assert asked["interval"] == "PT5M"
    assert asked["timespan"] == "2027-01-15T07:55:00.000000Z/2027-01-15T08:00:00.000000Z"
    assert "metricnamespace" not in asked
    data = [
        {"timeStamp": "2027-01-15T07:50:00Z", "total": 3.0},
        {"timeStamp": "2027-01-15T07:55:00Z", "total": 4.0},
        {"timeStamp": "2027-01-15T08:00:00Z"},
    ]
    found = azure_monitor.parse({"value": [{"timeseries": [{"data": data}, {"data": data[2:]}]}]}, query)
    assert found == Reading(values=(4.0,), ends=(AT,)), "its grain ends then; a time without data is no zero"
    with pytest.raises(InputError, match="InvalidSamplingType"):
        azure_monitor.parse({"value": [{"errorCode": "InvalidSamplingType", "errorMessage": "m"}]}, query)
