"""Triplane's metrics leave through Airflow's own StatsD client, as lines that a real listener reads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
from tests.unit.gates.asked import Questions, context, parked
from tests.unit.gates.services import serving

from triplane import metrics
from triplane.gates.sensors import GateSensor
from triplane.rollout.marking import mark

RESULTS = [
    {"address": "aws/stack/network", "state": "deployed", "version": "3", "seconds": 1.5},
    {"address": "aws/chart/api", "state": "unchanged", "version": "1", "seconds": 0.2},
]


class Listener:
    """A StatsD server that keeps what it is sent."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(5)
        self.port = self._socket.getsockname()[1]

    def lines(self, count: int) -> list[str]:
        """The next lines."""
        return [self._socket.recv(65536).decode() for _ in range(count)]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    made = Listener()
    on = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": str(made.port)}
    for key, value in {**on, "statsd_influxdb_enabled": "True"}.items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__{key.upper()}", value)
    stats.initialize(factory=get_stats_factory(), export_legacy_names=False)
    yield made
    made.close()
    monkeypatch.undo()
    stats.initialize(factory=get_stats_factory(), export_legacy_names=False)


def told(line: str) -> tuple[str, dict[str, str], float, str]:
    """Name, tags, value and type of one line."""
    head, _, rest = line.partition(":")
    name, *tags = head.split(",")
    value, _, kind = rest.partition("|")
    return name, dict(tag.split("=", 1) for tag in tags), float(value), kind


def test_a_rollout_and_its_components(listener: Listener) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=60)
    change_set = SimpleNamespace(
        platform="shop", environment="prod", cloud="aws", revision="c0ffee", intent="deploy"
    )
    run = SimpleNamespace(run_id="r1", start_date=begun)
    mark([], change_set, RESULTS, run, print, "rolled_back")  # type: ignore[arg-type]
    whole, *each = map(told, listener.lines(3))
    assert whole[0] == "airflow.triplane.rollout.duration"
    assert whole[1] == {
        "platform": "shop", "environment": "prod", "cloud": "aws", "intent": "deploy", "outcome": "rolled_back",
    }  # fmt: skip
    assert 60_000 <= whole[2] < 70_000
    assert whole[3] == "ms"
    place = {"environment": "prod", "cloud": "aws"}
    duration = "airflow.triplane.component.duration"
    assert each == [
        (duration, {**place, "kind": "stack", "component": "network", "state": "deployed"}, 1500.0, "ms"),
        (duration, {**place, "kind": "chart", "component": "api", "state": "unchanged"}, 200.0, "ms"),
    ]


@pytest.mark.parametrize(
    ("answer", "option", "states"),
    [
        ((200, "ok"), None, ["pass"]),
        ((500, "no"), None, ["fail"]),
        (None, None, ["no_data"]),
        (None, "Approve", ["approved", "waived"]),
        (None, "Reject", ["rejected", "no_data"]),
    ],
)
def test_every_verdict_and_how_long_people_took(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, answer: Any, option: str | None, states: list[str]
) -> None:
    questions, seen = Questions(monkeypatch), context(params={"environment": "prod"})
    with serving(answer) as service:
        times = {"lasting": 0.1, "every": 0.05, "patience": 0.05}
        check = {"source": "http", "query": {"url": service.url}, **times}
        check["no_data"] = "ask" if option else "fail"
        gate = GateSensor(task_id="gate", checks=[check], deferrable=False)

        def judge() -> None:
            if not option:
                gate.execute(seen)
                return
            waits = parked(lambda: gate.execute(seen))
            gate.answered(seen, questions.answer(option=option), **(waits.kwargs or {}))

        if states[-1] in ("fail", "no_data"):
            with pytest.raises(AirflowFailException):
                judge()
        else:
            judge()
    found = list(map(told, listener.lines(len(states))))
    assert found[-1] == ("airflow.triplane.gate.verdicts", {"gate": "gate", "verdict": states[-1]}, 1.0, "c")
    if option:
        name, tags, waited, kind = found[0]
        assert (name, kind) == ("airflow.triplane.approval.waiting", "ms")
        assert tags == {"asked": "gate", "answer": states[0], "environment": "prod"}
        assert 0 <= waited < 10_000


def test_drift_by_state(listener: Listener) -> None:
    metrics.drift("shop", "prod", {"in_sync": 25, "drifted": 3})
    place = {"platform": "shop", "environment": "prod"}
    assert [told(line) for line in listener.lines(2)] == [
        ("airflow.triplane.drift.components", {**place, "state": "in_sync"}, 25.0, "g"),
        ("airflow.triplane.drift.components", {**place, "state": "drifted"}, 3.0, "g"),
    ]


def test_an_approval_that_nobody_gave(listener: Listener) -> None:
    from triplane.questions import tell_waiting

    tell_waiting(context(), {"error": "late"}, "approval", datetime.now(UTC) - timedelta(hours=1))
    ((name, tags, waited, _),) = map(told, listener.lines(1))
    assert (name, tags) == ("airflow.triplane.approval.waiting", {"asked": "approval", "answer": "expired"})
    assert waited >= 3_600_000


def test_every_name_is_in_the_guide() -> None:
    from pathlib import Path

    guide = (Path(__file__).parents[2] / "docs/guides/metrics.md").read_text()
    names = (metrics.ROLLOUTS, metrics.COMPONENTS, metrics.VERDICTS, metrics.WAITING, metrics.DRIFT)
    assert [name for name in names if f"`{name}`" not in guide] == []
