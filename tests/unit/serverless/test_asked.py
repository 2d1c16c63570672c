"""A gate between the steps of a canary that has no data, and asks a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from tests.unit.gates.asked import Questions
from tests.unit.gates.services import Service, vector
from tests.unit.serverless.test_gated import Gated, clock, gate, metrics, run
from tests.unit.serverless.test_serverless_operators import Run

from triplane.serverless.operators import ServerlessDeployOperator

__all__ = ["clock", "metrics", "run"]
STEPS = [{"1": 90, "2": 10}, {"1": 50, "2": 50}, {"2": 100}]


class Asked(Gated):
    """A second version whose gate is silent; people answer in turn."""

    def __init__(self, run: Run, metrics: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        terms = {"approvers": ["bob"], "within": 60.0}
        super().__init__(run, metrics, gate=[gate(metrics, no_data="ask")], ask=terms)
        self.deploy("first")
        self.questions = Questions(monkeypatch)
        metrics.answers = [vector()]

    def deploy_asked(self, *answers: Callable[[Questions], dict[str, Any]]) -> dict[str, Any]:
        """What the task returns after these answers; no other question is asked."""
        left = list(answers)
        self.run.number += 1
        self.run.write("second")
        change = self.run.plan(**self.options)
        step: Callable[[], dict[str, Any]] = lambda: self.run.deploy(change, **self.options)  # noqa: E731
        while True:
            try:
                return self.waited(step, change)
            except TaskAwaitingInput as parked:
                operator = ServerlessDeployOperator(**self.run.arguments(change=change, **self.options))
                method, kwargs = getattr(operator, parked.method_name), parked.kwargs or {}
                event = left.pop(0)(self.questions)
                step = lambda: method(self.run.context(), event=event, **kwargs)  # noqa: B023, E731


@pytest.fixture
def asked(run: Run, metrics: Service, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 40)
    return Asked(run, metrics, monkeypatch)


def test_a_person_is_asked_at_each_step(asked: Asked, run: Run) -> None:
    approve: Callable[[Questions], dict[str, Any]] = lambda questions: questions.answer()  # noqa: E731
    assert asked.deploy_asked(approve, approve, approve)["version"] == "2"
    assert run.cloud.world.history[-3:] == STEPS
    assert ["later" in each.params for each in asked.questions.asked] == [True, True, False]


def test_one_answer_may_be_for_all_steps(asked: Asked, run: Run) -> None:
    assert asked.deploy_asked(lambda questions: questions.answer(later=True))["version"] == "2"
    assert run.cloud.world.history[-3:] == STEPS
    assert len(asked.questions.asked) == 1


def test_what_fails_later_goes_back_even_so(asked: Asked, run: Run, metrics: Service) -> None:
    def answered(questions: Questions) -> dict[str, Any]:
        metrics.answers = [vector(9)]
        return questions.answer(later=True)

    with pytest.raises(AirflowFailException, match=r"at 50 % \(fail\): errors: 9"):
        asked.deploy_asked(answered)
    assert run.cloud.world.traffic == {"1": 100}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda questions: questions.answer(option="Reject", reason="no"), "rejected by bob: no"),
        (lambda questions: {"error": "late", "error_type": "timeout"}, "nobody answered in time"),
        (lambda questions: questions.answer(by="carol"), "carol is not among the approvers bob"),
    ],
)
def test_without_an_approval_it_goes_back(asked: Asked, run: Run, answer: Any, said: str) -> None:
    with pytest.raises(AirflowFailException, match=rf"at 10 % \(no_data\): errors: .*{said}.*; 1 serves"):
        asked.deploy_asked(answer)
    assert run.cloud.world.traffic == {"1": 100}
    assert run.results["return_value"]["state"] == "rolled_back"


def test_a_question_that_cannot_be_asked_goes_back(asked: Asked, run: Run) -> None:
    asked.questions.asked.append(type("Other", (), {"subject": "another question", "body": ""}))
    with pytest.raises(AirflowFailException, match=r"at 10 % .*text of an earlier try.*; 1 serves"):
        asked.deploy_asked()
    assert run.cloud.world.traffic == {"1": 100}
