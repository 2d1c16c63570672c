from __future__ import annotations

from typing import Any, Literal

import pytest

from triplane.core.change import Risk
from triplane.core.errors import InputError, StaleError
from triplane.serverless.target import (
    UNKNOWN,
    Deployed,
    Desired,
    Log,
    Observed,
    check_options,
    decide,
    difference,
    plan,
)

CODE = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
SECRET = "hunter2-hunter2"


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
    change = plan("aws/function/webhook", wanted, found)
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
    change = plan("aws/function/webhook", wanted, found)
    assert (change.action, change.risk) == (action, risk)
    assert change.binds == {
        "artifact": wanted.artifact,
        "config": "c1",
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


class Zips:
    """A target that knows one option."""

    kind: Literal["package", "image"] = "package"
    options = frozenset({"memory"})

    def observe(self, name: str) -> Observed | None: ...

    def deploy(self, desired: Desired, observed: Observed | None, log: Log) -> Deployed: ...  # type: ignore[empty-body]

    def verify(self, desired: Desired, deployed: Deployed) -> None: ...

    def restore(self, name: str, previous: Observed) -> None: ...


def test_check_options() -> None:
    check_options(Zips(), desired(options={"memory": 1}))
    with pytest.raises(InputError, match="handler not known here; known are memory"):
        check_options(Zips(), desired(options={"handler": "x"}))
    with pytest.raises(InputError, match="runs packages"):
        check_options(Zips(), desired(package=None))


def test_an_unknown_value_cannot_be_deployed() -> None:
    with pytest.raises(InputError, match="environment A is not known yet"):
        desired(environment={"A": UNKNOWN}).known_environment()
