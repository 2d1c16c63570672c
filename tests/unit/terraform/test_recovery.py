"""What an apply that was cut off has left is not forgotten, whatever happens to the next ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane.core.change import Risk
from triplane.core.errors import ToolError, ToolLost
from triplane.core.ledger import Ledger
from triplane.core.store import ArtifactStore
from triplane.terraform import proposal, recovery
from triplane.terraform.attempt import APPLIED, FAILED, Attempt, begin, decide
from triplane.terraform.cli import ApplyError
from triplane.terraform.events import Events
from triplane.terraform.plan import State

ADDRESS = "aws/stack/n"
ATTEMPT = Attempt(address=ADDRESS, key="sha256:1", run="d/1", lineage="l", serial=3)


class Terraform:
    """A Terraform that says what the state is, and what it was told."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.said: list[str] = []
        self.refuses = ""

    def pull(self) -> State:
        return self.state

    def say(self, line: str) -> None:
        self.said.append(line)

    def force_unlock(self, lock: str) -> bool:
        return False

    def push(self, state: Path) -> None:
        if self.refuses:
            raise ToolError(("terraform", "state", "push"), 1, self.refuses)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "store", "staging/aws")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store", [Fernet.generate_key().decode()])


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    return SimpleNamespace(
        terraform=Terraform(State(lineage="l", serial=3)), files=tmp_path, directory=tmp_path
    )


def killed(*events: dict[str, str], started: int = 1) -> ApplyError:
    """An apply that was killed after ``events`` of creates: ``{"type", "addr", "id_value"}``."""
    seen = Events()
    for event in events:
        hook = {"resource": {"addr": event["addr"]}, "action": "create"}
        if "id_value" in event:
            hook["id_value"] = event["id_value"]
        seen._progress(event["type"], hook, None)
    seen.started = started
    return ApplyError(ToolLost(("terraform", "apply"), -9, ""), seen)


def cut_off(stack: Any, ledger: Ledger, store: ArtifactStore, attempt: Attempt, error: ApplyError) -> None:
    def act() -> None:
        attempt.job().start(("terraform", "apply"), frozenset({0}), 10, stack.directory)
        raise error

    begin(ledger, attempt, plan="p")
    with pytest.raises(ApplyError):
        recovery.record(stack, attempt, ledger, store, act)


def done(address: str, found: str = "") -> tuple[dict[str, str], ...]:
    start = {"type": "apply_start", "addr": address}
    end = {"type": "apply_complete", "addr": address, **({"id_value": found} if found else {})}
    return start, end


def test_a_second_kill_of_the_same_attempt_forgets_nothing(
    stack: Any, ledger: Ledger, store: ArtifactStore
) -> None:
    cut_off(stack, ledger, store, ATTEMPT, killed(*done("x.a", "1")))
    cut_off(stack, ledger, store, ATTEMPT, killed(*done("x.b", "2")))
    left = recovery.cut_off(stack, ADDRESS, ledger, store)
    assert left.created == {"x.a": "1", "x.b": "2"}


def test_an_apply_that_began_nothing_forgets_nothing(
    stack: Any, ledger: Ledger, store: ArtifactStore
) -> None:
    cut_off(stack, ledger, store, ATTEMPT, killed(*done("x.a", "1")))
    cut_off(stack, ledger, store, ATTEMPT, killed(started=0))
    assert recovery.cut_off(stack, ADDRESS, ledger, store).created == {"x.a": "1"}
    moved = State(lineage="l", serial=4)
    assert decide(ATTEMPT, moved, ledger.entries()) == "again", (
        "not: the state has moved, nothing was applied"
    )


def test_creates_whose_id_nobody_knows_may_exist(stack: Any, ledger: Ledger, store: ArtifactStore) -> None:
    failed = ({"type": "apply_start", "addr": "x.c"}, {"type": "apply_errored", "addr": "x.c"})
    cut_off(stack, ledger, store, ATTEMPT, killed(*done("x.a", "1"), *done("x.b"), *failed))
    left = recovery.cut_off(stack, ADDRESS, ledger, store)
    assert (left.created, left.uncertain) == ({"x.a": "1"}, ("x.b", "x.c"))
    stack.terraform.state = State(lineage="l", serial=4, addresses=frozenset({"x.b", "x.c"}))
    assert recovery.cut_off(stack, ADDRESS, ledger, store).uncertain == ()


