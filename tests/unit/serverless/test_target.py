from __future__ import annotations

from typing import Any

import pytest
from tests.unit.serverless.cloud import Cloud

from triplane.core.change import Risk
from triplane.core.errors import InputError, StaleError
from triplane.serverless.target import (
    UNKNOWN,
    Desired,
    How,
    Observed,
    Smoke,
    check_options,
    decide,
    difference,
    how,
    plan,
)
from triplane.serverless.traffic import Traffic

CODE = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
SECRET = "hunter2-hunter2"
AT_ONCE = How(traffic="100 %", smoke="")


def desired(**changes: Any) -> Desired:
    values: dict[str, Any] = {"name": "webhook", "artifact": CODE, "config": "c1", "package": b"zip"}
    return Desired(**{**values, **changes})


def observed(**changes: Any) -> Observed:
    values: dict[str, Any] = {"version": "7", "artifact": CODE, "config": "c1"}
    return Observed(**{**values, **changes})


@pytest.mark.parametrize(
    ("wanted", "found", "lines"),
    [
        (desired(), observed(), ()),
        (desired(artifact=OTHER), observed(), (f"code: {CODE} -> {OTHER}",)),
        (desired(options={"memory": 256}), observed(options={"memory": 128}), ("memory: 128 -> 256",)),
        (desired(options={"memory": 256}), observed(), ("memory: (not set) -> 256",)),
        (desired(), observed(options={"memory": 128}), ()),
        (
            desired(options={"role": UNKNOWN}),
            observed(options={"role": "r"}),
            ("role: r -> (known after apply)",),
        ),
        (desired(environment={"A": SECRET}), observed(environment={"A": "x"}), ("environment A: changed",)),
        (desired(environment={"A": SECRET}), observed(), ("environment A: added",)),
        (desired(), observed(environment={"A": SECRET}), ("environment A: removed (not in the spec)",)),
        (desired(environment={"A": UNKNOWN}), observed(), ("environment A: known after apply",)),
        (
            desired(),
            observed(config=None),
            ("configuration: written differently, or deployed by someone else",),
        ),
    ],
)
def test_difference(wanted: Desired, found: Observed, lines: tuple[str, ...]) -> None:
    assert difference(wanted, found) == lines


def test_environment_values_are_never_shown() -> None:
    wanted = desired(environment={"TOKEN": SECRET})
    found = observed(environment={"TOKEN": SECRET + "-old"})
    change = plan("aws/function/webhook", wanted, found, AT_ONCE)
    assert SECRET not in repr(change) + repr(wanted) + repr(found)


@pytest.mark.parametrize(
    ("wanted", "found", "action", "risk"),
    [
        (desired(), None, "create", Risk.LOW),
        (desired(), observed(), "none", Risk.NONE),
        (desired(artifact=OTHER), observed(), "update", Risk.MEDIUM),
        (desired(options={"role": "x"}), observed(options={"role": "y"}), "update", Risk.CRITICAL),
        (desired(options={"service_account": "x"}), observed(), "update", Risk.CRITICAL),
    ],
)
def test_plan(wanted: Desired, found: Observed | None, action: str, risk: Risk) -> None:
    change = plan("aws/function/webhook", wanted, found, AT_ONCE)
    assert (change.action, change.risk) == (action, risk)
    assert change.binds == {
        "artifact": wanted.artifact,
        "config": "c1",
        "traffic": "100 %",
        "smoke": "",
        "observed": found.version if found else "",
    }


@pytest.mark.parametrize(
    ("wanted", "found", "approved", "decision"),
    [
        (desired(), None, "", "deploy"),
        (desired(artifact=OTHER), observed(), "7", "deploy"),
        (desired(), observed(), "6", "nothing"),
        (desired(), observed(), "7", "nothing"),
    ],
)
def test_decide(wanted: Desired, found: Observed | None, approved: str, decision: str) -> None:
    assert decide(wanted, found, approved) == decision


@pytest.mark.parametrize("found", [None, observed(version="8")])
def test_what_was_approved_for_another_version_is_stale(found: Observed | None) -> None:
    with pytest.raises(StaleError, match="plan again"):
        decide(desired(artifact=OTHER), found, "7")


def test_check_options() -> None:
    zips = Cloud()
    check_options(zips, desired(options={"memory": 1}))
    with pytest.raises(InputError, match="handler not known here; known are memory"):
        check_options(zips, desired(options={"handler": "x"}))
    with pytest.raises(InputError, match="runs packages"):
        check_options(zips, desired(package=None))


def test_what_cannot_split_its_traffic_says_so() -> None:
    canary = Traffic(strategy="canary")
    assert how(Cloud(), canary, None).traffic == "10 % -> 100 %, 60 s between them"
    with pytest.raises(InputError, match=r"canary shares the traffic .* use all_at_once"):
        how(Cloud(splits=False), canary, None)
    assert how(Cloud(splits=False), Traffic(), Smoke()).binds()["smoke"]


def test_the_way_over_is_part_of_the_plan_and_no_change_by_itself() -> None:
    canary = how(Cloud(), Traffic(strategy="canary", steps=(5, 50), wait=300), None)
    change = plan("aws/function/webhook", desired(artifact=OTHER), observed(), canary)
    assert change.lines[-1] == "traffic: 5 % -> 50 % -> 100 %, 300 s between them"
    assert change.binds["traffic"] == canary.traffic
    assert plan("aws/function/webhook", desired(), observed(), canary).action == "none"


@pytest.mark.parametrize(
    ("options", "found", "lines"),
    [
        ({"subnets": ["b", "a"]}, {"subnets": ["a", "b"]}, ()),
        ({"subnets": ["b"]}, {"subnets": ["a", "b"]}, ("subnets: ['a', 'b'] -> ['b']",)),
    ],
)
def test_lists_are_sets(options: Any, found: Any, lines: tuple[str, ...]) -> None:
    assert difference(desired(options=options), observed(options=found)) == lines


def test_an_unknown_value_cannot_be_deployed() -> None:
    with pytest.raises(InputError, match="environment A is not known yet"):
        desired(environment={"A": UNKNOWN}).known_environment()
