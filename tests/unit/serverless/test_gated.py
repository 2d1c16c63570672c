"""A deployment that a gate judges, in a cloud in memory; the gate asks a server whose answers the test writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from tests.unit.gates.services import Service, serving, vector
from tests.unit.serverless.test_serverless_operators import Run, clock, run

from triplane import settings
from triplane.gates.triggers import GateTrigger
from triplane.serverless import gating
from triplane.serverless.operators import ServerlessDeployOperator

__all__ = ["clock", "run"]
CANARY = {"strategy": "canary", "steps": [10, 50], "wait": 0}


@pytest.fixture
def metrics() -> Iterator[Service]:
    with serving(vector(0)) as made:
        yield made


def gate(metrics: Service, **options: Any) -> dict[str, Any]:
    query = {
        "url": metrics.url,
        "query": "errors{name='${gate.name}',new='${gate.version}',old='${gate.previous}'}",
    }
    times = {"lasting": 0.1, "every": 0.05, "patience": 0.1}
    return {"name": "errors", "source": "prometheus", "query": query, "at_most": 1.0, **times, **options}


class Gated:
    """A run whose deployment is judged, as the triggerer and workers do it, each time in another process."""

    def __init__(self, run: Run, metrics: Service, **options: Any) -> None:
        self.run, self.options = run, {"traffic": CANARY, "gate": [gate(metrics)], **options}
        self.began: list[float] = []

    def deploy(self, text: str) -> dict[str, Any]:
        self.run.number += 1
        self.run.write(text)
        change = self.run.plan(**self.options)
        return self.waited(lambda: self.run.deploy(change, **self.options), change)

    def waited(self, step: Callable[[], dict[str, Any]], change: Any) -> dict[str, Any]:
        """What ``step`` returns, all that it waits for over."""
        while True:
            try:
                return step()
            except TaskDeferred as parked:
                step = self._after(parked, change)

    def _after(self, parked: TaskDeferred, change: Any) -> Any:
        operator = ServerlessDeployOperator(**self.run.arguments(change=change, **self.options))
        method, kwargs = getattr(operator, parked.method_name), parked.kwargs or {}
        if not isinstance(parked.trigger, GateTrigger):
            return lambda: method(self.run.context(), None, **kwargs)
        arguments = parked.trigger.serialize()[1]
        self.began.append(arguments["begun"])

        async def first() -> Any:
            return (await anext(GateTrigger(**arguments).run())).payload

        event = asyncio.run(first())
        return lambda: method(self.run.context(), event=event, **kwargs)


def test_every_step_is_judged_about_its_versions(run: Run, metrics: Service) -> None:
    gated = Gated(run, metrics)
    assert gated.deploy("first")["version"] == "1"
    assert {asked["query"] for _, asked, _ in metrics.asked} == {"errors{name='w',new='1',old=''}"}
    metrics.asked.clear()
    gated.began.clear()
    assert gated.deploy("second")["version"] == "2"
    assert {asked["query"] for _, asked, _ in metrics.asked} == {"errors{name='w',new='2',old='1'}"}
    assert run.cloud.world.history[-3:] == [{"1": 90, "2": 10}, {"1": 50, "2": 50}, {"2": 100}]
    assert len(gated.began) == 3, "at 10, 50 and 100 %"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (vector(9), r"at 50 % \(fail\): errors: 9"),
        (vector(), r"at 50 % \(no_data\): errors: nothing was observed"),
        ((400, {"status": "error", "error": "parse error"}), r"at 50 % \(no_data\): errors: .*parse error"),
    ],
)
def test_what_does_not_pass_goes_back(run: Run, metrics: Service, answer: Any, said: str) -> None:
    gated = Gated(run, metrics)
    gated.deploy("first")
    shifted = len(run.cloud.world.history)
    real = run.cloud.shift

    def shift(name: str, version: str, percent: int, *rest: Any) -> Any:
        if percent == 50:
            metrics.answers = [answer]
        return real(name, version, percent, *rest)

    run.cloud.shift = shift  # type: ignore[method-assign]
    with pytest.raises(AirflowFailException, match=said):
        gated.deploy("second")
    assert run.cloud.world.traffic == {"1": 100}
    assert run.cloud.world.history[shifted:] == [{"1": 90, "2": 10}, {"1": 50, "2": 50}, {"1": 100}]
    assert (run.results["return_value"]["state"], run.results["return_value"]["version"]) == (
        "rolled_back",
        "1",
    )


def test_all_at_once_is_judged_too_and_a_first_version_that_is_bad_is_removed(
    run: Run, metrics: Service
) -> None:
    gated = Gated(run, metrics, traffic=None)
    metrics.answers = [vector(2)]
    with pytest.raises(AirflowFailException, match=r"at 100 %.*nothing serves"):
        gated.deploy("first")
    metrics.answers = [vector(0)]
    assert gated.deploy("second")["state"] == "deployed"
    metrics.answers = [vector(2)]
    with pytest.raises(AirflowFailException, match="at 100 %"):
        gated.deploy("third")
    assert len(run.cloud.world.traffic) == 1


def test_a_first_version_is_not_compared(run: Run, metrics: Service) -> None:
    metrics.answers = [vector(5)]
    compared = gate(
        metrics, against="baseline", baseline={"url": metrics.url, "query": "e{v='${gate.previous}'}"}
    )
    gated = Gated(run, metrics, gate=[compared])
    assert gated.deploy("first")["state"] == "deployed"
    assert not metrics.asked
    assert gated.deploy("second")["state"] == "deployed"
    assert {asked["query"] for _, asked, _ in metrics.asked} == {
        "errors{name='w',new='2',old='1'}",
        "e{v='1'}",
    }


def test_a_verdict_on_another_step_is_not_taken(run: Run, metrics: Service) -> None:
    gated = Gated(run, metrics)
    gated.deploy("first")
    run.number += 1
    run.write("second")
    change = run.plan(**gated.options)
    with pytest.raises(TaskDeferred) as parked:
        run.deploy(change, **gated.options)
    good = {"state": "pass", "reason": "", "observed": 1, "samples": []}
    operator = ServerlessDeployOperator(**run.arguments(change=change, **gated.options))
    with pytest.raises(TaskDeferred) as again:
        operator.go_on_judged(run.context(), good, ["another attempt", 0, 0.0])
    assert again.value.trigger.serialize() == parked.value.trigger.serialize()
    assert run.cloud.world.traffic == {"1": 90, "2": 10}


def test_a_worker_that_does_not_defer_watches_itself(run: Run, metrics: Service) -> None:
    options = {"gate": [gate(metrics)], "deferrable": False}
    assert run.deploy(run.plan(**options), **options)["version"] == "1"
    assert len(metrics.asked) > 1


def test_the_gate_is_part_of_what_is_approved(run: Run, metrics: Service) -> None:
    options = {"gate": [gate(metrics)]}
    change = run.plan(**options)
    assert "a gate judges each step" in change["lines"]
    for other in ({}, {"gate": [gate(metrics, at_most=99.0)]}):
        with pytest.raises(AirflowFailException, match="gate not as approved"):
            run.deploy(change, **other)
    with pytest.raises(AirflowFailException, match="gate not as approved"):
        run.deploy(run.plan(), **options)
    assert not run.cloud.world.versions


def test_a_rollback_is_not_judged(run: Run, metrics: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = ServerlessDeployOperator(**run.arguments(change_set="sha256:x", gate=[gate(metrics)]))
    for intent, back in (("rollback", True), ("deploy", False)):
        found = type("ChangeSet", (), {"intent": intent})
        monkeypatch.setattr(settings, "get_change_set", lambda digest, found=found: found)
        assert operator._goes_back() is back


def test_a_gate_that_makes_no_sense_is_refused_while_planning(run: Run, metrics: Service) -> None:
    for wrong, said in (
        ({"query": {"query": "${gate.color}"}}, r"\$\{gate.color\} is none of"),
        ({"source": "tarot"}, "is none of http"),
    ):
        with pytest.raises(AirflowFailException, match=said):
            run.plan(gate=[gate(metrics, **wrong)])
    assert gating.NAMES == ("gate.name", "gate.version", "gate.previous")
