"""Every way in which a decision may fail to cover what is applied."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.core.approval import Decision, Policy, closed, verify, votes_needed
from triplane.core.calendar import Calendar, Freeze
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.errors import InputError, RefusedError, StaleError
from triplane.core.keys import check_keys
from triplane.core.runs import apply_run_id

KEY, OTHER = "k" * 32, "o" * 32
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def change_set(risk: Risk = Risk.LOW, **policy: Any) -> ChangeSet:
    change = ComponentChange(
        address="aws/stack/network",
        action="none" if risk is Risk.NONE else "create",
        risk=risk,
        summary="",
        binds={"plan": "1"},
    )
    return ChangeSet(
        platform="p", environment="prod", cloud="aws", asked="main", revision="r", planned_at=NOW.isoformat(), source="s", spec="t",
        policy=Policy(**policy).to_json(), changes=(change,),
    )  # fmt: skip


def decision(target: ChangeSet, **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "dag_id": "deploy", "run_id": "r1", "vote": 0, "requester": "alice", "responder": "bob", "approved": True,
        "change_sets": {"aws": target.digest}, "decided_at": NOW.isoformat(),
        "expires_at": (NOW + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    return Decision(**(fields | changes)).sign([KEY])


def check(
    target: ChangeSet,
    *decisions: Decision,
    dag: str = "deploy_aws",
    run: str = "r1.aws.apply",
    now: datetime = NOW,
) -> None:
    verify(target, decisions, keys=[KEY], dag_id=dag, run_id=run, now=now)


def test_a_decision_holds_for_the_child_and_for_its_own_run() -> None:
    target = change_set()
    check(target, decision(target), run=apply_run_id("r1", "aws"))
    check(target, decision(target), dag="deploy", run="r1")
    again = Decision.from_json(decision(target).to_json())
    verify(target, [again], keys=[OTHER, KEY], dag_id="deploy", run_id="r1", now=NOW)


def test_a_plan_has_an_age() -> None:
    target = change_set(plan_max_age=3600)
    given = decision(target, expires_at=(NOW + timedelta(days=9)).isoformat())
    check(target, given, now=NOW + timedelta(minutes=59))
    with pytest.raises(
        StaleError, match=r"30\.0 hours ago; the environment's policy lets a plan be applied for 60 minutes"
    ):
        check(target, given, now=NOW + timedelta(hours=30))
    nothing = change_set(Risk.NONE, plan_max_age=3600)
    with pytest.raises(StaleError, match="prod: this was planned"):
        check(nothing, now=NOW + timedelta(hours=30))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"approved": False}, "bob rejected it"),
        ({"change_sets": {"aws": "sha256:other"}}, "it is for sha256:other, not for"),
        ({"change_sets": {}}, "it is for another cloud"),
        ({"run_id": "r2"}, "it was given to run r2, not to r1.aws.apply"),
        ({"expires_at": NOW.isoformat()}, "it expired at"),
        ({"responder": "mallory"}, "mallory is not among the approvers bob"),
        ({"responder": "bob", "requester": "bob"}, "bob asked for this run and may not approve it"),
    ],
)
def test_what_it_does_not_cover_is_refused(changes: dict[str, Any], message: str) -> None:
    target = change_set(approvers=("bob",))
    with pytest.raises(RefusedError, match=message):
        check(target, decision(target, **changes))


def test_nothing_can_be_edited_after_signing() -> None:
    target = change_set()
    signed = decision(target, approved=False)
    for forged in (
        replace(signed, approved=True),
        replace(signed, approved=True, signature=""),
        replace(signed, approved=True).sign([OTHER]),
        replace(replace(signed, approved=True).sign([OTHER]), key=signed.key),
    ):
        with pytest.raises(RefusedError, match="signature"):
            check(target, forged)
    with pytest.raises(RefusedError, match="no signed decision"):
        Decision.from_json({"approved": True})


def test_a_revoked_key_no_longer_counts() -> None:
    target = change_set()
    with pytest.raises(RefusedError, match="signature"):
        verify(target, [decision(target)], keys=[OTHER], dag_id="deploy", run_id="r1", now=NOW)


def test_missing_approval_is_refused_and_no_change_needs_none() -> None:
    with pytest.raises(RefusedError, match="is not approved: 1 needed, 0 found"):
        check(change_set())
    check(change_set(Risk.NONE))
    check(change_set(Risk.LOW, votes={"low": 0}))


def test_a_quorum_is_different_people() -> None:
    target = change_set(Risk.CRITICAL, votes={"critical": 2}, reason_from="never")
    with pytest.raises(RefusedError, match="2 needed, 1 found"):
        check(target, decision(target))
    with pytest.raises(RefusedError, match="2 different people"):
        check(target, decision(target), decision(target, vote=1))
    check(target, decision(target), decision(target, vote=1, responder="carol"))


def test_the_requester_may_approve_where_the_policy_says_so() -> None:
    target = change_set(requester_may_approve=True)
    check(target, decision(target, responder="alice"))


def test_weak_keys_are_refused() -> None:
    for keys in ([], ["short"]):
        with pytest.raises(InputError, match="signing_key"):
            check_keys(keys)


def test_a_rotated_key_still_counts_and_the_newest_one_signs() -> None:
    target = change_set()
    old = decision(target)
    verify(target, [old], keys=[OTHER, KEY], dag_id="deploy", run_id="r1", now=NOW)
    new = old.sign([OTHER, KEY])
    assert (new.signed_by([OTHER]), new.signed_by([KEY])) == (True, False)


def test_one_person_holds_a_cloud_back_for_all() -> None:
    target = change_set(votes={"low": 2})
    held = decision(target, vote=1, votes=2, responder="carol", change_sets={}, held=("aws",), reason="quota")
    with pytest.raises(RefusedError, match="carol holds aws back: quota"):
        check(target, decision(target, votes=2), held)
    with pytest.raises(RefusedError, match="carol holds aws back"):
        check(
            target,
            decision(target, votes=2),
            decision(target, vote=1, votes=2, responder="carol", held=("aws",)),
        )


def test_people_whom_the_auth_manager_knows_by_number_are_the_same_people() -> None:
    """The name of who asked is all that Airflow keeps of him, and assigned users are numbers there."""
    target = change_set(votes={"low": 2}, approvers=("7", "8"), required={"low": {"leads": ["8"]}})
    bob = decision(target, votes=2, responder="bob", responder_id="7")
    check(target, bob, decision(target, vote=1, votes=2, responder="carol", responder_id="8"))
    for other, message in (
        ({"responder": "alice", "responder_id": "8"}, "alice asked for this run"),
        ({"responder": "8", "responder_id": "7"}, "2 different people must approve, only 1 did"),
        ({"responder": "carol", "responder_id": "9"}, "carol is not among the approvers"),
        ({"responder": "", "responder_id": ""}, "the answer does not say who gave it"),
    ):
        with pytest.raises(RefusedError, match=message):
            check(target, bob, decision(target, vote=1, votes=2, **other))


def test_an_answer_cannot_be_left_out() -> None:
    """Else the vote that holds back or the group that is missing could simply be deleted."""
    target = change_set()
    with pytest.raises(RefusedError, match="3 people were asked, and 2 answers are there"):
        check(target, decision(target, votes=3), decision(target, vote=1, votes=3, responder="carol"))


def test_somebody_of_each_group_must_be_among_them() -> None:
    required = {"critical": {"security": ["dora"], "leads": ["bob", "carol"]}}
    target = change_set(Risk.CRITICAL, votes={"critical": 2}, required=required, reason_from="never")
    bob, carol, dora = (
        decision(target, vote=vote, responder=name) for vote, name in enumerate(("bob", "carol", "dora"))
    )
    with pytest.raises(RefusedError, match=r"must be approved by somebody of security \(dora\)"):
        check(target, bob, carol)
    check(target, bob, dora)
    check(target, bob, carol, dora)
    low = change_set(Risk.LOW, required=required)
    check(low, decision(low))


@pytest.mark.parametrize(
    ("risk", "reason_from", "emergency", "needed"),
    [
        (Risk.MEDIUM, "high", "", False),
        (Risk.HIGH, "high", "", True),
        (Risk.CRITICAL, "high", "", True),
        (Risk.HIGH, "critical", "", False),
        (Risk.LOW, "low", "", True),
        (Risk.CRITICAL, "never", "", False),
        (Risk.LOW, "high", "it burns", True),
        (Risk.LOW, "never", "it burns", False),
    ],
)
def test_a_reason_is_needed_from_a_risk_on(
    risk: Risk, reason_from: str, emergency: str, needed: bool
) -> None:
    target = replace(change_set(risk, reason_from=reason_from, emergency=1), emergency=emergency)
    check(target, decision(target, reason="tested"))
    if needed:
        with pytest.raises(RefusedError, match="bob gave no reason"):
            check(target, decision(target))
    else:
        check(target, decision(target))


@pytest.mark.parametrize(
    ("risk", "votes", "emergency", "needed"),
    [(Risk.LOW, 1, 2, 2), (Risk.HIGH, 3, 2, 3), (Risk.LOW, 0, 1, 1), (Risk.NONE, 1, 2, 0)],
)
def test_an_emergency_needs_its_own_quorum(risk: Risk, votes: int, emergency: int, needed: int) -> None:
    target = change_set(risk, votes={str(risk): votes}, emergency=emergency)
    assert votes_needed(replace(target, emergency="it burns")) == needed
    assert votes_needed(target) == (votes if risk else 0)


def test_an_emergency_does_not_wait_and_neither_does_nothing() -> None:
    freeze = Calendar((), (Freeze(NOW.date(), NOW.date(), "holidays"),)).to_json()
    assert closed(change_set(calendar=freeze), NOW).endswith("holidays")
    assert closed(change_set(calendar=freeze), NOW + timedelta(days=1)) == ""
    assert closed(replace(change_set(calendar=freeze), emergency="it burns"), NOW) == ""
    assert closed(change_set(Risk.NONE, calendar=freeze), NOW) == ""


@given(
    people=st.lists(st.sampled_from(["bob", "carol", "dora", "alice"]), max_size=4),
    needed=st.integers(1, 3),
    group=st.sets(st.sampled_from(["bob", "carol", "dora"]), min_size=1),
    held=st.integers(0, 3),
    left_out=st.booleans(),
)
def test_it_holds_exactly_when_all_conditions_do(
    people: list[str], needed: int, group: set[str], held: int, left_out: bool
) -> None:
    target = change_set(votes={"low": needed}, required={"low": {"group": sorted(group)}})
    asked = len(people) + left_out
    decisions = [
        decision(target, vote=vote, votes=asked, responder=name, held=("aws",) if vote == held else ())
        for vote, name in enumerate(people)
    ]
    good = (
        len(set(people)) >= needed
        and "alice" not in people
        and bool(set(people) & group)
        and held >= len(people)
        and not left_out
    )
    try:
        check(target, *decisions)
    except RefusedError:
        assert not good
    else:
        assert good


def test_every_rule_of_the_policy_is_in_the_digest() -> None:
    changes: dict[str, Any] = {
        "votes": {"low": 2}, "emergency": 3, "expires": 1.0, "plan_max_age": 1.0, "remind": 1.0,
        "requester_may_approve": True, "approvers": ("bob",), "required": {"low": {"leads": ["bob"]}},
        "reason_from": "low", "calendar": {"freezes": []},
    }  # fmt: skip
    assert set(changes) == set(vars(Policy()))
    digests = {change_set(**{name: value}).digest for name, value in changes.items()}
    assert len(digests | {change_set().digest}) == len(changes) + 1
    for name, value in changes.items():
        assert Policy.from_json(json.loads(json.dumps(Policy(**{name: value}).to_json()))) == Policy(
            **{name: value}
        )
