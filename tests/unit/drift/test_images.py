"""Whether the image that serves is the one that was deployed."""

from __future__ import annotations

from typing import Any

import pytest

from triplane.core.drift import memory
from triplane.drift.images import check

ADDRESS, USERS = "aws/image/api", ("aws/chart/api", "aws/function/hook")


def user(*serving: list[str], state: str = "in_sync", name: str = "api") -> dict[str, Any]:
    return {
        "state": state,
        "images": [{"image": name, "deployed": "sha256:a", "serving": each} for each in serving],
    }


@pytest.mark.parametrize(
    ("chart", "function", "state"),
    [
        (user(["sha256:a"]), user(["sha256:a"]), "in_sync"),
        (user(["sha256:a"], ["sha256:a", "sha256:b"]), user(), "drifted"),
        (user(["sha256:b"]), user(["sha256:a"]), "drifted"),
        (user(["sha256:b"], name="other"), user(["sha256:a"]), "in_sync"),
        (user([], state="missing"), user(["sha256:a"]), "in_sync"),
        (user([], state="missing"), user([]), "missing"),
        (user(), user(), "pending"),
        (user(["sha256:a"]), user(state="unknown"), "unknown"),
        (user(["sha256:a"]), None, "unknown"),
    ],
)
def test_states(chart: dict[str, Any], function: dict[str, Any] | None, state: str) -> None:
    checks = {USERS[0]: chart} | ({USERS[1]: function} if function else {})
    assert check(ADDRESS, USERS, checks).state == state


def test_it_says_who_runs_what_and_since_when() -> None:
    checks = {USERS[0]: user(["sha256:b"]), USERS[1]: user(["sha256:a"])}
    first = check(ADDRESS, USERS, checks, run="1")
    (found,) = first.resources
    assert found["address"] == "image api of aws/chart/api"
    assert found["attributes"] == [{"name": "digest", "before": "sha256:a", "after": "sha256:b"}]
    again = check(ADDRESS, USERS, checks, before=memory(first, "1"), run="2")
    assert (again.resources[0]["first_seen"], again.resources[0]["checks"]) == (found["first_seen"], 2)
    blind = check(ADDRESS, USERS, {}, before=memory(first, "1"))
    assert (blind.last_good, "aws/chart/api" in blind.error) == (first.checked_at, True)
