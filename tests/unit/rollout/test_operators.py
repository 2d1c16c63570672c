"""Authorizing a change set: what gets through, and every shortcut that must not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from cryptography.fernet import Fernet

from triplane import authorized, sealing, settings
from triplane.core import deployed
from triplane.core.approval import Decision, Policy
from triplane.core.change import ComponentChange, Risk
from triplane.core.errors import InputError, RefusedError
from triplane.core.git import commit, git
from triplane.rollout.authorize import AuthorizeOperator
from triplane.rollout.operators import ChangeSetOperator, RecordOperator
from triplane.secrets.stored import Stored

KEY = "k" * 40
IDENTITY = ("-c", "user.name=alice", "-c", "user.email=alice@example.com")
FROZEN: dict[str, str] = {}


class Instance:
    """A task instance with the XComs of several runs, as Airflow would hand them out."""

    def __init__(self, xcoms: dict[tuple[str, str, str, int], Any] | None = None) -> None:
        self.xcoms = xcoms or {}
        self.pushed: dict[str, Any] = {}
        self.bundle_instance: Any = None

    def xcom_pull(self, task_ids: str, dag_id: str, run_id: str, map_indexes: int) -> Any:
        return self.xcoms.get((dag_id, run_id, task_ids, map_indexes))

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(dag_id: str, run_id: str, instance: Instance | None = None) -> Any:
    instance = instance or Instance()
    return {
        "dag_run": SimpleNamespace(
            dag_id=dag_id, run_id=run_id, run_after=datetime.now(UTC), start_date=datetime.now(UTC)
        ),
        "task_instance": instance,
        "ti": instance,
    }


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)
    FROZEN.update(source="sha256:" + "1" * 64, spec="sha256:" + "2" * 64, revision="abc", asked="main")


def plan(risk: Risk = Risk.LOW) -> dict[str, Any]:
    return ComponentChange(
        address="aws/stack/network",
        action="create" if risk else "none",
        risk=risk,
        summary="1 to add",
        binds={"plan": "sha256:1"},
    ).to_json()


def make_change_set(
    *plans: dict[str, Any],
    ask: bool = True,
    tests: Any = None,
    action: str = "deploy",
    secrets: Any = None,
    **policy: Any,
) -> tuple[str, list[int]]:
    instance = Instance()
    operator = ChangeSetOperator(
        task_id="change_set",
        platform="shop",
        cloud="aws",
        environment="prod",
        frozen=FROZEN,
        plans=[
            sealing.seal(context("deploy_aws", "r1.aws.plan"), ComponentChange.from_json(item))
            for item in plans
        ],
        policies={"prod": Policy(**policy).to_json()},
        ask=ask,
        tests=tests,
        action=action,
        secrets=secrets,
    )
    asked = operator.execute(context("deploy_aws", "r1.aws.plan", instance))
    change_sets = instance.pushed["change_sets"]
    assert all(question["change_sets"] == change_sets for question in asked)
    return change_sets["aws"], [question["vote"] for question in asked]


def decision(digest: str, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "dag_id": "deploy",
        "run_id": "r1",
        "vote": 0,
        "requester": "alice",
        "responder": "bob",
        "approved": True,
        "change_sets": {"aws": digest},
        "decided_at": now.isoformat(),
        "expires_at": (now + timedelta(hours=1)).isoformat(),
    }
    return Decision(**(fields | changes)).sign([KEY]).to_json()


def authorize(
    digest: Any,
    xcom: Any,
    *,
    action: str = "apply",
    run_id: str = "r1.aws.apply",
    built: Mapping[str, str] | None = None,
    bundle: Any = None,
    **approved: Any,
) -> Any:
    operator = AuthorizeOperator(
        task_id="authorize",
        cloud="aws",
        environment="prod",
        action=action,
        change_sets={"aws": digest},
        approved={"change_set": digest, "dag_id": "deploy", "run_id": "r1", **approved},
        **(built or {}),
    )
    instance = Instance({("deploy", "r1", "approval", 0): xcom})
    instance.bundle_instance = bundle
    operator.execute(context("deploy_aws", run_id, instance))
    return instance.pushed


def test_votes_follow_risk_and_policy() -> None:
    assert make_change_set(plan())[1] == [0]
    assert make_change_set(plan(Risk.CRITICAL), votes={"critical": 2})[1] == [0, 1]
    assert make_change_set(plan(Risk.NONE))[1] == []
    assert make_change_set(plan(), ask=False)[1] == []


def unit_result(**changes: Any) -> dict[str, Any]:
    result = {
        "name": "unit",
        "source": FROZEN["source"],
        "image": "",
        "summary": {},
        "text": "1 of 1",
        "seconds": 1,
    }
    return sealing.seal_tests({**result, **changes})


def test_what_the_tests_said_is_in_the_change_set() -> None:
    digest, _ = make_change_set(plan(), tests={"unit": unit_result()})
    (found,) = settings.get_change_set(digest).tests
    assert found == {"name": "unit", "image": "", "summary": {}, "text": "1 of 1"}


@pytest.mark.parametrize("result", [None, {}, "elsewhere", "unsigned"])
def test_without_a_result_of_the_tests_nothing_is_deployed(result: Any) -> None:
    known = {"elsewhere": unit_result(source="another"), "unsigned": {**unit_result(), "seal": ""}}
    value = known.get(result) if isinstance(result, str) else result
    with pytest.raises((AirflowFailException, RefusedError), match=r"no result for this source|was changed"):
        make_change_set(plan(), tests={"unit": value})
    make_change_set(plan(), tests={"unit": value}, action="rollback")


def test_an_approved_change_set_gets_through_and_is_recorded() -> None:
    digest, _ = make_change_set(plan())
    granted = authorize(digest, decision(digest))
    assert granted["change_set"] == digest
    assert granted["source"] == FROZEN["source"]
    change = authorized.authorized_change(
        context("deploy_aws", "r1.aws.apply"),
        "aws/stack/network",
        digest,
        {"decisions": granted["decisions"]},
    )
    assert change.binds == {"plan": "sha256:1"}
    (entry,) = settings.ledger("prod/aws").entries("authorized")
    assert entry.body["approved_by"] == ["bob"]


def test_the_digest_may_come_as_one_of_all_clouds() -> None:
    digest, _ = make_change_set(plan())
    assert authorize({"aws": digest, "gcp": "x"}, decision(digest))["change_set"] == digest


def test_planning_only_stops_here() -> None:
    with pytest.raises(AirflowSkipException):
        authorize("", None, action="plan")


FORGED = "signature"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda digest: None, "is not approved: 1 needed, 0 found"),
        (lambda digest: {"approved": True, "chosen_options": ["Approve"]}, "no signed decision"),
        (lambda digest: decision(digest) | {"responder": "mallory"}, FORGED),
        (lambda digest: decision(digest, approved=False) | {"approved": True}, FORGED),
        (lambda digest: decision("sha256:" + "9" * 64), "not for sha256:"),
        (lambda digest: decision(digest, expires_at=datetime.now(UTC).isoformat()), "it expired at"),
        (lambda digest: decision(digest, responder="alice"), "may not approve it"),
        (lambda digest: decision(digest, run_id="r0"), "it was given to run r0"),
    ],
)
def test_shortcuts_are_refused(make: Any, message: str) -> None:
    digest, _ = make_change_set(plan())
    with pytest.raises(AirflowFailException, match=message):
        authorize(digest, make(digest))


def test_a_second_child_of_the_same_parent_run_is_refused() -> None:
    digest, _ = make_change_set(plan())
    with pytest.raises(AirflowFailException, match=r"it was given to run r1, not to my\.own\.run"):
        authorize(digest, decision(digest), run_id="my.own.run")


def test_a_configuration_that_says_approved_is_refused() -> None:
    digest, _ = make_change_set(plan())
    with pytest.raises(AirflowFailException, match="0 found"):
        authorize(digest, None, decisions=[decision(digest)], approved=True)
    operator = AuthorizeOperator(
        task_id="authorize",
        cloud="aws",
        environment="prod",
        action="apply",
        change_sets=None,
        approved=None,
    )
    with pytest.raises(AirflowFailException, match="needs conf approved"):
        operator.execute(context("deploy_aws", "x"))


def test_a_change_set_of_another_environment_or_none_is_refused() -> None:
    digest, _ = make_change_set(plan())
    operator = AuthorizeOperator(
        task_id="authorize",
        cloud="gcp",
        environment="prod",
        action="apply",
        change_sets=None,
        approved={"change_set": digest, "dag_id": "deploy", "run_id": "r1"},
    )
    with pytest.raises(AirflowFailException, match="is for aws/prod, this run is for gcp/prod"):
        operator.execute(context("deploy_gcp", "r1.gcp.apply"))
    with pytest.raises(AirflowFailException, match="not in the artifact store"):
        authorize("sha256:" + "3" * 64, None)


def test_the_applying_task_checks_again_by_itself() -> None:
    digest, _ = make_change_set(plan())
    run = context("deploy_aws", "r1.aws.apply")
    for authorization in (None, {}, {"decisions": []}):
        with pytest.raises(RefusedError, match="0 found"):
            authorized.authorized_change(run, "aws/stack/network", digest, authorization)
    with pytest.raises(RefusedError, match="is not in change set"):
        authorized.authorized_change(run, "aws/stack/other", digest, {"decisions": [decision(digest)]})


def test_results_are_recorded() -> None:
    digest, _ = make_change_set(plan())
    operator = RecordOperator(
        task_id="record",
        cloud="aws",
        environment="prod",
        change_set=digest,
        tasks={
            "aws/stack/network": ["network.apply", "network.apply_again"],
            "aws/stack/idle": ["idle.apply"],
        },
    )
    held, done = (
        {"address": "aws/stack/network", "version": "serial 1", "state": s} for s in ("held", "deployed")
    )
    xcoms = {("network.apply", "result"): held, ("network.apply_again", None): done}
    instance = SimpleNamespace(xcom_pull=lambda task_ids, key=None: xcoms.get((task_ids, key)))
    for _ in range(2):  # the first try was killed after it had recorded
        (result,) = operator.execute({**context("deploy_aws", "r"), "task_instance": instance})
    assert result["state"] == "deployed"
    (entry,) = settings.ledger("prod/aws").entries("rollout")
    assert entry.body["digest"] == digest
    assert (entry.body["intent"], entry.body["revision"]) == ("deploy", "abc")


def test_what_has_moved_is_told_apart(tmp_path: Path) -> None:
    repository = tmp_path / "platform"
    repository.mkdir()
    for command in ("init -q -b main", "commit -q --allow-empty -m one"):
        git(repository, *IDENTITY, *command.split())
    FROZEN["revision"] = first = commit(repository, "main")
    built = {"folder": str(repository), "spec": FROZEN["spec"]}
    digest, _ = make_change_set(plan())
    other, _ = make_change_set(plan(Risk.MEDIUM))
    authorize(digest, decision(digest), built=built)
    git(repository, *IDENTITY, *["commit", "-q", "--allow-empty", "-m", "two"])
    with pytest.raises(
        AirflowFailException, match=f"main has moved .* .then {first}, now .*ask for the revision {first}"
    ):
        authorize(other, decision(other), built=built)
    authorize(digest, decision(digest), built=built)  # its rollout has begun: it may be finished
    with pytest.raises(AirflowFailException, match="platform spec has changed since this was planned"):
        authorize(digest, decision(digest), built=built | {"spec": "sha256:" + "3" * 64})
    FROZEN["asked"] = first
    exact, _ = make_change_set(plan())
    authorize(exact, decision(exact), built=built)


def test_head_of_a_git_bundle_is_the_commit_of_the_run_that_planned(tmp_path: Path) -> None:
    """The run that applies may have a newer checkout, by default without git's own files."""
    FROZEN.update(revision="a" * 40, asked="HEAD")
    digest, _ = make_change_set(plan())
    built = {"folder": str(tmp_path / "checkout" / "platform"), "spec": FROZEN["spec"]}
    (tmp_path / "checkout" / "platform").mkdir(parents=True)
    elsewhere, here = (
        SimpleNamespace(version="b" * 40, repo_path=tmp_path / name) for name in ("another", "checkout")
    )
    with pytest.raises(AirflowFailException, match="HEAD has moved"):
        authorize(digest, decision(digest), built=built, bundle=elsewhere)
    authorize(digest, decision(digest), built=built, bundle=here)


