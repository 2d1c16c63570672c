"""Runs of one environment go one after the other, whoever dies meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from cryptography.fernet import Fernet

from triplane import settings, standing
from triplane.core.change import ChangeSet
from triplane.core.errors import RefusedError
from triplane.core.undo import SETTLED
from triplane.rollout.queue import QueueOperator


class Airflow:
    """Runs and their states, as tasks may ask for them."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.paused: set[str] = set()
        self.tasks: dict[str, dict[str, str]] = {}

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        assert states == ["running"]
        return sum(run_id in self.running for run_id in run_ids)

    def get_dag(self, dag_id: str) -> Any:
        return SimpleNamespace(is_paused=dag_id in self.paused)

    def get_task_states(self, dag_id: str, run_ids: list[str], task_ids: list[str]) -> Any:
        known = {run: self.tasks[run] for run in run_ids if run in self.tasks}
        return {run: {task: states.get(task) for task in task_ids} for run, states in known.items()}


@pytest.fixture
def airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Airflow:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 40)
    return Airflow()


def context(airflow: Airflow, run_id: str, dag_id: str = "deploy", **conf: Any) -> Any:
    run = SimpleNamespace(dag_id=dag_id, run_id=run_id, conf=conf)
    return {"dag_run": run, "task_instance": airflow}


def queue(airflow: Airflow, run_id: str, **options: Any) -> list[str]:
    """The runs that it waits for; empty if it has its turn."""
    airflow.running.add(run_id)
    operator = QueueOperator(task_id="queue", **{"environment": "prod", **options})
    try:
        operator.execute(context(airflow, run_id))
    except TaskDeferred as parked:
        return [run for _, run in parked.trigger.runs]  # type: ignore[attr-defined]
    return []


def change_set(cloud: str = "aws", **more: Any) -> ChangeSet:
    return ChangeSet(
        **{
            "platform": "shop",
            "environment": "prod",
            "cloud": cloud,
            "asked": "main",
            "revision": "r",
            "source": "s",
            "spec": "t",
            "policy": {},
            "planned_at": "",
            "changes": (),
            **more,
        }
    )


def begin(airflow: Airflow, run_id: str, cloud: str = "aws") -> None:
    """As the child that applies for parent run ``run_id``."""
    conf = {"approved": {"dag_id": "deploy", "run_id": run_id}}
    standing.begin(context(airflow, f"{run_id}.{cloud}.apply", f"deploy_{cloud}", **conf), change_set(cloud))


def test_the_second_waits_for_the_first(airflow: Airflow) -> None:
    assert queue(airflow, "A") == []
    assert queue(airflow, "B") == ["A"]
    assert queue(airflow, "C") == ["A", "B"]
    airflow.running.remove("A")
    assert queue(airflow, "C") == ["B"]
    assert queue(airflow, "B") == []


def test_environments_do_not_wait_for_each_other(airflow: Airflow) -> None:
    assert queue(airflow, "A") == []
    assert queue(airflow, "B", environment="staging") == []


def test_a_crash_of_the_task_loses_no_place(airflow: Airflow) -> None:
    queue(airflow, "A")
    queue(airflow, "B")
    queue(airflow, "C")
    assert queue(airflow, "B") == ["A"], "its first place counts"
    airflow.running.remove("A")
    assert queue(airflow, "C") == ["B"]


def test_what_deploys_nothing_waits_for_nobody(airflow: Airflow) -> None:
    queue(airflow, "A")
    assert queue(airflow, "B", deploys="False") == []
    assert queue(airflow, "C") == ["A"]


def test_a_paused_child_is_reported_before_anything_begins(airflow: Airflow) -> None:
    airflow.paused.add("deploy_gcp")
    with pytest.raises(AirflowFailException, match="deploy_gcp is paused"):
        queue(airflow, "A", children=["deploy_aws", "deploy_gcp"], deploys="False")


def test_a_newer_run_takes_the_place_of_those_that_wait(airflow: Airflow) -> None:
    queue(airflow, "A")
    begin(airflow, "A")
    queue(airflow, "B")
    assert queue(airflow, "C", supersede=True) == ["A"], "never of one that applies"
    with pytest.raises(AirflowFailException, match="deploy C has taken the place of this run"):
        queue(airflow, "B")
    airflow.running.remove("A")
    assert queue(airflow, "C") == []


