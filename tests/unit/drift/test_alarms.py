"""When a drift is an alarm, for how long, and what alarms have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.core.drift import Finding, finding, judge, memory, unknown
from triplane.drift.alarms import Alarms, groups, raised, repair_id

ADDRESS = "aws/stack/network"


def tag(resource: str = "aws_vpc.main", name: str = "tags.owner", **more: Any) -> Finding:
    return finding(resource, "update", [{"name": name, "before": "a", "after": "b"}], **more)


class Checks:
    """A component that is checked again and again; ``None`` is a check that could not run."""

    def __init__(self, alarm_after: int) -> None:
        self.alarm_after = alarm_after
        self.memory: dict[str, Any] | None = None
        self.known: dict[str, Any] = {}

    def check(self, run: str, found: Sequence[Finding] | None) -> Alarms:
        if found is None:
            component = unknown(ADDRESS, "no answer", self.memory).to_json()
        else:
            check = judge(ADDRESS, found, before=self.memory, run=run)
            self.memory = memory(check, run)
            component = check.to_json()
        alarms = raised([component], self.known, alarm_after=self.alarm_after, run_id=run)
        self.known = alarms.known
        return alarms


def test_an_alarm_needs_several_checks_in_a_row() -> None:
    checks = Checks(alarm_after=3)
    counts = [
        (len(alarms.known), len(alarms.new), len(alarms.cured))
        for alarms in (
            checks.check(str(run), found)
            for run, found in enumerate(
                [[tag()], [tag()], [], [tag()], [tag()], None, [tag()], [tag()], None, [], []]
            )
        )
    ]
    assert counts == [
        *[(0, 0, 0)] * 6,
        (1, 1, 0),
        (1, 0, 0),
        (1, 0, 0),
        (0, 0, 1),
        (0, 0, 0),
    ], "a check that could not run neither counts nor cures"


def test_a_task_that_is_tried_again_counts_once_and_is_still_the_one_that_raised_it() -> None:
    checks = Checks(alarm_after=2)
    assert not checks.check("first", [tag()]).known
    assert not checks.check("first", [tag()]).known
    assert checks.check("second", [tag()]).new
    assert checks.check("second", [tag()]).new
    assert not checks.check("third", [tag()]).new


def test_what_the_spec_no_longer_names_is_forgotten_not_cured() -> None:
    before = Checks(alarm_after=1).check("r", [tag()]).known
    found = raised([], before, alarm_after=1, run_id="s")
    assert (found.known, found.cured) == ({}, {})


@given(st.lists(st.sampled_from(["there", "gone", "blind"]), max_size=30), st.integers(1, 5))
def test_alarms_are_raised_and_cured_in_turn_and_never_by_a_blind_check(
    seen: list[str], alarm_after: int
) -> None:
    checks = Checks(alarm_after)
    row, standing = 0, False
    for run, what in enumerate(seen):
        found: Mapping[str, list[Finding] | None] = {"there": [tag()], "gone": [], "blind": None}
        alarms = checks.check(str(run), found[what])
        row = row + 1 if what == "there" else 0 if what == "gone" else row
        expected = row >= alarm_after
        assert bool(alarms.known) == expected
        assert bool(alarms.new) == (expected and not standing)
        assert bool(alarms.cured) == (standing and not expected)
        standing = expected


def test_one_policy_that_changed_forty_tags_is_one_cause() -> None:
    findings = [tag(f"aws_subnet.s[{number}]") for number in range(40)]
    components = [
        judge("aws/stack/a", findings[:30], run="r").to_json(),
        judge("aws/stack/b", [*findings[30:], finding("aws_vpc.main", "destroy")], run="r").to_json(),
        judge("gcp/function/c", [tag()], run="r").to_json(),
        judge("gcp/function/d", [tag(unmanaged=True)], run="r").to_json(),
    ]
    alarms = raised(components, {}, alarm_after=1, run_id="r")
    found = groups(components, alarms)
    assert [(group["cause"], group["resources"], group["components"]) for group in found] == [
        ("stack: update tags.owner", 40, ["aws/stack/a", "aws/stack/b"]),
        ("function: update tags.owner", 1, ["gcp/function/c"]),
        ("function: update tags.owner (not in the spec)", 1, ["gcp/function/d"]),
        ("stack: destroy", 1, ["aws/stack/b"]),
    ]
    assert (found[0]["new"], found[0]["clouds"]) == (40, ["aws"])
    assert len({group["id"] for group in found}) == 4
    assert groups(components, alarms)[0]["id"] == found[0]["id"]


def test_every_finding_is_in_one_group() -> None:
    components = [judge(f"aws/stack/{n}", [tag(name=f"n{n % 3}"), tag("x")]).to_json() for n in range(7)]
    found = groups(components, Alarms())
    assert sum(group["resources"] for group in found) == 14
    assert not any(group["alarm"] or group["new"] for group in found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, True),
        ({"a": "1"}, {"a": "2"}, False),
        ({"a": "1"}, {"a": "1", "b": "2"}, False),
    ],
)
def test_the_same_drift_is_repaired_by_the_same_run_and_another_when_it_comes_back(
    one: dict[str, str], other: dict[str, str], same: bool
) -> None:
    ids = [
        repair_id("prod", {key: {"first_seen": seen} for key, seen in alarms.items()})
        for alarms in (one, other)
    ]
    assert (ids[0] == ids[1]) == same
    assert ids[0].startswith("drift__prod__")


def test_what_a_deployment_does_not_put_back_is_not_repaired() -> None:
    checks = Checks(alarm_after=1)
    alarms = checks.check("r", [tag(), tag("aws_vpc.other", unmanaged=True)])
    assert (len(alarms.known), len(alarms.repairable)) == (2, 1)
