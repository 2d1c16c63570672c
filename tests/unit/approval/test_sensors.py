"""What a reviewer is shown is what gets signed, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput

from triplane import settings
from triplane.approval import review
from triplane.approval.sensors import ApprovalSensor
from triplane.core.approval import Decision
from triplane.core.change import ChangeSet, Risk

KEY = "k" * 40
NOW = datetime.now(UTC)


@pytest.fixture
def change_set(planned: Callable[..., ChangeSet]) -> ChangeSet:
    return planned(expires=60, approvers=("bob",))


CONTEXT: Any = {
    "dag_run": SimpleNamespace(dag_id="deploy", run_id="r1", triggering_user_name="alice"),
    "task_instance": SimpleNamespace(
        id="00000000-0000-0000-0000-000000000001", task_id="approval", map_index=0
    ),
}


def sensor(change_set: ChangeSet) -> ApprovalSensor:
    return ApprovalSensor(task_id="approval", change_sets={"aws": change_set.digest})


def answer(change_set: ChangeSet, **changes: Any) -> dict[str, Any]:
    event = {
        "chosen_options": ["Approve"],
        "params_input": {"digest": review.review_digest([change_set])},
        "responded_at": NOW,
        "responded_by_user": {"id": "bob", "name": "bob"},
    }
    return event | changes


def ask(change_set: ChangeSet, monkeypatch: pytest.MonkeyPatch, **stored: str) -> Any:
    from airflow.sdk.execution_time import task_runner

    sent: list[Any] = []

    def send(message: Any) -> Any:
        if message.type != "CreateHITLDetailPayload":
            return None
        sent.append(message)
        return SimpleNamespace(**({"subject": message.subject, "body": message.body} | stored))

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    try:
        sensor(change_set).execute(CONTEXT)
    except TaskAwaitingInput as parked:
        return sent[0], parked
    raise AssertionError("it did not park")


def test_it_shows_the_digests_and_parks(change_set: ChangeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    message, parked = ask(change_set, monkeypatch)
    assert change_set.digest in message.body
    assert message.params["digest"]["value"] == review.review_digest([change_set])
    assert [user.id for user in message.assigned_users] == ["bob"]
    assert message.defaults is None
    assert parked.timeout.total_seconds() == 60


def test_the_log_has_every_line(
    change_set: ChangeSet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow")
    message, _ = ask(change_set, monkeypatch)
    assert "[Every line of it](http://airflow/dags/deploy/runs/r1/tasks/approval/mapped/0)" in message.body
    assert "aws/stack/network: create, risk low. 1 to add" in capsys.readouterr().out


def test_the_text_of_an_earlier_try_is_refused(
    change_set: ChangeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AirflowFailException, match="text of an earlier try"):
        ask(change_set, monkeypatch, body="something else")


def test_an_approval_is_signed_and_covers_what_was_shown(change_set: ChangeSet) -> None:
    decision = Decision.from_json(sensor(change_set).execute_complete(CONTEXT, answer(change_set)))
    assert decision.signed_by([KEY])
    assert decision.change_sets == {"aws": change_set.digest}
    assert (decision.requester, decision.responder, decision.approved) == ("alice", "bob", True)
    assert (datetime.fromisoformat(decision.expires_at) - NOW).total_seconds() == 60


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chosen_options": ["Reject"]}, "rejected by bob"),
        ({"params_input": {}}, "the answer is for no digest"),
        ({"params_input": None}, "the answer is for no digest"),
        ({"params_input": {"digest": "sha256:0"}}, "the answer is for sha256:0"),
        ({"responded_by_user": {"id": "alice"}}, "asked for this run and may not approve it"),
        ({"responded_by_user": {"id": 3, "name": "alice"}}, "asked for this run and may not approve it"),
        ({"responded_by_user": None}, "does not say who gave it; clear this task"),
        ({"error": "late", "error_type": "timeout"}, "nobody answered in time"),
    ],
)
def test_anything_else_approves_nothing(change_set: ChangeSet, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        sensor(change_set).execute_complete(CONTEXT, answer(change_set, **changes))


def test_a_cloud_that_is_held_back_is_not_in_what_is_signed(planned: Callable[..., ChangeSet]) -> None:
    aws, gcp = planned("aws"), planned("gcp")
    both = ApprovalSensor(task_id="approval", change_sets={"aws": aws.digest, "gcp": gcp.digest}, votes=2)
    params = {"digest": review.review_digest([aws, gcp]), "hold_gcp": True, "reason": "quota"}
    decision = Decision.from_json(both.execute_complete(CONTEXT, answer(aws, params_input=params)))
    assert decision.signed_by([KEY])
    assert (decision.change_sets, decision.held, decision.votes) == ({"aws": aws.digest}, ("gcp",), 2)
    assert decision.reason == "quota"
    with pytest.raises(AirflowFailException, match="bob holds back every cloud: nothing is approved"):
        both.execute_complete(CONTEXT, answer(aws, params_input={**params, "hold_aws": True}))


def test_a_secret_in_a_reason_is_not_signed(change_set: ChangeSet) -> None:
    settings.register_secret("Pl4nted-secret")
    params = {"digest": review.review_digest([change_set]), "reason": "the password is Pl4nted-secret"}
    decision = sensor(change_set).execute_complete(CONTEXT, answer(change_set, params_input=params))
    assert decision["reason"].startswith("the password is ")
    assert "Pl4nted" not in str(decision)


def test_a_high_risk_needs_a_reason(planned: Callable[..., ChangeSet]) -> None:
    risky = planned(risk=Risk.HIGH)
    params = {"digest": review.review_digest([risky]), "reason": " "}
    with pytest.raises(AirflowFailException, match="clear this task to ask again"):
        sensor(risky).execute_complete(CONTEXT, answer(risky, params_input=params))
    params["reason"] = "the old disk is full"
    decision = sensor(risky).execute_complete(CONTEXT, answer(risky, params_input=params))
    assert decision["reason"] == "the old disk is full"


def test_change_sets_swapped_after_they_were_shown_are_refused(change_set: ChangeSet) -> None:
    other = ChangeSet(**{**vars(change_set), "revision": "def"})
    settings.put_change_set(other)
    with pytest.raises(AirflowFailException, match="nothing is approved"):
        sensor(other).execute_complete(CONTEXT, answer(change_set))


def test_nothing_to_approve_is_an_error() -> None:
    with pytest.raises(AirflowFailException, match="no valid change sets"):
        ApprovalSensor(task_id="approval", change_sets={}).execute(CONTEXT)