def test_what_was_superseded_while_it_waited_for_its_approval_cannot_apply(airflow: Airflow) -> None:
    queue(airflow, "A")
    assert queue(airflow, "B", supersede=True) == []
    with pytest.raises(RefusedError, match="deploy B has taken the place of this run"):
        begin(airflow, "A")
    begin(airflow, "B")


def test_clouds_of_one_run_begin_in_its_turn(airflow: Airflow) -> None:
    queue(airflow, "A")
    begin(airflow, "A", "aws")
    begin(airflow, "A", "gcp")
    kinds = [entry.kind for entry in settings.ledger("prod/turns").entries()]
    assert kinds == ["asked", "taken", "applying"]


def test_a_run_that_is_retried_later_is_refused_while_another_has_its_turn(airflow: Airflow) -> None:
    queue(airflow, "A")
    begin(airflow, "A")
    airflow.running.remove("A")
    queue(airflow, "B")
    airflow.running.add("A")
    with pytest.raises(RefusedError, match="deploy B has taken its turn in prod since"):
        begin(airflow, "A", "gcp")
    airflow.running.remove("B")
    begin(airflow, "A", "gcp")


def test_a_run_that_never_asked_is_refused_while_another_has_its_turn(airflow: Airflow) -> None:
    queue(airflow, "A")
    with pytest.raises(RefusedError, match="deploy A has taken its turn"):
        standing.begin(context(airflow, "by hand", "deploy_aws"), change_set())
    airflow.running.remove("A")
    standing.begin(context(airflow, "by hand", "deploy_aws"), change_set())


def test_two_that_decide_at_the_same_time_do_not_both_get_the_turn(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B slips in between A's look and A's entry: A looks again."""
    from triplane.core.ledger import Ledger

    genuine, slipped = Ledger.append_after, []

    def late(self: Ledger, known: Any, kind: str, body: Any) -> Any:
        if kind == "taken" and not slipped:
            slipped.append(kind)
            airflow.running.add("B")
            for entry in ("asked", "taken"):
                genuine(self, self.entries(), entry, {"dag_id": "deploy", "run_id": "B"})
        return genuine(self, known, kind, body)

    monkeypatch.setattr(Ledger, "append_after", late)
    assert queue(airflow, "A") == ["B"]


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed"])
def test_nothing_begins_when_the_parent_waits_no_more(airflow: Airflow, state: str) -> None:
    conf = {"approved": {"dag_id": "deploy", "run_id": "A"}}
    child = context(airflow, "A.aws.apply", "deploy_aws", **conf)
    airflow.tasks["A"] = {"apply.aws": state}
    with pytest.raises(RefusedError, match=f"deploy A does not wait .* its task apply.aws is {state}"):
        standing.check_parent(child, "aws")


@pytest.mark.parametrize("state", ["running", "deferred", "queued", "scheduled", "up_for_retry", None])
def test_a_parent_that_waits_or_was_cut_off_is_gone_on_for(airflow: Airflow, state: str) -> None:
    conf = {"approved": {"dag_id": "deploy", "run_id": "A"}}
    airflow.tasks["A"] = {"apply.aws": state}
    standing.check_parent(context(airflow, "A.aws.apply", "deploy_aws", **conf), "aws")


def test_a_parent_that_was_deleted_waits_no_more(airflow: Airflow) -> None:
    conf = {"undo": {"dag_id": "deploy", "run_id": "A"}}
    with pytest.raises(RefusedError, match="deploy A does not wait"):
        standing.check_parent(context(airflow, "A.aws.settle", "deploy_aws", **conf), "aws")


def test_a_run_of_its_own_has_no_parent(airflow: Airflow) -> None:
    conf = {"approved": {"dag_id": "deploy", "run_id": "A"}}
    standing.check_parent(context(airflow, "by hand", "deploy_aws", **conf), "aws")
    standing.check_parent(context(airflow, "A.aws.apply", "deploy_aws"), "aws")


def test_what_was_rolled_back_is_not_applied_any_more(airflow: Airflow) -> None:
    queue(airflow, "A")
    settings.ledger("prod/gcp").append(SETTLED, {"parent": "A", "run_id": "A.gcp.settle"})
    begin(airflow, "A", "aws")
    with pytest.raises(RefusedError, match="deploy A was rolled back because another cloud failed"):
        begin(airflow, "A", "gcp")
