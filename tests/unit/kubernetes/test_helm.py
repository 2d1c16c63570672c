from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from triplane.core.errors import ToolError
from triplane.kubernetes import helm
from triplane.kubernetes.helm import Action, Observed, Release, Revision, Upgrade, Wanted, decide, record

RELEASE = Release("ingest", "streaming")
CHART, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
VALUES = {"replicas": 2}
OURS = record(CHART, OTHER)
WANTED = Wanted(CHART, VALUES)


def upgrade() -> Upgrade:
    return Upgrade(
        release=RELEASE, chart=Path("/charts/service"), values=Path("/v.json"), description="why", timeout=90
    )


@pytest.mark.parametrize(("major", "flag"), [(3, "--atomic"), (4, "--rollback-on-failure")])
def test_upgrade_argv(major: int, flag: str) -> None:
    assert helm.upgrade_args(upgrade(), major) == (
        "upgrade", "ingest", "/charts/service", "--install",
        "--namespace", "streaming", "--create-namespace",
        "--reset-values", "--values", "/v.json", "--description", "why", "--history-max", "10",
        "--wait", "--wait-for-jobs", "--timeout", "90s", flag,
    )  # fmt: skip
    over = helm.upgrade_args(replace(upgrade(), over_hands=True), major)
    assert ({"--server-side=true", "--force-conflicts"} <= set(over)) == (major == 4)


def test_other_argv() -> None:
    where = ("--namespace", "streaming")
    assert helm.history_args(RELEASE) == ("history", "ingest", *where, "--output", "json")
    assert helm.values_args(RELEASE, 3) == (
        "get", "values", "ingest", *where, "--revision", "3", "--output", "json",
    )  # fmt: skip
    assert helm.rollback_args(RELEASE, 3, 60) == (
        "rollback", "ingest", "3", *where, "--wait", "--wait-for-jobs", "--timeout", "60s",
    )  # fmt: skip
    assert helm.uninstall_args(RELEASE, 60) == (
        "uninstall", "ingest", *where, "--ignore-not-found", "--wait", "--timeout", "60s",
    )  # fmt: skip


def observed(*statuses: str, description: str = OURS, values: dict[str, object] | None = None) -> Observed:
    revisions = tuple(
        Revision(number, status, description if status in ("deployed", "superseded") else "")
        for number, status in enumerate(statuses, 1)
    )
    return Observed(revisions, VALUES if values is None else values)


@pytest.mark.parametrize(
    ("state", "abandoned", "action"),
    [
        (Observed(), False, Action("upgrade")),
        (observed("deployed"), False, Action("keep")),
        (observed("superseded", "deployed"), False, Action("keep")),
        (observed("deployed", values={"replicas": 3}), False, Action("upgrade")),
        (observed("deployed", description=record(OTHER, OTHER)), False, Action("upgrade")),
        (observed("deployed", description="Upgrade complete"), False, Action("upgrade")),
        (observed("deployed", "failed"), False, Action("upgrade")),
        (observed("failed"), False, Action("upgrade")),
        (observed("deployed", "pending-upgrade"), False, Action("wait")),
        (observed("deployed", "pending-upgrade"), True, Action("roll_back", 1)),
        (observed("superseded", "deployed", "pending-rollback"), True, Action("roll_back", 2)),
        (observed("pending-install"), False, Action("wait")),
        (observed("pending-install"), True, Action("uninstall")),
        (observed("uninstalling"), True, Action("uninstall")),
        (observed("uninstalled"), True, Action("upgrade")),
    ],
)
def test_decide(state: Observed, abandoned: bool, action: Action) -> None:
    assert decide(state, WANTED, abandoned=lambda revision: abandoned) == action


@pytest.mark.parametrize(("drifted", "kind"), [(None, "keep"), (1, "upgrade"), (2, "keep")])
def test_what_was_changed_by_hand_is_applied_again_once(drifted: int | None, kind: str) -> None:
    found = decide(observed("deployed"), WANTED, abandoned=lambda revision: False, drifted=drifted)
    assert found.kind == kind


def test_a_rollback_counts_as_what_it_went_back_to() -> None:
    state = Observed(
        (
            Revision(1, "superseded", OURS),
            Revision(2, "failed", 'Upgrade "ingest" failed: timed out'),
            Revision(3, "superseded", "Rollback to 1"),
            Revision(4, "failed", "failed again"),
            Revision(5, "deployed", "Rollback to 3"),
        ),
        VALUES,
    )
    assert state.origin == 1
    assert state.recorded == (CHART, OTHER)
    assert WANTED.serves(state)


def test_a_forgotten_origin_is_not_taken_for_ours() -> None:
    state = Observed((Revision(12, "deployed", "Rollback to 1"),), VALUES)
    assert state.origin == 1
    assert state.recorded is None
    assert not WANTED.serves(state)


def test_values_are_compared_as_helm_keeps_them() -> None:
    state = observed("deployed", values={"a": {"b": 1}, "c": [1]})
    assert Wanted(CHART, {"c": [1.0], "a": {"b": 1, "gone": None}}).serves(state)
    assert not Wanted(CHART, {"c": [1], "a": {"b": "1"}}).serves(state)


def test_history_is_read() -> None:
    value = {
        "revision": 3,
        "updated": "2026-11-22T22:15:12.421670026Z",
        "status": "deployed",
        "description": "Rollback to 1",
    }
    revision = Revision.from_json(value)
    assert (revision.number, revision.status) == (3, "deployed")
    assert revision.updated is not None
    assert revision.updated.tzinfo is not None


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("Error: Kubernetes cluster unreachable: Get https://…: dial tcp: connection refused", True),
        ("Error: release ingest failed, and has been rolled back: context deadline exceeded", False),
        ("Error: template: service/templates/deployment.yaml:3: unexpected EOF in template", False),
        ("Error: values don't meet the specifications of the schema", False),
    ],
)
def test_unreachable(stderr: str, expected: bool) -> None:
    assert helm.unreachable(ToolError(("helm",), 1, stderr)) is expected
