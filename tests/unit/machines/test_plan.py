from __future__ import annotations

from typing import Any

import pytest

from triplane.core.change import Risk
from triplane.core.errors import RefusedError, StaleError
from triplane.machines.ansible import HostsError
from triplane.machines.drift import findings
from triplane.machines.events import HostSummary, Recap, TaskResult
from triplane.machines.hosts import parse
from triplane.machines.plan import (
    Written,
    check,
    check_changes,
    fingerprint,
    plan,
    plan_to_destroy,
    plan_to_forget,
)

HOSTS = parse({"a": "10.0.0.1", "b": "10.0.0.2"})


def written(**more: Any) -> Written:
    known = {"address": "aws/machines/w", "playbook": "m/site.yml", "tree": "sha256:1", "hosts": HOSTS}
    return Written(**{**known, "given": {"variables": {"level": "info"}}, **more})


def task(host: str = "a", state: str = "changed", **more: Any) -> TaskResult:
    known = {"task": "config", "action": "ansible.builtin.copy", "where": "site.yml:5", "diff": ("+x",)}
    return TaskResult(host=host, state=state, **{**known, **more})


def seen(*results: TaskResult) -> Recap:
    hosts = {result.host: HostSummary(unreachable=int(result.state == "unreachable")) for result in results}
    return Recap(hosts=hosts, targets={"a", "b"}, results=list(results), complete=True)


SILENT = task(state="skipped", foreseen=False, diff=(), task="migrate")
BROKEN = task(state="failed", message="no such service", diff=(), task="start")


@pytest.mark.parametrize(
    ("results", "before", "action", "risk"),
    [
        ([task()], None, "create", Risk.MEDIUM),
        ([task()], "other", "update", Risk.MEDIUM),
        ([task(action="community.general.filesystem")], "other", "update", Risk.HIGH),
        ([task(deletes=True)], "other", "update", Risk.HIGH),
        ([task(state="ok"), task(state="skipped", diff=())], "other", "none", Risk.NONE),
        ([SILENT], "other", "update", Risk.MEDIUM),
        ([SILENT], written().settings, "none", Risk.NONE),
        ([BROKEN], written().settings, "update", Risk.MEDIUM),
        ([task(state="failed", ignored=True)], written().settings, "none", Risk.NONE),
    ],
)
def test_what_is_a_change(results: list[TaskResult], before: str | None, action: str, risk: Risk) -> None:
    change = plan(written(), seen(*results), before=before)
    assert (change.action, change.risk) == (action, risk)


def test_lines_name_each_change_once() -> None:
    change = plan(written(), seen(task("b"), task("a"), SILENT, BROKEN), before=None)
    assert change.lines == (
        *("~ a, b: config (copy)", "    +x", "? a: migrate: check mode cannot tell"),
        "? a: start: fails in check mode, what follows is not known: no such service",
    )
    assert change.summary == "run site.yml on 2 of 2 hosts: 2 to change, 2 that cannot be foreseen"
    many = plan(written(), seen(*(task(f"h{n}") for n in range(9))), before=None)
    assert many.lines[0] == "~ h0, h1, h2, h3, h4, h5 and 3 more: config (copy)"


def test_hosts_of_a_stack_to_come() -> None:
    change = plan(written(hosts=None), Recap(), before=None)
    assert change.action == "create"
    assert "known after a stack is applied" in change.summary
    check(change, written())
    check_changes(change, seen(task()))


def test_what_is_run_is_what_was_approved() -> None:
    approved = plan(written(), seen(task()), before=None)
    check(approved, written())
    for other in ({"tree": "sha256:2"}, {"given": {"variables": {"level": "debug"}}}):
        with pytest.raises(RefusedError, match="settings differ"):
            check(approved, written(**other))
    with pytest.raises(StaleError, match="the machines"):
        check(approved, written(hosts=HOSTS[:1]))


def test_what_changes_is_what_people_saw_or_what_is_left_of_it() -> None:
    approved = plan(written(), seen(task("a"), task("a", task="other"), task("b"), BROKEN), before=None)
    check_changes(approved, seen(task("a")))
    check_changes(approved, seen(task("b", state="ok")))
    check_changes(approved, seen(task("a", task="after what failed in check mode")))
    with pytest.raises(StaleError, match="b is not as it was"):
        check_changes(approved, seen(task("b", diff=("+y",))))
    with pytest.raises(StaleError, match="c is not as it was"):
        check_changes(approved, seen(task("c")))


def test_a_fingerprint_is_of_the_change_and_not_of_the_path() -> None:
    one, two = task(diff=("+++ after: /one", "+x")), task("b", diff=("+++ after: /two", "+x"))
    assert fingerprint(one) == fingerprint(two) != fingerprint(task(diff=("+z",)))


def test_destroying() -> None:
    never = plan_to_forget("aws/machines/w", "it never ran", known=False)
    assert (never.action, never.risk, never.summary) == ("none", Risk.NONE, "it never ran")
    forgotten = plan_to_forget("aws/machines/w", "no destroy_playbook", known=True)
    assert (forgotten.action, forgotten.risk) == ("destroy", Risk.LOW)
    change = plan_to_destroy(written(), seen(task()))
    assert (change.action, change.risk) == ("destroy", Risk.CRITICAL)


def test_drift() -> None:
    found = findings(seen(task("a", diff=("--- before", "-old", "+new")), task("b", state="ok")))
    assert [(item["address"], item["attributes"]) for item in found] == [
        ("a: config", [{"name": "copy", "before": "old", "after": "new"}])
    ]
    away = task("b", state="unreachable", message="no route", diff=())
    with pytest.raises(HostsError, match=r"1 of 2 hosts could not be looked at \(b: no route\)"):
        findings(seen(task(state="ok"), away))
    assert [item["address"] for item in findings(seen(task(), away))] == ["a: config", "b"]
    assert findings(seen(SILENT)) == []
