"""The run that takes a cloud back: who is asked, and what its tasks let through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from triplane import authorized, sealing, settings
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.errors import RefusedError
from triplane.core.history import AUTHORIZED, ROLLOUT, body
from triplane.core.undo import SETTLED
from triplane.rollout.authorize import AuthorizeOperator
from triplane.rollout.operators import ChangeSetOperator

KEY = "k" * 40
RUN = "r1.aws.settle"


class Instance:
    """A task of the run, and what Airflow knows of the parent."""

    def __init__(self, xcoms: Mapping[tuple[str, str, int], Any]) -> None:
        self.xcoms = xcoms
        self.pushed: dict[str, Any] = {}
        self.settle = "deferred"

    def xcom_pull(self, task_ids: str, dag_id: str, run_id: str, map_indexes: int) -> Any:
        assert task_ids == "approval"
        return self.xcoms.get((dag_id, run_id, map_indexes))

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def get_task_states(self, dag_id: str, run_ids: list[str], task_ids: list[str]) -> Any:
        assert (dag_id, run_ids, task_ids) == ("deploy", ["r1"], ["settle"])
        return {"r1": {"settle": self.settle}}

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        return 0


class Undo:
    """Release r1 of B, that bob approved, failed elsewhere; A was good before."""

    def __init__(self) -> None:
        self.original = self._change_set("B", release={"policy": "all_or_nothing"})
        ledger = settings.ledger("prod/aws")
        for revision, run_id in (("A", "r0.aws.apply"), ("B", "r1.aws.apply")):
            item = self.original if revision == "B" else self._change_set("A")
            for kind in (AUTHORIZED, ROLLOUT):
                ledger.append(kind, {**body(item), "run_id": run_id})
        settings.put_change_set(self.original)
        settled = {"parent": "r1", "run_id": RUN, "digest": self.original.digest, "source": "source-A"}
        ledger.append(SETTLED, settled)
        now = datetime.now(UTC)
        decision = Decision(
            dag_id="deploy",
            run_id="r1",
            vote=0,
            requester="alice",
            responder="bob",
            approved=True,
            change_sets={"aws": self.original.digest},
            decided_at=now.isoformat(),
            expires_at=(now + timedelta(hours=1)).isoformat(),
        )
        self.instance = Instance({("deploy", "r1", 0): decision.sign([KEY]).to_json()})
        conf = {"undo": {"change_set": self.original.digest, "dag_id": "deploy", "run_id": "r1"}}
        run = SimpleNamespace(dag_id="deploy_aws", run_id=RUN, run_after=now, conf=conf)
        self.context: Any = {"dag_run": run, "task_instance": self.instance}
        self.undo = conf["undo"]

    def plan(self, *lines: str) -> list[dict[str, Any]]:
        """What people are asked: nothing where the release covers it."""
        operator = ChangeSetOperator(
            task_id="change_set",
            platform="shop",
            cloud="aws",
            environment="prod",
            frozen={"source": "source-A", "spec": "s", "revision": "A", "asked": "A"},
            plans=[sealing.seal(self.context, self._change(*lines))],
            policies={"prod": Policy().to_json()},
            action="rollback",
            undo=self.undo,
        )
        return operator.execute(self.context)

    def authorize(self) -> dict[str, Any]:
        operator = AuthorizeOperator(
            task_id="authorize",
            cloud="aws",
            environment="prod",
            action="rollback",
            change_sets=self.instance.pushed["change_sets"],
        )
        operator.execute(self.context)
        return self.instance.pushed

    def apply(self, granted: Mapping[str, Any]) -> ComponentChange:
        """What a task that applies may do."""
        authorization = {"decisions": granted["decisions"]}
        return authorized.authorized_change(
            self.context, "aws/stack/main", granted["change_set"], authorization
        )

    def _change(self, *lines: str) -> ComponentChange:
        return ComponentChange(
            address="aws/stack/main", action="update", risk=Risk.MEDIUM, summary="", lines=lines
        )

    def _change_set(self, revision: str, **more: Any) -> ChangeSet:
        return ChangeSet(
            platform="shop",
            environment="prod",
            cloud="aws",
            asked="main",
            revision=revision,
            source=f"source-{revision}",
            spec="s",
            policy=Policy().to_json(),
            planned_at=datetime.now(UTC).isoformat(),
            changes=(self._change("+ aws_vpc.new"),),
            **more,
        )


@pytest.fixture
def undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Undo:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)
    return Undo()


def test_what_the_release_covers_is_applied_without_asking(undo: Undo) -> None:
    assert undo.plan("- aws_vpc.new") == []
    granted = undo.authorize()
    assert [value["responder"] for value in granted["decisions"]] == ["bob"]
    assert undo.apply(granted).lines == ("- aws_vpc.new",)


def test_what_it_does_not_cover_is_asked_about_and_refused_until_then(undo: Undo) -> None:
    (question,) = undo.plan("- aws_vpc.old")
    assert question["change_sets"] == undo.instance.pushed["change_sets"]
    with pytest.raises(AirflowFailException, match="not for sha256:"):
        undo.authorize()


def test_each_applying_task_looks_again(undo: Undo) -> None:
    """Another run has been applied in between."""
    undo.plan("- aws_vpc.new")
    granted = undo.authorize()
    other = {**body(undo.original), "run_id": "r2.aws.apply"}
    settings.ledger("prod/aws").append(AUTHORIZED, other)
    with pytest.raises(RefusedError, match="the approval does not hold"):
        undo.apply(granted)


def test_another_run_cannot_use_it(undo: Undo) -> None:
    undo.plan("- aws_vpc.new")
    granted = undo.authorize()
    undo.context["dag_run"].run_id = "by hand"
    with pytest.raises(RefusedError, match="the approval does not hold"):
        undo.apply(granted)


def test_a_way_back_that_was_cancelled_begins_nothing(undo: Undo) -> None:
    undo.plan("- aws_vpc.new")
    undo.instance.settle = "failed"
    with pytest.raises(
        AirflowFailException, match="deploy r1 does not wait for this any more: its task settle is"
    ):
        undo.authorize()
