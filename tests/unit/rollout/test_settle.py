"""What a release comes to when a cloud fails: kept, rolled back in reverse, or loudly left."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DagRunState
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core.change import ChangeSet
from triplane.core.history import AUTHORIZED, ROLLOUT, body
from triplane.core.undo import SETTLED
from triplane.rollout.settle import SettleOperator

CLOUDS = ("aws", "gcp", "azure")
STAGES = (("aws",), ("gcp", "azure"))


class World:
    """A parent run ``r1`` of B after A. ``states`` are those of the runs of clouds, ``tasks`` of its own tasks."""

    def __init__(self) -> None:
        self.states = {f"r1.{cloud}.apply": "success" for cloud in CLOUDS}
        self.tasks = {f"apply.{cloud}": "success" for cloud in CLOUDS}
        self.pushed: dict[str, Any] = {}
        self.started: list[tuple[str, bool]] = []
        self.confs: dict[str, Any] = {}
        self.digests: dict[str, str] = {}

    def get_dr_count(self, dag_id: str, run_ids: list[str]) -> int:
        return sum(run_id in self.states for run_id in run_ids)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> DagRunState:
        return DagRunState(self.states[run_id])

    def get_task_states(self, dag_id: str, run_ids: list[str], task_ids: list[str]) -> Any:
        return {"r1": {task: self.tasks[task] for task in task_ids if task in self.tasks}}

    def get_dag(self, dag_id: str) -> Any:
        return SimpleNamespace(is_paused=False)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def send(self, message: Any) -> Any:
        self.started.append((message.run_id, message.reset_dag_run))
        self.confs[message.run_id] = message.conf
        self.states[message.run_id] = "running"
        return SimpleNamespace(ok=True)

    def deployed(self, cloud: str, revision: str, run_id: str, *, ended: bool = True) -> None:
        """What the ledger says of a deployment."""
        change_set = ChangeSet(
            platform="shop",
            environment="prod",
            cloud=cloud,
            asked=revision,
            revision=revision,
            source=f"source-{revision}",
            spec="s",
            policy={},
            planned_at=datetime.now(UTC).isoformat(),
            changes=(),
        )
        self.digests[cloud] = settings.put_change_set(change_set)
        ledger = settings.ledger(f"prod/{cloud}")
        for kind in (AUTHORIZED, ROLLOUT) if ended else (AUTHORIZED,):
            ledger.append(kind, {**body(change_set), "run_id": run_id})

    def fail(self, cloud: str) -> None:
        self.states[f"r1.{cloud}.apply"] = self.tasks[f"apply.{cloud}"] = "failed"

    def settled(self) -> set[str]:
        return {c for c in CLOUDS if settings.ledger(f"prod/{c}").entries(SETTLED)}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    from airflow.sdk.execution_time import task_runner

    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 40)
    made = World()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", made, raising=False)
    return made


@pytest.fixture
def twice(world: World) -> World:
    """B after A in all clouds; tests say what of B failed."""
    for cloud in CLOUDS:
        world.deployed(cloud, "A", f"r0.{cloud}.apply")
        world.deployed(cloud, "B", f"r1.{cloud}.apply")
    return world


def settle(world: World, policy: str = "all_or_nothing", *, event: Any = None, **options: Any) -> Any:
    operator = SettleOperator(
        task_id="settle",
        clouds={
            cloud: {
                "dag_id": f"deploy_{cloud}",
                "run_id": f"r1.{cloud}.apply",
                "settle_run_id": f"r1.{cloud}.settle",
            }
            for cloud in CLOUDS
        },
        stages=STAGES,
        gates=["gate.aws"],
        environment="prod",
        release={"policy": policy, **options.pop("release", {})},
        change_sets=world.digests,
        **options,
    )
    run = SimpleNamespace(dag_id="deploy", run_id="r1")
    context: Any = {"dag_run": run, "task_instance": world}
    return operator.execute(context) if event is None else operator.execute_complete(context, event)


def waits(world: World, **options: Any) -> list[str]:
    with pytest.raises(TaskDeferred) as parked:
        settle(world, **options)
    return [run for _, run in parked.value.trigger.runs]  # type: ignore[attr-defined]


ENDED = {"state": "ended", "until": 9e9}


@pytest.mark.parametrize("policy", ["best_effort", "all_or_nothing"])
def test_a_release_that_ended_well_is_kept(twice: World, policy: str) -> None:
    assert settle(twice, policy)["outcome"] == "kept"
    assert (twice.started, twice.settled()) == ([], set())


def test_best_effort_keeps_what_it_can(twice: World) -> None:
    twice.fail("azure")
    assert settle(twice, "best_effort")["outcome"] == "kept"
    assert twice.started == []


def test_all_go_back_in_the_reverse_of_their_order(twice: World) -> None:
    twice.fail("azure")
    assert waits(twice) == ["r1.gcp.settle", "r1.azure.settle"]
    assert twice.settled() == set(CLOUDS), "nothing is applied any more from here on"
    assert waits(twice, event=ENDED) == ["r1.gcp.settle", "r1.azure.settle"], "they run still"
    twice.states |= {"r1.gcp.settle": "success", "r1.azure.settle": "success"}
    assert waits(twice, event=ENDED) == ["r1.aws.settle"]
    twice.states["r1.aws.settle"] = "success"
    result = settle(twice, event=ENDED)
    assert result["outcome"] == "rolled_back"
    assert result["clouds"] == {c: {"state": "rolled_back", "revision": "A"} for c in CLOUDS}
    assert [run for run, _ in twice.started] == ["r1.gcp.settle", "r1.azure.settle", "r1.aws.settle"]
    conf = twice.confs["r1.aws.settle"]
    assert (conf["action"], conf["frozen"]["source"]) == ("rollback", "source-A")
    assert conf["undo"] == {"change_set": twice.digests["aws"], "dag_id": "deploy", "run_id": "r1"}
    assert all(len(settings.ledger(f"prod/{cloud}").entries(SETTLED)) == 1 for cloud in CLOUDS)


def test_a_task_that_died_finds_the_ways_back_that_it_began(twice: World) -> None:
    twice.fail("azure")
    waits(twice)
    begun = list(twice.started)
    assert waits(twice) == ["r1.gcp.settle", "r1.azure.settle"]
    assert twice.started == begun


def test_what_was_once_decided_stays_so(twice: World) -> None:
    """Azure is cleared and ends well after the others began to go back."""
    twice.fail("azure")
    waits(twice)
    twice.states["r1.azure.apply"] = twice.tasks["apply.azure"] = "success"
    assert waits(twice) == ["r1.gcp.settle", "r1.azure.settle"]


def test_a_way_back_that_fails_is_loud_and_the_others_go_on(twice: World) -> None:
    twice.fail("azure")
    waits(twice)
    twice.states |= {"r1.gcp.settle": "failed", "r1.azure.settle": "success"}
    assert waits(twice, event=ENDED) == ["r1.aws.settle"]
    twice.states["r1.aws.settle"] = "success"
    with pytest.raises(
        AirflowFailException, match=r"NOT EVERYTHING WAS ROLLED BACK.*gcp could NOT be rolled back to A"
    ):
        settle(twice, event=ENDED)
    assert twice.pushed["outcome"]["clouds"]["gcp"]["state"] == "failed"
    assert waits(twice) == ["r1.gcp.settle"], "clearing the task tries again what failed"
    assert twice.started[-1] == ("r1.gcp.settle", True)


def test_a_first_deployment_is_left_and_said_to_be(world: World) -> None:
    for cloud in ("aws", "azure"):
        world.deployed(cloud, "B", f"r1.{cloud}.apply", ended=cloud == "aws")
    world.fail("azure")
    with pytest.raises(
        AirflowFailException,
        match=r"aws has no earlier good version .*deploy_aws r1.aws.apply applied is LEFT",
    ):
        settle(world)
    assert world.settled() == set(), "so it can be retried"


def test_where_nothing_was_begun_there_is_nothing_to_undo(world: World) -> None:
    """The approval was rejected."""
    for cloud in CLOUDS:
        world.deployed(cloud, "A", f"r0.{cloud}.apply")
        world.tasks[f"apply.{cloud}"] = "upstream_failed"
    world.states = {}
    assert settle(world)["outcome"] == "nothing_begun"
    assert (world.started, world.settled()) == ([], set())


def test_a_quorum_that_is_met_keeps_the_good_ones(twice: World) -> None:
    twice.fail("azure")
    assert settle(twice, "quorum", release={"quorum": 2})["outcome"] == "kept"
    twice.fail("gcp")
    assert waits(twice, policy="quorum", release={"quorum": 2}) == ["r1.gcp.settle", "r1.azure.settle"]


def test_a_gate_that_failed_takes_everything_back(twice: World) -> None:
    twice.tasks["gate.aws"] = "failed"
    assert waits(twice) == ["r1.gcp.settle", "r1.azure.settle"]


def test_a_cloud_that_was_held_has_no_part_in_it(twice: World) -> None:
    del twice.states["r1.azure.apply"]
    twice.tasks["apply.azure"] = "skipped"
    assert settle(twice)["outcome"] == "kept"


def test_a_cloud_that_still_runs_is_waited_for_first(twice: World) -> None:
    twice.tasks["apply.azure"] = "failed"
    twice.states["r1.azure.apply"] = "running"
    assert waits(twice) == ["r1.azure.apply"]
    assert twice.settled() == set()
    with pytest.raises(AirflowFailException, match="a cloud still runs after"):
        settle(twice, event={"state": "limit", "until": 0.0})


def test_what_is_no_deployment_is_not_settled(twice: World) -> None:
    twice.fail("azure")
    with pytest.raises(AirflowSkipException):
        settle(twice, skip="True")
    assert twice.started == []
