"""A gate after a Helm release has changed: what does not pass goes back to what served before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from tests.e2e.monitoring_lab import QUICK, fired
from tests.e2e.test_kubernetes import Lab, airflow, lab4
from tests.unit.gates.services import Service, serving, vector

__all__ = ["airflow", "lab4"]


@pytest.fixture
def metrics() -> Iterator[Service]:
    with serving(vector(0)) as made:
        yield made


def deploy(lab: Lab, image: str, metrics: Service, **more: Any) -> dict[str, Any]:
    query = {"url": metrics.url, "query": "errors"}
    gate = [{**QUICK, "name": "errors", "source": "prometheus", "query": query, "at_most": 1.0}]
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
