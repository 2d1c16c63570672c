"""What the views are made of, from values: no Airflow, no store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from triplane.core.approval import Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.stages import shown
from triplane.drift.alarms import Alarms, groups
from triplane.drift.report import coverage
from triplane.ui import approvals, changes, drift, history, overview, rollout
from triplane.ui.approvals import Person
from triplane.ui.changes import Asked
from triplane.ui.database import Question, TaskRow
from triplane.ui.inventory import CloudDag, Inventory
from triplane.ui.models import Run

ADDRESSES = ("aws/stack/network", "aws/chart/api")
DAG = CloudDag(
    dag_id="shop_deploy_aws",
    prefix="shop_",
    cloud="aws",
    platform="shop",
    environments=("staging", "prod"),
    components=ADDRESSES,
    edges=(),
    addresses={
        "infrastructure.network.plan": ADDRESSES[0],
        "infrastructure.network.apply": ADDRESSES[0],
        "infrastructure.network.apply_again": ADDRESSES[0],
        "applications.api.deploy": ADDRESSES[1],
    },
)
FOUND = Inventory(frozenset({"shop_deploy", "shop_deploy_aws"}), (DAG,))


def run(run_id: str = "r1", **more: Any) -> Run:
    known = {"dag_id": "shop_deploy_aws", "environment": "staging", "action": "apply", "state": "success"}
    return Run(run_id=run_id, **{**known, **more})


def row(task_id: str, state: str, **more: Any) -> TaskRow:
    known = {"dag_id": "shop_deploy_aws", "run_id": "r1", "map_index": -1, "try_number": 1}
    return TaskRow(**{**known, "task_id": task_id, "state": state, "started": "", "ended": "", **more})


def change_set(**more: Any) -> ChangeSet:
    change = ComponentChange(
        address=ADDRESSES[0], action="replace", risk=Risk.HIGH, summary="s", binds={}, denied=("no",)
    )
    none = ComponentChange(address=ADDRESSES[1], action="none", risk=Risk.NONE, summary="", binds={})
    known: dict[str, Any] = {
        **{"platform": "shop", "environment": "staging", "cloud": "aws", "asked": "main"},
        **{"revision": "1" * 40, "source": "s", "spec": "c", "planned_at": datetime.now(UTC).isoformat()},
        "policy": Policy(votes={"high": 2}, required={"high": {"security": ["carol"]}}).to_json(),
        "changes": (none, change),
    }
    return ChangeSet(**{**known, **more})


def question(vote: int = 0, **more: Any) -> Question:
    known: dict[str, Any] = {
        **{"dag_id": "shop_deploy", "run_id": "r1", "task_id": "approval", "map_index": vote},
        **{
            "state": "awaiting_input",
            "subject": "s",
            "assigned": (),
            "expires_at": "2030-01-01T00:00:00+00:00",
        },
        **{"body": "why", "params": {}, "responder": "", "answered_at": "", "chosen": (), "answer": {}},
    }
    return Question(**{**known, **more})


def _tick(title: str) -> dict[str, Any]:
    return {"value": False, "schema": {"type": "boolean", "title": title}}


def about(*sets: ChangeSet) -> Asked:
    return Asked({each.cloud: each.digest for each in sets}, sets)


class TestOverview:
    @pytest.mark.parametrize(
        ("runs", "last"),
        [
            ([run("new"), run("old")], "new"),
            ([run("new", environment="prod"), run("old")], "old"),
            ([run("new", environment=""), run("old")], "new"),
            ([run("new.aws.plan"), run("old")], "old"),
            ([run("new", action="plan"), run("old")], "old"),
            ([run("new", dag_id="shop_deploy"), run("old")], "old"),
            ([], None),
        ],
    )
    def test_the_last_rollout_is_of_this_scope_and_no_plan(self, runs: list[Run], last: str | None) -> None:
        _, scope = next(FOUND.scopes({}))
        found = overview.last_rollout(runs, DAG, scope)
        assert (found.run_id if found else None) == last

    @pytest.mark.parametrize(
        ("states", "said"),
        [
            (("success", "skipped"), None),
            (("failed", "success"), "failed"),
            (("running", "failed"), "failed"),
            (("up_for_retry", "none"), "running"),
            (("success", "awaiting_input"), "waiting"),
        ],
    )
    def test_the_loudest_task_speaks_for_its_component(
        self, states: tuple[str, str], said: str | None
    ) -> None:
        names = ("infrastructure.network.apply", "infrastructure.network.apply_again")
        rows = [row(name, state) for name, state in zip(names, states, strict=True)]
        found = overview.component_states([*rows, row("record", "failed")], FOUND)
        assert found.get(("shop_deploy_aws", "r1"), {}).get(ADDRESSES[0]) == said

    @pytest.mark.parametrize(
        ("deployed", "state", "shown"),
        [
            (None, None, "never"),
            ({"version": "1"}, None, "deployed"),
            ({"version": "1"}, "failed", "failed"),
            (None, "running", "running"),
        ],
    )
    def test_a_cell(self, deployed: Mapping[str, str] | None, state: Any, shown: str) -> None:
        assert overview.cell(deployed, state, "").state == shown

    def test_an_environment_belongs_to_one_platform(self) -> None:
        assert [scope.environment for _, scope in FOUND.scopes({"prod": "other"})] == ["staging"]


class TestApprovals:
    @pytest.mark.parametrize(
        ("person", "questions", "why"),
        [
            ("bob", [question()], ""),
            ("alice", [question()], "You asked for this run"),
            ("bob", [question(assigned=("carol",))], "It asks carol."),
            ("carol", [question(assigned=("carol",))], ""),
            ("bob", [question(state="success", responder="bob"), question(1)], "You have answered already"),
            ("bob", [question(state="success", responder="carol"), question(1)], ""),
        ],
    )
    def test_whose_answer_would_count(self, person: str, questions: list[Question], why: str) -> None:
        found = approvals.approval(run(by="alice"), questions, about(change_set()), Person("7", person))
        assert found.why_not.startswith(why)
        assert found.mine == (not why)

    def test_the_requester_may_where_the_policy_says_so(self) -> None:
        lenient = change_set(policy=Policy(requester_may_approve=True).to_json())
        assert approvals.approval(run(by="alice"), [question()], about(lenient), Person("1", "alice")).mine

    def test_it_says_what_is_asked(self) -> None:
        from triplane.approval.review import review_digest

        sets = [change_set()]
        params = {
            "digest": {"value": review_digest(sets)},
            "reason": {"value": ""},
            "hold_aws": _tick("Hold back AWS"),
        }
        answered = question(
            state="success",
            responder="carol",
            chosen=("Approve",),
            answer={"hold_aws": True, "reason": "not today"},
            params=params,
        )
        found = approvals.approval(run(), [answered, question(1)], about(*sets), Person("1", "bob"))
        assert found.as_stored
        assert found.reason_needed
        assert (found.choices, found.groups) == ({"hold_aws": "Hold back AWS"}, {"security": ("carol",)})
        assert found.text == ""
        assert (found.votes[0].held, found.votes[0].reason) == (("aws",), "not today")
        assert found.open is not None
        assert found.open.map_index == 1
        assert [(each.cloud, each.changed, each.risk) for each in found.clouds] == [("aws", 1, "high")]

    def test_a_gate_without_data_asks_too(self) -> None:
        params = {"digest": {"value": "d"}, "reason": {"value": ""}, "later": _tick("Also later")}
        asked = question(-1, task_id="functions.hook.deploy", params=params)
        found = approvals.approval(run(), [asked], about(), Person("1", "bob"))
        assert (found.text, found.choices, found.digest) == ("why", {"later": "Also later"}, "d")
        assert found.as_stored
        assert not found.reason_needed

    def test_other_change_sets_than_the_form_asks_about_are_told(self) -> None:
        params = {"digest": {"value": "sha256:" + "0" * 64}}
        found = approvals.approval(run(), [question(params=params)], about(change_set()), Person("1", "bob"))
        assert not found.as_stored
        assert not approvals.approval(run(), [question()], about(), Person("1", "bob")).as_stored

    def test_what_he_may_not_read_is_named(self) -> None:
        both = Asked({"aws": "a", "gcp": "b"}, (change_set(),))
        assert approvals.approval(run(), [question()], both, Person("1", "bob")).hidden == ("gcp",)


def test_what_is_denied_comes_first_and_what_is_deployed_now_is_said() -> None:
    found = changes.cloud_changes(change_set(), {ADDRESSES[0]: {"version": "v1"}})
    assert [(each.address, each.denied, each.now) for each in found.changes] == [
        (ADDRESSES[0], ("no",), "v1"),
        (ADDRESSES[1], (), ""),
    ]
    assert found.votes == 2
    assert found.policy == (
        "2 approvals are needed",
        "a decision holds for 24 h",
        "somebody of security must be among them: carol",
        "a reason is needed",
        "who asked for it may not approve it",
    )


def test_drift_of_clouds_that_are_not_readable_is_left_out() -> None:
    def item(address: str, last_good: str) -> dict[str, Any]:
        resource = {
            **{"address": "r", "action": "update", "attributes": [{"name": "tags"}]},
            **{"first_seen": last_good, "fingerprint": address},
        }
        return {"address": address, "state": "drifted", "last_good": last_good, "resources": [resource]}

    components = [
        item("aws/stack/a", "2026-02-01T00:00:00+00:00"),
        item("gcp/stack/b", "2026-01-01T00:00:00+00:00"),
    ]
    alarms = {each["address"]: {"address": each["address"]} for each in components}
    report = {
        "components": components,
        **{
            "drifted": 2,
            "groups": groups(components, Alarms(known=alarms)),
            "coverage": coverage(components),
        },
        **{"alarms": {"known": 2}, "left_behind": {"gcp/chart/old": "its release stays"}},
    }
    assert drift.of_clouds(report, {"aws", "gcp"}, alarms) is report
    found = drift.of_clouds(report, {"aws"}, alarms)
    assert "gcp" not in str(found)
    assert [each["address"] for each in found["components"]] == ["aws/stack/a"]
    assert [(each["components"], each["resources"], each["alarm"]) for each in found["groups"]] == [
        (["aws/stack/a"], 1, True)
    ]
    assert (found["drifted"], found["alarms"]["known"], found["coverage"]["expected"]) == (1, 1, 1)
    assert found["coverage"]["oldest_good"]["address"] == "aws/stack/a"
    assert found["left_behind"] == {}


def test_an_entry_says_who_and_what() -> None:
    from triplane.core.ledger import Entry

    results = [{"address": "a", "state": "deployed"}, {"address": "b", "state": "deployed"}]
    body = {
        "digest": "d",
        "run_id": "r",
        "approved_by": ["bob"],
        "decisions": [{"reason": "why"}, {}],
        "results": results,
    }
    found = history.entry(Entry(3, "p", "rollout", "2026-01-01T00:00:00+00:00", body, "k", "s"))
    assert (found.approved_by, found.reasons, found.states, found.sealed) == (
        ("bob",),
        ("why",),
        {"deployed": 2},
        True,
    )
    forgotten = {"address": "aws/chart/old", "reason": "uninstalled", "by": "olga", "version": "3"}
    found = history.entry(Entry(4, "p", "forgotten", "2026-01-01T00:00:00+00:00", forgotten, "k", "s"))
    assert (found.about, found.reasons) == ("aws/chart/old", ("uninstalled",))


def test_a_task_that_only_waits_for_a_run_is_not_shown_beside_it() -> None:
    waits = row("apply.aws", "deferred", dag_id="shop_deploy")
    child = row("infrastructure.network.apply", "running", run_id="r1.aws.apply")
    assert shown([waits, child], lambda each: each.place) == [child]
    assert shown([waits], lambda each: each.place) == [waits]
    found = rollout.task(child, FOUND)
    assert (found.cloud, found.stage, found.address) == ("aws", "infrastructure", ADDRESSES[0])


@pytest.mark.parametrize(
    ("run_id", "gone", "cleared"),
    [
        ("r1", False, ("shop_deploy_aws", "r1", "infrastructure.network.apply")),
        ("r1.aws.apply", False, ("shop_deploy_aws", "r1.aws.apply", "infrastructure.network.apply")),
        ("r1.aws.apply", True, ("shop_deploy", "r1", "apply.aws")),
        ("r1.aws.plan", True, ("shop_deploy", "r1", "plan.aws")),
        ("r1.aws.settle", True, ("shop_deploy", "r1", "settle")),
    ],
)
def test_what_is_cleared_for_a_retry(run_id: str, gone: bool, cleared: tuple[str, str, str]) -> None:
    failed = row("infrastructure.network.apply", "failed", run_id=run_id)
    waits = rollout.waiting_task(failed)
    found = rollout.task(failed, FOUND, {waits} if gone and waits else ()).retry
    assert found is not None
    assert (found.dag_id, found.run_id, found.task_id) == cleared
    assert rollout.task(row("record", "success"), FOUND).retry is None
