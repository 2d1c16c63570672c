"""What a spec says about gates, and what it cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from triplane.factories.gates import checks, checks_in
from triplane.gates.check import SOURCES, Check
from triplane.spec import gates
from triplane.spec.load import SpecError, load
from triplane.spec.model import Platform

PROMETHEUS = {"query": "up", "url": "http://x"}
BASE: dict[str, Any] = {
    "version": 1,
    "name": "shop",
    "environments": {"staging": {}, "prod": {}},
    "clouds": {
        "aws": {
            "region": "eu-west-1",
            "connection": "shop_aws",
            "state": {"bucket": "b"},
            "stacks": {"main": {"path": "i"}},
        }
    },
}


def platform(folder: Path, found: Any, **changes: Any) -> Platform:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump({**BASE, "gates": found, **changes}, sort_keys=False))
    return load(file, files=False)


def test_a_gate_is_plain_values_that_a_check_takes(tmp_path: Path) -> None:
    written = {
        "errors": {
            "cloudwatch": {
                "metrics": {"e": {"namespace": "N", "metric": "M", "dimensions": {"F": "${gate.name}"}}},
                "period": "5m",
            },
            "baseline": {"window": "1h"},
            "at_most": 1.5,
            "for": "10m",
            "every": "1m",
        },
        "answers": {"http": {"url": "https://x/${environment}"}},
    }
    found = platform(tmp_path, written)
    (plain,) = checks(found, ["errors"])
    assert Check.from_json(plain).to_json() == plain
    assert plain["query"] == {
        "connection": "shop_aws",
        "region": "eu-west-1",
        "metrics": {
            "e": {"namespace": "N", "metric": "M", "dimensions": {"F": "${gate.name}"}, "stat": "Sum"}
        },
        "period": 300.0,
        "window": 300.0,
    }
    assert plain["baseline"] == {**plain["query"], "window": 3600.0}
    assert (plain["lasting"], plain["every"], plain["patience"]) == (600.0, 60.0, 600.0)
    (rendered,) = checks_in(found, ["answers"]).of("prod")
    assert rendered["query"]["url"] == "https://x/prod"
    assert gates.SOURCES == SOURCES


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"at_most": 1}, "exactly one of http, prometheus"),
        ({"http": {"url": "http://x"}, "prometheus": PROMETHEUS, "at_most": 1}, "exactly one of"),
        ({"prometheus": PROMETHEUS}, "say 'at_most' or 'at_least'"),
        ({"http": {"url": "http://x"}, "at_most": 1}, "good or bad by themselves"),
        ({"http": {"url": "ftp://x"}}, "url"),
        ({"http": {"url": "http://x"}, "for": "5s", "every": "10s"}, "not be longer than 'for'"),
        ({"prometheus": {"query": "up"}, "at_most": 1}, "give the 'url' of the Prometheus"),
        ({"prometheus": {"query": "up", "cloud": "aws", "connection": "c"}, "at_most": 1}, "needs its 'url'"),
        ({"prometheus": PROMETHEUS, "at_most": 1, "against": "before", "baseline": {}}, "not with both"),
        ({"prometheus": PROMETHEUS, "at_most": 1, "baseline": {"qery": "x"}}, "baseline: qery"),
        ({"cloudwatch": {}, "at_most": 1}, "either 'metrics' or 'alarms'"),
        (
            {"cloudwatch": {"metrics": {n: {"namespace": "n", "metric": "m"} for n in "ab"}}, "at_most": 1},
            "several metrics need an 'expression'",
        ),
        ({"cloudwatch": {"alarms": ["a"]}, "at_most": 1}, "good or bad by themselves"),
        ({"cloud_monitoring": {"filter": "x", "promql": "y"}, "at_most": 1}, "exactly one of 'filter'"),
        ({"azure_monitor": {"metric": "m"}, "at_most": 1}, "either 'resource' and 'metric'"),
        ({"azure_monitor": {"resource": "x", "metric": "m"}, "at_most": 1}, "resource"),
        (
            {"prometheus": {"query": "up{v='${network.x}'}", "url": "http://x"}, "at_most": 1},
            "a gate knows only",
        ),
        ({"prometheus": {"query": "up", "connection": "${environment}"}, "at_most": 1}, "connection"),
        ({"prometheus": PROMETHEUS, "at_most": 1, "no_data": "pass"}, "'wait', 'fail' or 'ask'"),
    ],
)
def test_what_makes_no_sense_is_said_where_it_stands(tmp_path: Path, gate: Any, said: str) -> None:
    with pytest.raises(SpecError) as found:
        platform(tmp_path, {"g": gate})
    assert said in str(found.value)
    assert all(problem.line >= 9 for problem in found.value.problems)


def test_gates_that_are_not_there_and_questions_that_only_a_function_answers(tmp_path: Path) -> None:
    written = {"errors": {"prometheus": {"query": "e{v='${gate.version}'}", "url": "http://x"}, "at_most": 1}}
    cloud = {**BASE["clouds"]["aws"], "stacks": {"main": {"path": "i", "gate": ["errors", "eror"]}}}
    with pytest.raises(SpecError) as found:
        platform(tmp_path, written, clouds={"aws": cloud}, release={"gate": "nothing"})
    said = str(found.value)
    assert "there is no gate 'nothing' (name it under `gates:`)" in said
    assert "the gate 'errors' asks about ${gate.version}, which only a function has" in said
    assert "there is no gate 'eror' (did you mean 'errors'?)" in said
