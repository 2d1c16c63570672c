"""Changes as they come by XCom. Their seals are tried where they are taken: tests/unit/rollout, tests/unit/testing."""

from __future__ import annotations

import pytest

from triplane.sealing import read_change


@pytest.mark.parametrize("value", [None, "", "None", "null"])
def test_no_change(value: str | None) -> None:
    assert read_change(value) is None


def test_a_change_in_every_form_that_xcom_gives() -> None:
    value = {"address": "a", "action": "none", "risk": "none", "summary": "", "lines": [], "binds": {}}
    change = read_change(value)
    assert change is not None
    assert change == read_change(str(value))
    assert read_change(str(value).replace("'", '"')) == change