def test_an_old_plan_is_refused() -> None:
    digest, _ = make_change_set(plan(), plan_max_age=-1)
    with pytest.raises(AirflowFailException, match=r"lets a plan be applied for .* \(plan_max_age\)"):
        authorize(digest, decision(digest))


def test_a_dry_run_stops_before_anything_is_applied() -> None:
    operator = AuthorizeOperator(
        task_id="authorize", cloud="aws", environment="prod", action="destroy", change_sets={}, dry_run="True"
    )
    with pytest.raises(AirflowSkipException):
        operator.execute(context("deploy_aws", "r"))


@pytest.mark.parametrize(
    "edit",
    [{"risk": "none"}, {"action": "none"}, {"lines": ["nothing to see"]}, {"seal": ""}, {"seal": "0" * 64}],
)
def test_a_plan_that_was_talked_down_is_refused(edit: dict[str, Any]) -> None:
    run = context("deploy_aws", "r1.aws.plan")
    sealed = sealing.seal(run, ComponentChange.from_json(plan(Risk.CRITICAL)))
    assert sealing.unseal(run, sealed).risk is Risk.CRITICAL
    with pytest.raises(RefusedError, match="was changed after its task returned it"):
        sealing.unseal(run, sealed | edit)
    with pytest.raises(RefusedError, match="was changed after its task returned it"):
        sealing.unseal(context("deploy_aws", "another.run"), sealed)


