"""CloudWatch over moto's: what the service refuses, metric math, and periods that begin where the real ones do."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch import models
from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import CloudWatchBackend

HIGH_RESOLUTION = (1, 5, 10, 30)
MOST_POINTS = 100_800
STATS = re.compile(r"SampleCount|Average|Sum|Minimum|Maximum|p\d{1,2}(\.\d+)?|p100|tm\d+|IQM")
_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def install() -> None:
    """Put it over moto's."""
    get = CloudWatchBackend.get_metric_data

    def get_metric_data(
        self: Any, queries: list[dict[str, Any]], start_time: datetime, end_time: datetime, scan_by: str
    ) -> Any:
        _check(queries, start_time, end_time)
        periods = [int(query["MetricStat"]["Period"]) for query in queries if "MetricStat" in query]
        seconds = start_time.timestamp()
        start = datetime.fromtimestamp(seconds - seconds % max(periods, default=1), UTC)
        moved = start if start_time.tzinfo else start.replace(tzinfo=None)
        return get(self, queries=queries, start_time=moved, end_time=end_time, scan_by=scan_by)

    CloudWatchBackend.get_metric_data = get_metric_data
    models.parse_expression = evaluate


def _check(queries: list[dict[str, Any]], start: datetime, end: datetime) -> None:
    """:raises ValidationError: the service would not take this"""
    identities = [query["Id"] for query in queries]
    if wrong := [each for each in identities if not re.fullmatch(r"[a-z][A-Za-z0-9_]*", each)]:
        raise ValidationError(f"The value {wrong[0]} for parameter Id is not matching the expected pattern.")
    if len(set(identities)) < len(identities):
        raise ValidationError("The values for parameter id in MetricDataQueries are not unique.")
    if not any(query.get("ReturnData", True) for query in queries):
        raise ValidationError("At least one query must return data.")
    for query in queries:
        if "MetricStat" not in query:
            _parsed(query["Expression"], set(identities) - {query["Id"]})
            continue
        period, stat = int(query["MetricStat"]["Period"]), query["MetricStat"]["Stat"]
        if period not in HIGH_RESOLUTION and (period <= 0 or period % 60):
            raise ValidationError("The parameter Period must be a multiple of 60, or 1, 5, 10, 30.")
        if not STATS.fullmatch(stat):
            raise ValidationError(f"The value {stat} for parameter Stat is not supported.")
        if (end - start).total_seconds() / period > MOST_POINTS:
            raise ValidationError(f"The request would give more than {MOST_POINTS} data points.")


def evaluate(expression: str, results: list[dict[str, Any]]) -> tuple[list[Any], list[datetime]]:
    """Arithmetic over the metrics that it names, at the times for which all of them have a value."""
    known = {
        result["id"]: dict(zip(result["timestamps"], result["values"], strict=True)) for result in results
    }
    tree = _parsed(expression, set(known))
    used = [known[node.id] for node in ast.walk(tree) if isinstance(node, ast.Name)]
    times = [time for time in used[0] if all(time in values for values in used)] if used else []
    values: list[Any] = []
    kept: list[datetime] = []
    for time in times:
        try:
            values.append(_value(tree.body, {name: at[time] for name, at in known.items() if time in at}))
        except ZeroDivisionError:
            continue
        kept.append(time)
    return values, kept


def _parsed(expression: str, known: set[str]) -> ast.Expression:
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        raise ValidationError(f"Error in expression '{expression}': Invalid syntax") from None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if unknown := sorted(names - known):
        raise ValidationError(f"Error in expression '{expression}': Unknown reference {unknown[0]}")
    return tree


def _value(node: ast.AST, at: dict[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return float(at[name])
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, at)
        case ast.BinOp(left=left, op=way, right=right) if type(way) in _OPERATORS:
            return _OPERATORS[type(way)](_value(left, at), _value(right, at))
    raise ValidationError("The sandbox knows the metric math + - * / only")
