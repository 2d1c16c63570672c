"""A gate after a Helm release has changed: what does not pass goes back to what served before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput, TaskDeferred

from tests.e2e.monitoring_lab import QUICK, fired
from tests.e2e.test_kubernetes import Lab, airflow, lab4
from tests.unit.gates.asked import Questions, context
from tests.unit.gates.services import Service, serving, vector

__all__ = ["airflow", "lab4"]


@pytest.fixture
def metrics() -> Iterator[Service]:
    with serving(vector(0)) as made:
        yield made


def deploy(lab: Lab, image: str, metrics: Service, options: Any = (), **more: Any) -> dict[str, Any]:
    query = {"url": metrics.url, "query": "errors"}
    gate = [
        {**QUICK, "name": "errors", "source": "prometheus", "query": query, "at_most": 1.0, **dict(options)}
    ]
    lab.tries.clear()
    operator = lab.operator(image, gate=gate, **more)
    try:
        return operator.execute(lab.context())  # type: ignore[arg-type]
    except TaskDeferred as parked:
        kwargs = parked.kwargs or {}
        later = lab.operator(image, gate=gate, **more)
        return getattr(later, parked.method_name)(lab.context(), event=fired(parked), **kwargs)


def test_a_release_that_a_gate_judges(lab4: Lab, metrics: Service) -> None:
    lab = lab4
    metrics.answers = [vector(7)]
    with pytest.raises(AirflowFailException, match=r"did not pass \(fail\): errors: 7 .*nothing serves"):
        deploy(lab, lab.good, metrics)
    assert lab.xcom["return_value"]["state"] == "failed"
    metrics.answers = [vector(0)]
    assert deploy(lab, lab.good, metrics)["state"] == "deployed"
    asked = len(metrics.asked)
    assert deploy(lab, lab.good, metrics, change=lab.plan(lab.good))["state"] == "unchanged"
    assert len(metrics.asked) == asked, "what was not changed is not judged"

    serving_before = lab.serving()
    change = lab.plan(lab.better)
    metrics.answers = [vector()]
    with pytest.raises(AirflowFailException, match=r"did not pass \(no_data\).*revision 3 serves"):
        deploy(lab, lab.better, metrics, change=change)
    assert (lab.xcom["return_value"]["state"], lab.xcom["return_value"]["version"]) == ("rolled_back", "3")
    assert lab.serving() == serving_before
    metrics.answers = [vector(1)]
    assert deploy(lab, lab.better, metrics)["state"] == "deployed"
    assert lab.serving() != serving_before


def test_a_person_may_let_a_release_without_data_stay(
    lab4: Lab, metrics: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, questions = lab4, Questions(monkeypatch)
    monkeypatch.setattr(
        lab, "context", lambda: {**Lab.context(lab), **context()} | {"ti": Lab.context(lab)["ti"]}
    )
    asks = {"no_data": "ask"}
    deploy(lab, lab.good, metrics)
    metrics.answers = [vector()]
    for image, option, state in ((lab.better, "Reject", "rolled_back"), (lab.better, "Approve", "deployed")):
        before = lab.serving()
        with pytest.raises(TaskAwaitingInput) as parked:
            deploy(lab, image, metrics, asks)
        later = getattr(lab.operator(image), parked.value.method_name)
        answer = questions.answer(option=option)
        if option == "Approve":
            assert later(lab.context(), event=answer, **(parked.value.kwargs or {}))["state"] == state
            assert lab.serving() != before
        else:
            with pytest.raises(AirflowFailException, match=r"\(no_data\).*rejected by bob"):
                later(lab.context(), event=answer, **(parked.value.kwargs or {}))
            assert lab.xcom["return_value"]["state"] == state