def test_a_plan_to_destroy_tells_what_it_cannot_reach(
    stack: Any, ledger: Ledger, store: ArtifactStore
) -> None:
    cut_off(stack, ledger, store, ATTEMPT, killed(*done("x.a", "1")))
    planned: Any = object()
    found, notes = recovery.replan(stack, ADDRESS, ledger, store, lambda: planned, destroy=True)
    assert found is planned
    assert notes == ("! x.a exists (id 1) and is in no state: this does not destroy it; remove it by hand",)


def test_an_apply_on_a_machine_that_is_gone_ends(stack: Any, ledger: Ledger, store: ArtifactStore) -> None:
    begin(ledger, ATTEMPT, plan="p")
    recovery.lost(ATTEMPT, ledger)
    assert ledger.entries()[-1].kind == FAILED
    assert (
        "was cut off on a machine that is gone"
        in recovery.notes(recovery.cut_off(stack, ADDRESS, ledger, store))[0]
    )
    begin(ledger, ATTEMPT, plan="p")
    recovery.lost(replace(ATTEMPT, run="d/2"), ledger)
    assert ledger.entries()[-1].kind != FAILED, "another run's is left to it"


@pytest.mark.parametrize(
    ("said", "goes_on"),
    [
        ("cannot import state with serial 3 over newer state with serial 5", True),
        ('cannot import state with lineage "a" over unrelated state with lineage "b"', True),
        ("403 Forbidden", False),
    ],
)
def test_a_rescued_state_that_was_overtaken_blocks_nobody(
    stack: Any, ledger: Ledger, store: ArtifactStore, said: str, goes_on: bool
) -> None:
    error = killed(*done("x.a", "1"))
    error.events.dumped = '{"serial": 3}'
    cut_off(stack, ledger, store, ATTEMPT, error)
    stack.terraform.refuses = said
    if not goes_on:
        with pytest.raises(ToolError):
            recovery.settle(stack, ADDRESS, ledger, store)
        return
    recovery.settle(stack, ADDRESS, ledger, store)
    assert "is older than what is there by now; it is left as artifact sha256:" in stack.terraform.said[-1]
    stack.terraform.said.clear()
    recovery.settle(stack, ADDRESS, ledger, store)
    assert stack.terraform.said == []
    assert recovery.cut_off(stack, ADDRESS, ledger, store).created == {"x.a": "1"}


def test_what_was_applied_since_counts(stack: Any, ledger: Ledger, store: ArtifactStore) -> None:
    cut_off(stack, ledger, store, ATTEMPT, killed(*done("x.a", "1")))
    ledger.append(APPLIED, ATTEMPT.body(lineage="l", serial=4))
    assert recovery.cut_off(stack, ADDRESS, ledger, store) == recovery.Left()


@pytest.mark.parametrize(("unsure", "risk"), [(False, Risk.LOW), (True, Risk.HIGH)])
def test_where_something_may_exist_the_risk_is_high(
    unsure: bool, risk: Risk, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: Any = SimpleNamespace(
        changed=True,
        state=State(lineage="l", serial=3),
        action="create",
        risk=Risk.LOW,
        summary="1 to add",
        plan=None,
        verdict=SimpleNamespace(denied=()),
    )
    stack: Any = SimpleNamespace(keep=lambda planned, store: {"plan": "sha256:1"})
    monkeypatch.setattr(proposal, "irreversible", lambda plan, rollback: ())
    monkeypatch.setattr(proposal, "change_lines", lambda plan: ())
    change = proposal.propose(
        stack, planned, address=ADDRESS, inputs={}, store=store, notes=("! x",), unsure=unsure
    )
    assert (change.risk, change.lines) == (risk, ("! x",))
