"""The form that a reviewer fills in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from triplane.approval import form
from triplane.approval.review import review_digest
from triplane.core.approval import Decision
from triplane.core.change import ChangeSet, Risk
from triplane.core.errors import RefusedError

Planned = Callable[..., ChangeSet]


@pytest.fixture
def both(planned: Planned) -> list[ChangeSet]:
    return [planned("aws"), planned("gcp"), planned("azure", Risk.NONE)]


def filled(change_sets: list[ChangeSet], **fields: Any) -> dict[str, Any]:
    return {"digest": review_digest(change_sets), **fields}


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "dag_id": "deploy", "run_id": "r1", "vote": 0, "requester": "alice", "responder": "bob", "approved": True,
        "change_sets": {"aws": "sha256:1"}, "decided_at": "", "expires_at": "",
    }  # fmt: skip
    return Decision(**(fields | changes))


def test_each_of_several_clouds_that_would_change_can_be_held_back(both: list[ChangeSet]) -> None:
    assert list(form.params(both)) == ["digest", "reason", "hold_aws", "hold_gcp"]
    assert list(form.params(both[:1])) == ["digest", "reason"]
    assert [param.value for param in form.params(both).values()] == [review_digest(both), "", False, False]


def test_it_says_whether_a_reason_is_needed(planned: Planned) -> None:
    for change_set, title in (
        (planned(), "Reason (optional)"),
        (planned(risk=Risk.HIGH), "Reason"),
        (planned(risk=Risk.CRITICAL), "Reason"),
        (planned(risk=Risk.CRITICAL, reason_from="never"), "Reason (optional)"),
        (planned(risk=Risk.LOW, reason_from="low"), "Reason"),
        (planned(emergency="it burns"), "Reason"),
    ):
        assert form.params([change_set])["reason"].schema["title"] == title


@pytest.mark.parametrize(
    ("fields", "held", "reason"),
    [
        ({}, (), ""),
        ({"reason": "  looks good "}, (), "looks good"),
        ({"reason": None}, (), ""),
        ({"hold_aws": False, "hold_gcp": True}, ("gcp",), ""),
        ({"hold_gcp": True, "hold_aws": True}, ("aws", "gcp"), ""),
        ({"hold_azure": True}, ("azure",), ""),
    ],
)
def test_what_an_answer_means(both: list[ChangeSet], fields: Any, held: Any, reason: str) -> None:
    assert form.read(filled(both, **fields), both) == (held, reason)


@pytest.mark.parametrize("value", ["true", "False", 1, 0, None, "yes", [True]])
def test_a_hold_that_is_neither_yes_nor_no_approves_nothing(both: list[ChangeSet], value: Any) -> None:
    with pytest.raises(RefusedError, match="is not an answer to this question"):
        form.read(filled(both, hold_aws=value), both)


def test_a_hold_of_a_cloud_that_is_not_there_approves_nothing(both: list[ChangeSet]) -> None:
    with pytest.raises(RefusedError, match="hold_mars=True is not an answer"):
        form.read(filled(both, hold_mars=True), both)


@pytest.mark.parametrize("given", [None, {}, [], "sha256:1", {"digest": None}, {"digest": "sha256:1"}])
def test_an_answer_without_the_digest_approves_nothing(both: list[ChangeSet], given: Any) -> None:
    with pytest.raises(RefusedError, match="nothing is approved"):
        form.read(given, both)


def test_what_approves_something(planned: Planned) -> None:
    form.check(decision(), form.Answer((), ""), [planned()])
    form.check(decision(), form.Answer((), "tested"), [planned(risk=Risk.CRITICAL)])
    form.check(decision(requester="bob"), form.Answer((), ""), [planned(requester_may_approve=True)])


@pytest.mark.parametrize(
    ("changes", "risk", "message"),
    [
        ({"approved": False, "reason": "too late"}, Risk.LOW, "rejected by bob: too late"),
        ({"change_sets": {}}, Risk.LOW, "bob holds back every cloud"),
        ({"requester": "bob"}, Risk.LOW, "bob asked for this run and may not approve it; clear this task"),
        ({}, Risk.HIGH, "bob gave no reason.* clear this task to ask again"),
    ],
)
def test_what_does_not(planned: Planned, changes: Any, risk: Risk, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        form.check(decision(**changes), form.Answer((), ""), [planned(risk=risk)])
