"""Which clouds the people who were asked hold back."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from triplane.approval.decision import DecisionOperator
from triplane.core.approval import Decision

KEY = "k" * 40


def decision(responder: str, *held: str, reason: str = "", key: str = KEY) -> dict[str, Any]:
    made = Decision(
        dag_id="deploy", run_id="r1", vote=0, requester="alice", responder=responder, approved=True,
        change_sets={}, decided_at="", expires_at="", held=held, reason=reason,
    )  # fmt: skip
    return made.sign([key]).to_json()


def decide(*decisions: Any) -> dict[str, str]:
    return DecisionOperator(task_id="decision", decisions=list(decisions)).execute({})["held"]


def test_one_person_is_enough_to_hold_a_cloud_back() -> None:
    assert decide(decision("bob"), decision("carol", "azure", reason="quota")) == {
        "azure": "held back by carol: quota"
    }
    assert decide(decision("bob", "aws"), decision("carol", "gcp")) == {
        "aws": "held back by bob",
        "gcp": "held back by carol",
    }


def test_where_nobody_is_asked_nothing_is_held_back() -> None:
    assert decide(decision("bob")) == {}
    assert DecisionOperator(task_id="decision", decisions=None).execute({}) == {"held": {}}


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        (decision("bob", "aws", key="o" * 40), "not signed by a worker"),
        (decision("bob", "aws") | {"held": []}, "not signed by a worker"),
        ({"approved": True}, "no signed decision"),
        (None, "no signed decision"),
        ("Approve", "no signed decision"),
    ],
)
def test_what_no_worker_signed_is_refused(forged: Any, message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        decide(decision("carol"), forged)