def test_others_hear_of_what_was_changed_and_of_who_really_approved_it() -> None:
    digest, _ = make_change_set(plan(), action="rollback")
    forged = {**decision(digest, responder="mallory"), "signature": "0" * 64}
    elsewhere = decision("sha256:" + "4" * 64, responder="carol")
    states = {"network": "deployed", "idle": "unchanged", "late": "held"}
    events: list[tuple[str, Any]] = []
    alias = SimpleNamespace(add=lambda asset, extra: events.append((asset.uri, extra)))
    operator = RecordOperator(
        task_id="record",
        cloud="aws",
        environment="prod",
        change_set=digest,
        tasks={f"aws/stack/{name}": [name] for name in states},
        platform="shop",
        decisions=[decision(digest), forged, elsewhere],
    )
    results = {
        name: {"address": f"aws/stack/{name}", "version": "serial 7", "state": state}
        for name, state in states.items()
    }
    run = context("deploy_aws", "r1.aws.apply")
    run["task_instance"] = SimpleNamespace(xcom_pull=lambda task_ids, key=None: results[task_ids])
    operator.execute({**run, "outlet_events": {operator.outlets[0]: alias}})
    ((uri, extra),) = events
    assert uri == "triplane://shop/prod/aws/stack/network"
    assert [approval["responder"] for approval in extra["approvals"]] == ["bob"]
    assert (extra["intent"], extra["version"], extra["run_id"]) == ("rollback", "serial 7", "r1.aws.apply")
    assert (extra["change_set"], extra["revision"]) == (digest, "abc")
    known = deployed.read(settings.artifact_store(), "prod/aws")
    assert set(known) == {"aws/stack/network", "aws/stack/idle"}
    assert known["aws/stack/network"]["change_set"] == digest


