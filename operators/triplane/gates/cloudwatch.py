"""Amazon CloudWatch: metrics with metric math, or alarms.

Query: ``{"connection", "region", "metrics": {id: {"namespace", "metric", "dimensions": {}, "stat"}}, "expression", "period":
60, "window": 300}``, or ``{"connection", "region", "alarms": [name]}``. Times in seconds. One metric needs no expression.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from triplane.core.errors import InputError, TransientError
from triplane.gates.check import Reading

_THROTTLED = ("Throttling", "ThrottlingException", "RequestLimitExceeded", "LimitExceeded")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_REFUSED = (*_EXPIRED, "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch")


class Source:
    """Asks for one result; the newest value in the window counts."""

    def __init__(self, query: Mapping[str, Any]) -> None:
        self._query = query
        self._client = self._connect()

    def _connect(self) -> Any:
        from triplane.clouds import aws

        return aws.client("cloudwatch", self._query["connection"], self._query.get("region"))

    def read(self, at: float) -> Reading:
        """:raises InputError: it is asked for something wrong, or the credentials are not accepted
        :raises TransientError: CloudWatch throttles or fails, also after boto3's own tries
        """
        try:
            return self._read(at)
        except _Expired:
            self._client = self._connect()  # the connection may hold new ones by now
            return self._read(at)

    def _read(self, at: float) -> Reading:
        with errors(str(self._query["connection"])):
            return self._alarms() if self._query.get("alarms") else self._metrics(at)

    def _metrics(self, at: float) -> Reading:
        query, period = self._query, int(self._query.get("period", 60))
        end = datetime.fromtimestamp(math.ceil(at), UTC)  # CloudWatch cuts fractions off
        start = datetime.fromtimestamp(at - float(query.get("window", 300)), UTC)
        answer = self._client.get_metric_data(
            MetricDataQueries=data_queries(query), StartTime=start, EndTime=end, ScanBy="TimestampDescending"
        )
        found = answer["MetricDataResults"]
        if wrong := [
            f"{said['Code']}: {said['Value']}" for item in found for said in item.get("Messages", ())
        ]:
            raise InputError(f"CloudWatch: {'; '.join(wrong)}; correct the gate")
        newest = [
            (item["Timestamps"][0].timestamp(), float(item["Values"][0])) for item in found if item["Values"]
        ]
        if not newest:
            return Reading(
                text=f"CloudWatch has no value of {told(query)} in the last {query.get('window', 300):g} s"
            )
        return Reading(
            values=tuple(value for _, value in newest), ends=tuple(moment + period for moment, _ in newest)
        )

    def _alarms(self) -> Reading:
        names = list(self._query["alarms"])
        answer = self._client.describe_alarms(AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        states = {
            alarm["AlarmName"]: alarm["StateValue"]
            for kind in ("MetricAlarms", "CompositeAlarms")
            for alarm in answer.get(kind, ())
        }
        if missing := sorted(set(names) - states.keys()):
            raise InputError(f"CloudWatch has no alarm {', '.join(missing)}; correct the gate")
        text = ", ".join(f"{name} is {states[name]}" for name in names)
        if "ALARM" in states.values():
            return Reading(good=False, text=text)
        return Reading(good=True if set(states.values()) == {"OK"} else None, text=text)


def data_queries(query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``MetricDataQueries``: the metrics, and the one result. :raises InputError: several metrics and no expression"""
    metrics, expression = query["metrics"], query.get("expression")
    if expression is None and len(metrics) != 1:
        raise InputError("a gate with several metrics needs an `expression`, for example errors / calls")
    period = int(query.get("period", 60))
    found: list[dict[str, Any]] = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric["namespace"],
                    "MetricName": metric["metric"],
                    "Dimensions": [
                        {"Name": key, "Value": str(value)}
                        for key, value in metric.get("dimensions", {}).items()
                    ],
                },
                "Period": period,
                "Stat": metric.get("stat", "Sum"),
            },
            "ReturnData": expression is None,
        }
        for name, metric in metrics.items()
    ]
    if expression is not None:
        found.append({"Id": "judged", "Expression": expression, "Period": period, "ReturnData": True})
    return found


def told(query: Mapping[str, Any]) -> str:
    """The result that is asked for, for people."""
    names = ", ".join(f"{each['namespace']} {each['metric']}" for each in query["metrics"].values())
    return f"{query['expression']} ({names})" if query.get("expression") else names


class _Expired(InputError):
    """The credentials have ended."""


@contextmanager
def errors(conn_id: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code, said = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _REFUSED:
            text = f"CloudWatch: {code}: {said}; the credentials of {conn_id} are not accepted: renew them"
            raise (_Expired if code in _EXPIRED else InputError)(text) from error
        if code in _THROTTLED or status >= 500 or status == 429:
            raise TransientError(f"CloudWatch: {code}: {said}") from error
        raise InputError(f"CloudWatch: {code}: {said}; correct the gate, or what {conn_id} may do") from error
    except BotoCoreError as error:
        raise TransientError(f"CloudWatch: {error}") from error
