"""What a reviewer is shown is what gets signed, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from cryptography.fernet import Fernet

from triplane import settings
from triplane.approval import review
from triplane.approval.sensors import ApprovalSensor
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk

KEY = "k" * 40
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)


@pytest.fixture
def change_set() -> ChangeSet:
    change = ComponentChange(
        address="aws/stack/network", action="create", risk=Risk.LOW, summary="1 to add", binds={"plan": "1"}
    )
    made = ChangeSet(
        platform="shop",
        environment="prod",
        cloud="aws",
        asked="main",
        revision="abc",
        planned_at="2026-01-01T00:00:00+00:00",
        source="s",
        spec="t",
        policy=Policy(expires=60, approvers=("bob",)).to_json(),
        changes=(change,),
    )
    settings.put_change_set(made)
    return made


CONTEXT: Any = {
    "dag_run": SimpleNamespace(dag_id="deploy", run_id="r1", triggering_user_name="alice"),
    "task_instance": SimpleNamespace(id="00000000-0000-0000-0000-000000000001"),
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
        ({"error": "late", "error_type": "timeout"}, "nobody answered in time"),
    ],
)
def test_anything_else_approves_nothing(change_set: ChangeSet, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        sensor(change_set).execute_complete(CONTEXT, answer(change_set, **changes))


def test_change_sets_swapped_after_they_were_shown_are_refused(change_set: ChangeSet) -> None:
    other = ChangeSet(**{**vars(change_set), "revision": "def"})
    settings.put_change_set(other)
    with pytest.raises(AirflowFailException, match="nothing is approved"):
        sensor(other).execute_complete(CONTEXT, answer(change_set))


def test_nothing_to_approve_is_an_error() -> None:
    with pytest.raises(AirflowFailException, match="no valid change sets"):
        ApprovalSensor(task_id="approval", change_sets={}).execute(CONTEXT)