def test_what_was_destroyed_is_no_longer_known_as_deployed() -> None:
    store = settings.artifact_store()

    def rollout(action: str, **states: str) -> set[str]:
        digest, _ = make_change_set(plan(), action=action)
        results = [
            {"address": address, "version": "1", "state": state}
            for address, state in ((f"aws/stack/{name}", state) for name, state in states.items())
        ]
        deployed.record(store, settings.get_change_set(digest), results, "r")
        return {address.rpartition("/")[2] for address in deployed.read(store, "prod/aws")}

    assert rollout("deploy", a="deployed", b="unchanged", c="failed", d="held") == {"a", "b"}
    assert rollout("deploy", a="destroyed") == {"b"}, "it was left over"
    assert rollout("deploy", a="deployed") == {"a", "b"}
    assert rollout("destroy", a="destroyed", b="unchanged") == set(), "nothing was there of b"


def test_the_versions_of_secrets_are_kept_with_what_was_deployed_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def version(stored: Stored) -> str:
        asked.append(stored.name)
        if stored.name == "gone":
            raise InputError("there is no gone")
        return "v7"

    monkeypatch.setattr("triplane.secrets.versions.version", version)
    used = {f"aws/stack/{name}": {"db": "ssm://a@r/shop/db"} for name in ("network", "late")}
    digest, _ = make_change_set(plan(), secrets=used)
    assert asked == ["shop/db"]
    results = [
        {"address": address, "version": "1", "state": "deployed"}
        for address in ("aws/stack/network", "aws/x/y")
    ]
    store = settings.artifact_store()
    deployed.record(store, settings.get_change_set(digest), results, "r")
    known = deployed.read(store, "prod/aws")
    assert [known[result["address"]]["secrets"] for result in results] == [{"db": "v7"}, {}]
    with pytest.raises(AirflowFailException, match="there is no gone"):
        make_change_set(plan(), secrets={"aws/stack/network": {"db": "ssm://a@r/gone"}})
    make_change_set(plan(), secrets={"aws/stack/network": {"db": "ssm://a@r/gone"}}, action="destroy")


