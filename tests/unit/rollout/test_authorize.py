"""What was approved waits until the environment may be changed, and what has begun is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from cryptography.fernet import Fernet

from triplane import authorized, settings
from triplane.core.approval import Decision, Policy
from triplane.core.calendar import Calendar, Freeze, Window
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.errors import RefusedError
from triplane.core.undo import SETTLED
from triplane.rollout import authorize
from triplane.rollout.authorize import AuthorizeOperator

KEY = "k" * 40
TUESDAY = datetime(2026, 11, 24, 12, tzinfo=UTC)
NIGHTS = Calendar((Window((1,), datetime(1, 1, 1, 22).time(), datetime(1, 1, 1, 2).time(), "UTC"),))
FROZEN = Calendar((), (Freeze(TUESDAY.date(), TUESDAY.date() + timedelta(days=3), "Thanksgiving"),))
STACK = "aws/stack/network"


class Instance:
    """A task instance that finds the same decisions in every run."""

    def __init__(self, decisions: list[Decision]) -> None:
        self.decisions = [decision.to_json() for decision in decisions]
        self.pushed: dict[str, Any] = {}

    def xcom_pull(self, map_indexes: int, **place: Any) -> Any:
        return self.decisions[map_indexes] if map_indexes < len(self.decisions) else None

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


class Clock(datetime):
    """``datetime`` whose now is :attr:`moment`."""

    moment = TUESDAY

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.moment


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)
    monkeypatch.setattr(Clock, "moment", TUESDAY)
    for module in (authorize, authorized):
        monkeypatch.setattr(module, "datetime", Clock)


def planned(calendar: Calendar, emergency: str = "", **policy: Any) -> ChangeSet:
    change = ComponentChange(
        address=STACK, action="create", risk=Risk.LOW, summary="1 to add", binds={"p": 1}
    )
    made = ChangeSet(
        platform="shop", environment="prod", cloud="aws", asked="main", revision="abc", source="s", spec="t",
        planned_at=TUESDAY.isoformat(), changes=(change,), emergency=emergency,
        policy=Policy(calendar=calendar.to_json(), **policy).to_json(),
    )  # fmt: skip
    settings.put_change_set(made)
    return made


def decided(change_set: ChangeSet, *people: str, hours: float = 24) -> list[Decision]:
    return [
        Decision(
            dag_id="deploy", run_id="r1", vote=vote, votes=len(people), requester="alice", responder=name,
            approved=True, change_sets={"aws": change_set.digest}, decided_at=TUESDAY.isoformat(),
            expires_at=(TUESDAY + timedelta(hours=hours)).isoformat(), reason="tested",
        ).sign([KEY])
        for vote, name in enumerate(people)
    ]  # fmt: skip


def context(decisions: list[Decision]) -> Any:
    run = SimpleNamespace(dag_id="deploy_aws", run_id="r1.aws.apply")
    return {"dag_run": run, "task_instance": Instance(decisions)}


def let_through(change_set: ChangeSet, decisions: list[Decision]) -> Mapping[str, Any]:
    operator = AuthorizeOperator(
        task_id="authorize", cloud="aws", environment="prod", action="apply", change_sets=None,
        approved={"change_set": change_set.digest, "dag_id": "deploy", "run_id": "r1"},
    )  # fmt: skip
    run = context(decisions)
    operator.execute(run)
    return dict(run["task_instance"].pushed)


def apply(change_set: ChangeSet, decisions: list[Decision]) -> ComponentChange:
    authorization = {"decisions": [decision.to_json() for decision in decisions]}
    return authorized.authorized_change(context(decisions), STACK, change_set.digest, authorization)


def test_it_waits_without_a_worker_until_the_window_opens() -> None:
    made = planned(NIGHTS)
    given = decided(made, "bob")
    with pytest.raises(TaskDeferred) as parked:
        let_through(made, given)
    assert parked.value.method_name == "execute_complete"
    _, arguments = parked.value.trigger.serialize()
    assert arguments["moment"] == datetime(2026, 11, 24, 22, tzinfo=UTC)
    assert settings.ledger("prod/aws").entries("authorized") == []
    Clock.moment = arguments["moment"]
    assert let_through(made, given)["change_set"] == made.digest


def test_what_it_waits_on_is_airflows_own_trigger() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    made = planned(NIGHTS)
    with pytest.raises(TaskDeferred) as parked:
        let_through(made, decided(made, "bob"))
    trigger = type(parked.value.trigger)(moment=soon)

    async def wait() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    assert asyncio.run(asyncio.wait_for(wait(), 30)) == [soon]


@pytest.mark.parametrize(
    ("calendar", "hours", "age", "message"),
    [
        (
            NIGHTS,
            9.9,
            24,
            r"outside of its deployment windows .tue 22:00-02:00 UTC., not before 2026-11-24T22:00",
        ),
        (NIGHTS, 24, 9.9, "and what was approved holds until 2026-11-24T21:54"),
        (FROZEN, 24, 24, "frozen from 2026-11-24 to 2026-11-27: Thanksgiving, not before 2026-11-28T00:00"),
        (
            Calendar(NIGHTS.windows, (Freeze(TUESDAY.date(), TUESDAY.date().replace(year=2099), "retired"),)),
            24,
            24,
            "retired, not before 2099-11-25T00:00",
        ),
    ],
)
def test_where_the_approvals_do_not_hold_that_long_it_fails_at_once(
    calendar: Calendar, hours: float, age: float, message: str
) -> None:
    made = planned(calendar, plan_max_age=age * 3600)
    with pytest.raises(AirflowFailException, match=message):
        let_through(made, decided(made, "bob", hours=hours))


def test_an_emergency_does_not_wait_and_is_recorded_with_its_people() -> None:
    made = planned(FROZEN, emergency="the shop is down")
    with pytest.raises(AirflowFailException, match="2 needed, 1 found"):
        let_through(made, decided(made, "bob"))
    given = decided(made, "bob", "carol")
    let_through(made, given)
    (entry,) = settings.ledger("prod/aws").entries("authorized")
    assert (entry.body["emergency"], entry.body["approved_by"]) == ("the shop is down", ["bob", "carol"])
    assert [decision["reason"] for decision in entry.body["decisions"]] == ["tested", "tested"]
    assert apply(made, given).address == STACK


def test_what_has_begun_is_finished_after_the_window_has_closed() -> None:
    made = planned(NIGHTS)
    given = decided(made, "bob")
    Clock.moment = TUESDAY.replace(hour=23)
    let_through(made, given)
    Clock.moment = TUESDAY.replace(day=25, hour=2)
    assert apply(made, given).address == STACK
    assert let_through(made, given)["change_set"] == made.digest, "a retry of the cloud"


def test_a_task_that_applies_does_not_begin_by_itself_in_a_freeze() -> None:
    """As if ``authorize`` was marked successful by hand, with real decisions in its XComs."""
    made = planned(FROZEN)
    given = decided(made, "bob")
    with pytest.raises(RefusedError, match=r"prod is frozen .*, and this run was not begun before"):
        apply(made, given)


def test_a_stack_that_is_asked_about_again_in_a_rollout_is_finished_too() -> None:
    made = planned(NIGHTS)
    Clock.moment = TUESDAY.replace(hour=23)
    let_through(made, decided(made, "bob"))
    again = planned(NIGHTS, expires=3600)
    Clock.moment = TUESDAY.replace(day=25, hour=3)
    assert again.digest != made.digest
    assert apply(again, decided(again, "bob")).address == STACK


def test_only_the_run_that_takes_a_release_back_goes_on_in_a_freeze() -> None:
    release = planned(FROZEN)
    undoes = {"run_id": "r0", "change_set": release.digest}
    undo = replace(planned(FROZEN), intent="rollback", undoes=undoes)
    settings.put_change_set(undo)
    given = decided(undo, "bob")
    with pytest.raises(AirflowFailException, match="prod is frozen"):
        let_through(undo, given)
    settled = {"parent": "r0", "run_id": "r0.aws.settle", "digest": release.digest, "source": "s"}
    settings.ledger("prod/aws").append(SETTLED, settled)
    with pytest.raises(AirflowFailException, match="prod is frozen"):
        let_through(undo, given)
    assert authorize._takes_back(undo, settings.ledger("prod/aws"), "r0.aws.settle")
    assert not authorize._takes_back(release, settings.ledger("prod/aws"), "r0.aws.settle")
