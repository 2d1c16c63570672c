"""Every way in which a decision may fail to cover what is applied."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from triplane.core.approval import Decision, Policy, verify
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