@pytest.mark.parametrize("action", ["deploy", "destroy"])
def test_tasks_that_have_nothing_to_do_are_skipped(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a rollout has seen the component, or where it is to be destroyed and is not there."""
    addresses = {f"aws/stack/{name}": risk for name, risk in (("old", 0), ("new", 0), ("changed", 1))}
    plans = [{**plan(Risk(risk)), "address": address} for address, risk in addresses.items()]
    digest, _ = make_change_set(*plans, action=action)
    result = {"address": "aws/stack/old", "version": "serial 3", "state": "deployed"}
    deployed.record(settings.artifact_store(), settings.get_change_set(make_change_set()[0]), [result], "r0")
    skipped: set[str] = set()
    monkeypatch.setattr(
        AuthorizeOperator, "skip", lambda self, ti, tasks: skipped.update(task.task_id for task in tasks)
    )
    with DAG("deploy_aws", schedule=None):
        operator = AuthorizeOperator(
            task_id="authorize",
            cloud="aws",
            environment="prod",
            action="apply",
            change_sets={},
            approved={"change_set": digest, "dag_id": "deploy", "run_id": "r1"},
        )
        operator.branches = {
            branch: {address: f"{branch}.{address.rpartition('/')[2]}" for address in addresses}
            for branch in ("deploy", "destroy")
        }
        for task_id in (task for tasks in operator.branches.values() for task in tasks.values()):
            EmptyOperator(task_id=task_id)
    instance = Instance({("deploy", "r1", "approval", 0): decision(digest)})
    operator.execute(context("deploy_aws", "r1.aws.apply", instance))
    idle = {"deploy": {"old"}, "destroy": {"old", "new"}}[action]
    other = {"deploy": "destroy", "destroy": "deploy"}[action]
    assert skipped == {f"{action}.{name}" for name in idle} | {
        f"{other}.{name}" for name in ("old", "new", "changed")
    }
    unchanged = instance.pushed["unchanged"]
    assert set(unchanged) == {f"aws/stack/{name}" for name in idle}
    assert (unchanged["aws/stack/old"]["state"], unchanged["aws/stack/old"]["version"]) == (
        "unchanged",
        "serial 3",
    )

    record = RecordOperator(
        task_id="record",
        cloud="aws",
        environment="prod",
        change_set=digest,
        tasks={address: [f"{action}.{address.rpartition('/')[2]}"] for address in addresses},
        unchanged=unchanged,
    )
    done = {**result, "address": "aws/stack/changed"}
    run = context("deploy_aws", "r1.aws.apply")
    run["task_instance"] = SimpleNamespace(
        xcom_pull=lambda task_ids, key=None: done if task_ids.endswith("changed") else None
    )
    states = {item["address"].rpartition("/")[2]: item["state"] for item in record.execute(run)}
    assert states == dict.fromkeys(idle, "unchanged") | {"changed": "deployed"}


def test_what_has_left_the_spec_is_shown_as_left_behind() -> None:
    known = {"revision": "c" * 40, "version": "1"}
    gone = ("aws/machines/workers", "aws/function/hook", "aws/schedule/nightly", "aws/pipeline/release")
    entries = dict.fromkeys((*gone, "aws/stack/network"), known)
    settings.artifact_store().put_named("deployments/prod/aws", json.dumps(entries).encode())
    digest, votes = make_change_set(plan(Risk.NONE))
    change_set = settings.get_change_set(digest)
    assert {change.address: change.summary for change in change_set.changes[1:]} == {
        "aws/function/hook": "it has left the spec, and it goes on serving; last deployed at cccccccccccc",
        "aws/machines/workers": "it has left the spec, and what its playbook did stays on the machines; "
        "last deployed at cccccccccccc",
    }
    assert [change.left_behind for change in change_set.changes] == [False, True, True]
    assert (change_set.changed, votes) == ((), [])
