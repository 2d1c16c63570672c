"""Ports and secrets are the same for the same name, whoever asks first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from triplane.sandbox.state import PORTS, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path)
    state.create(["aws"])
    return state


def test_same_name_same_value(state: State, tmp_path: Path) -> None:
    again = State(tmp_path)
    assert state.port("a") == again.port("a") in PORTS
    assert state.secret("a") == again.secret("a")
    assert len(state.secret("a")) == 64


def test_different_names_differ(state: State) -> None:
    assert len({state.port(str(number)) for number in range(20)}) == 20
    assert state.secret("a") != state.secret("b")


def test_asked_from_many_sides_at_once(tmp_path: Path, state: State) -> None:
    with ThreadPoolExecutor(8) as pool:
        ports = set(pool.map(lambda _: State(tmp_path).port("a"), range(32)))
    assert len(ports) == 1
