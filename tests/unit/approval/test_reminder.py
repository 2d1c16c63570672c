"""People are reminded for as long as something waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from triplane.approval import triggers
from triplane.approval.reminder import ReminderOperator
from triplane.approval.triggers import AnsweredTrigger, Votes
from triplane.core.change import ChangeSet

CONTEXT: Any = {"dag_run": SimpleNamespace(dag_id="deploy", run_id="r1")}


def reminder(change_set: ChangeSet, **options: Any) -> ReminderOperator:
    return ReminderOperator(task_id="remind", change_sets={"aws": change_set.digest}, votes=2, **options)


def test_it_waits_without_a_worker(planned: Callable[..., ChangeSet]) -> None:
    with pytest.raises(TaskDeferred) as parked:
        reminder(planned(remind=7200)).execute(CONTEXT)
    name, arguments = parked.value.trigger.serialize()
    assert name == "triplane.approval.triggers.AnsweredTrigger"
    assert (arguments["dag_id"], arguments["run_id"], arguments["task_id"]) == ("deploy", "r1", "approval")
    assert arguments["until"] == pytest.approx(time.time() + 7200, abs=60)
    assert parked.value.kwargs == {"reminded": 0}


def test_it_reminds_and_waits_again(planned: Callable[..., ChangeSet], capsys: Any) -> None:
    with pytest.raises(TaskDeferred) as parked:
        reminder(planned(remind=7200)).execute_complete(CONTEXT, {"open": 1}, reminded=1)
    assert parked.value.kwargs == {"reminded": 2}
    said = capsys.readouterr().out
    assert "Still waiting for approval: shop to prod (AWS)" in said
    assert "1 of 2 missing after 4.0 h" in said


def test_it_ends_when_all_have_answered(planned: Callable[..., ChangeSet]) -> None:
    assert reminder(planned(remind=60)).execute_complete(CONTEXT, {"open": 0}, reminded=3) == 3


def test_one_task_speaks_for_all_votes_where_the_policy_wants_it(planned: Callable[..., ChangeSet]) -> None:
    for task, message in (
        (reminder(planned(remind=60), vote=1), "the first of these tasks"),
        (reminder(planned()), "reminds nobody"),
        (ReminderOperator(task_id="remind", change_sets={"aws": "sha256:" + "0" * 64}), "nothing to remind"),
    ):
        with pytest.raises(AirflowSkipException, match=message):
            task.execute(CONTEXT)


@pytest.mark.parametrize(
    ("votes", "waiting"),
    [
        (Votes(asked=1, ended=0, failed=0), 1),
        (Votes(asked=2, ended=1, failed=0), 1),
        (Votes(asked=2, ended=2, failed=0), 0),
        (Votes(asked=2, ended=1, failed=1), 0),
        (Votes(asked=0, ended=0, failed=0), 0),
    ],
)
def test_what_is_open(votes: Votes, waiting: int) -> None:
    assert votes.open == waiting


def test_it_counts_in_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a triggerer Airflow's ``get_task_states`` gives the state of the first look for ever."""
    asked: list[Any] = []

    def count(**what: Any) -> int:
        asked.append(what)
        return {None: 3, "success": 2, "failed": 1}[what["states"] and what["states"][0]]

    monkeypatch.setattr(RuntimeTaskInstance, "get_ti_count", count)
    trigger = AnsweredTrigger(dag_id="deploy", run_id="r1", task_id="approval", until=0)
    assert asyncio.run(trigger.look()) == Votes(asked=3, ended=2, failed=1)
    assert all(
        (what["dag_id"], what["run_ids"], what["task_ids"]) == ("deploy", ["r1"], ["approval"])
        for what in asked
    )


VOTES = {
    "awaiting_input": Votes(asked=1, ended=0, failed=0),
    "success": Votes(asked=1, ended=1, failed=0),
    "failed": Votes(asked=1, ended=1, failed=1),
}


def follow(looks: Sequence[Any], seconds: float, monkeypatch: pytest.MonkeyPatch) -> int:
    """What the trigger says of an approval that looks like this, one after another, in the end like the last."""
    seen = list(looks)
    trigger = AnsweredTrigger(
        dag_id="deploy", run_id="r1", task_id="approval", until=time.time() + seconds, interval=0.01
    )

    async def look() -> Votes:
        found = seen.pop(0) if len(seen) > 1 else seen[0]
        if isinstance(found, Exception):
            raise found
        return VOTES[found]

    async def event() -> int:
        (found,) = [event.payload async for event in trigger.run()]
        return int(found["open"])

    monkeypatch.setattr(trigger, "look", look)
    return asyncio.run(asyncio.wait_for(event(), 10))


def test_the_trigger_ends_as_soon_as_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow(["awaiting_input", "awaiting_input", "success"], 600, monkeypatch) == 0
    assert follow(["awaiting_input", "failed"], 600, monkeypatch) == 0


def test_the_trigger_ends_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow(["awaiting_input"], 0.05, monkeypatch) == 1


def test_when_it_is_late_it_looks_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow(["failed"], -60, monkeypatch) == 0
    assert follow(["awaiting_input"], -60, monkeypatch) == 1


def test_a_look_that_fails_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow([OSError("lost"), "success"], 600, monkeypatch) == 0
    assert follow([OSError("lost"), "awaiting_input"], -1, monkeypatch) == 1


def test_the_trigger_survives_its_triggerer() -> None:
    trigger = AnsweredTrigger(dag_id="d", run_id="r", task_id="t", until=1.0, interval=2.0)
    name, arguments = trigger.serialize()
    assert getattr(triggers, name.rpartition(".")[2])(**arguments).serialize() == (name, arguments)
