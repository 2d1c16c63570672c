"""What is started, and what is found again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.errors import InputError
from triplane.pipelines.begun import Begun, Note, decide
from triplane.pipelines.pipeline import MayRun, Standing, State, Wanted


def note(run: str = "1", life: int = 0) -> Note:
    return Note(life=life, token="t", at="2026-01-01T00:00:00+00:00", deadline=1.0, run=run)


@pytest.mark.parametrize(
    ("left", "life", "state", "again", "action"),
    [
        (None, 0, None, False, "start"),
        (note(""), 0, None, False, "look"),
        (note("", life=0), 3, None, False, "look"),
        (replace(note(""), at=""), 0, None, False, "start"),
        (note(), 0, "running", False, "attach"),
        (note(), 3, "running", False, "attach"),
        (note(), 0, "succeeded", False, "attach"),
        (note(), 0, "succeeded", True, "attach"),
        (note(), 3, "succeeded", False, "start"),
        (note(), 0, "failed", False, "attach"),
        (note(), 0, "failed", True, "start"),
        (note(), 0, "cancelled", True, "start"),
        (note(), 3, "failed", False, "start"),
        (note(), 3, None, False, "start"),
    ],
)
def test_decide(left: Note | None, life: int, state: State | None, again: bool, action: str) -> None:
    assert decide(left, life, state, again=again) == action


class System:
    """Runs in memory. ``lost``: it does what it is asked, and the task dies before it hears of it."""

    def __init__(self) -> None:
        self.runs: dict[str, Wanted] = {}
        self.states: dict[str, State] = {}
        self.lost = False
        self.unsure = False
        self.refuses: Exception | None = None
        self.since: list[datetime] = []

    def start(self, wanted: Wanted) -> str:
        if self.refuses:
            raise self.refuses
        run = str(len(self.runs) + 1)
        self.runs[run] = wanted
        if self.lost:
            raise KeyboardInterrupt
        return run

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        self.since.append(since)
        if self.unsure:
            raise MayRun("run 1 may be its own")
        return next((run for run, each in self.runs.items() if each.token == wanted.token), None)

    def standing(self, run: str) -> Standing:
        if run not in self.runs:
            raise InputError(f"there is no run {run} any more")
        return Standing(state=self.states.get(run, "running"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    return settings.artifact_store()


def ask(store: Any, system: Any, life: int = 0, now: float = 1000.0, **more: Any) -> tuple[Note, bool]:
    wanted = lambda token: Wanted(token=token, timeout=60.0)  # noqa: E731
    return Begun(store, ["dag", "run", "task", -1], life).run(system, wanted, now, **more)


def test_one_run_for_all_tries_of_a_life(store: Any) -> None:
    system = System()
    first, fresh = ask(store, system)
    assert (first.run, first.deadline, fresh) == ("1", 1060.0, True)
    assert ask(store, system, now=2000.0) == (first, False)
    system.states["1"] = "failed"
    assert ask(store, system)[0].run == "1"
    assert ask(store, system, again=True)[0].run == "2"
    assert len({each.token for each in system.runs.values()}) == 2
    assert all(len(each.token) == 32 for each in system.runs.values())


def test_a_clear_runs_again_what_has_ended_and_keeps_what_runs(store: Any) -> None:
    system = System()
    ask(store, system)
    assert ask(store, system, life=2)[0].run == "1"
    system.states["1"] = "succeeded"
    assert ask(store, system, life=0)[0].run == "1"
    assert ask(store, system, life=2)[0].run == "2"


def test_a_run_whose_answer_was_lost_is_found_and_not_started_again(store: Any) -> None:
    system = System()
    system.lost = True
    with pytest.raises(KeyboardInterrupt):
        ask(store, system)
    system.lost = False
    found, fresh = ask(store, system, now=2000.0)
    assert (found.run, found.deadline, fresh, len(system.runs)) == ("1", 1060.0, False, 1)
    assert system.since == [datetime.fromtimestamp(1000.0, UTC)]


def test_one_that_was_never_started_is_started_with_the_same_token(store: Any) -> None:
    system = System()
    system.lost = True
    with pytest.raises(KeyboardInterrupt):
        ask(store, system)
    token = system.runs.pop("1").token
    system.lost = False
    assert ask(store, system)[1] is True
    assert [each.token for each in system.runs.values()] == [token]


def test_one_that_was_refused_is_not_looked_for(store: Any) -> None:
    system = System()
    system.refuses = InputError("no such branch")
    with pytest.raises(InputError):
        ask(store, system)
    system.refuses = None
    assert ask(store, system)[0].run == "1"
    assert system.since == []


def test_nobody_guesses_until_a_person_has_looked(store: Any) -> None:
    system = System()
    system.lost = system.unsure = True
    with pytest.raises(KeyboardInterrupt):
        ask(store, system)
    system.lost = False
    with pytest.raises(MayRun):
        ask(store, system)
    assert ask(store, system, life=1)[0].run == "2"


def test_a_forgotten_run_is_an_error_until_the_task_is_cleared(store: Any) -> None:
    system = System()
    ask(store, system)
    del system.runs["1"]
    with pytest.raises(InputError, match="no run 1 any more"):
        ask(store, system)
    assert ask(store, system, life=1)[1] is True


def test_another_installation_has_other_tokens(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two Airflows may have runs of the same name, and pipelines in the same account."""
    system = System()
    ask(store, system)
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/other")
    ask(settings.artifact_store(), system)
    assert len({each.token for each in system.runs.values()}) == 2


def test_other_tasks_have_other_runs(store: Any) -> None:
    system = System()
    ask(store, system)
    other = Begun(store, ["dag", "run", "task", 0], 0)
    assert other.run(system, lambda token: Wanted(token=token), 1.0)[0].run == "2"  # type: ignore[arg-type]
