"""Releases over three clouds: one is down, a run is cancelled, two runs want the same environment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.e2e.deployment.conftest import Installation
from tests.e2e.deployment.small import CLOUDS, PREFIX
from triplane.core.ledger import Entry, Ledger
from triplane.terraform.attempt import APPLYING

DAG = f"{PREFIX}deploy"
LIMIT = 240.0


class Down(NamedTuple):
    """Runs of the same change while Azure was down, and the commit before it."""

    lenient: str
    strict: str
    before: str


@pytest.fixture(scope="module")
def down(installation: Installation) -> Down:
    """In two environments: one that keeps what it can, and one in which all clouds go together."""
    small = installation.small
    for cloud in CLOUDS:
        small.set(cloud, "before")
    before = small.commit("What is good")
    for state in _approved(installation, "lenient", "strict").values():
        assert state == "success"
    for cloud in ("aws", "gcp"):
        small.set(cloud, "after")
    small.add("azure", "late")
    small.commit("What azure cannot take now")
    small.take_down("azure")
    runs = _approved(installation, "lenient", "strict")
    small.bring_up("azure")
    assert set(runs.values()) == {"failed"}
    lenient, strict = runs
    return Down(lenient, strict, before)


@pytest.mark.campaign
def test_what_can_be_deployed_is_and_the_rest_is_retried_alone(
    installation: Installation, down: Down
) -> None:
    assert _states(installation, down.lenient) == {"aws": "deployed", "gcp": "deployed", "azure": "failed"}
    asked = installation.alice.xcom(DAG, down.lenient, "decision")
    aws = installation.task(DAG, down.lenient, "apply.aws")
    installation.clear(DAG, down.lenient, "apply.azure")
    assert installation.alice.wait(DAG, down.lenient, timeout=LIMIT) == "success"
    assert set(_states(installation, down.lenient).values()) == {"deployed"}
    assert installation.alice.xcom(DAG, down.lenient, "decision") == asked
    assert installation.task(DAG, down.lenient, "apply.aws") == aws, "the others are left alone"
    assert not installation.alice.questions(DAG, down.lenient)


@pytest.mark.campaign
def test_all_clouds_go_back_together_and_nobody_is_asked_again(
    installation: Installation, down: Down
) -> None:
    assert set(_states(installation, down.strict).values()) == {"rolled_back"}
    outcome = installation.alice.xcom(DAG, down.strict, "settle", "outcome")
    assert outcome["clouds"] == {cloud: {"state": "rolled_back", "revision": down.before} for cloud in CLOUDS}
    for cloud in CLOUDS:
        child = f"{down.strict}.{cloud}.settle"
        assert installation.alice.run_state(f"{PREFIX}deploy_{cloud}", child) == "success"
        assert not installation.alice.questions(f"{PREFIX}deploy_{cloud}", child)
        last = _ledger(installation, f"strict/{cloud}")[-1]
        assert (last.kind, last.body["intent"], last.body["revision"]) == ("rollout", "rollback", down.before)
    log = installation.log(DAG, down.strict, "report")
    assert f"aws is back at {down.before}, verified" in log


@pytest.mark.campaign
def test_what_was_rolled_back_is_not_applied_any_more(installation: Installation, down: Down) -> None:
    installation.clear(DAG, down.strict, "apply.azure")
    assert installation.alice.wait(DAG, down.strict, timeout=LIMIT) == "failed"
    log = installation.log(f"{PREFIX}deploy_azure", f"{down.strict}.azure.apply", "authorize")
    assert "was rolled back because another cloud failed" in log


@pytest.mark.campaign
def test_a_cancelled_parent_lets_its_children_end(installation: Installation, down: Down) -> None:
    installation.small.add("aws", "slow", seconds=8)
    installation.small.commit("What takes a while")
    run_id = installation.start_small("lenient")
    _approve(installation, run_id)
    child, apply = (f"{PREFIX}deploy_aws", f"{run_id}.aws.apply"), "infrastructure.main.apply"
    _until_it_applies(installation, "lenient/aws", run_id)
    answer = installation.olga.request("PATCH", f"/dags/{DAG}/dagRuns/{run_id}", json={"state": "failed"})
    assert answer.status_code == 200, answer.text
    installation.alice.wait(*child, timeout=LIMIT)
    assert _task_state(installation, *child, apply) == "success", "what was running has ended by itself"
    installation.clear(*child, "authorize")
    assert installation.alice.wait(*child, timeout=LIMIT) == "failed"
    assert "does not wait for this any more" in installation.log(*child, "authorize")
    assert _task_state(installation, *child, apply) == "upstream_failed"


@pytest.mark.campaign
def test_two_runs_of_an_environment_go_one_after_the_other(installation: Installation, down: Down) -> None:
    """The older one waits for people; the newer one takes its place and, once it applies, is itself waited for."""
    installation.small.add("aws", "unhurried", seconds=30)
    installation.small.commit("What takes longer")
    old = installation.start_small("newest")
    (question,) = installation.alice.wait_for_question(DAG, old, timeout=LIMIT)
    new = installation.start_small("newest")
    _approve(installation, new)
    _until_it_applies(installation, "newest/aws", new)
    last = installation.start_small("newest")
    _until(lambda: _task_state(installation, DAG, last, "queue") == "deferred", "the third run waits")
    assert installation.bob.answer(question, "Approve").status_code == 200
    assert installation.alice.wait(DAG, old, timeout=LIMIT) == "failed"
    log = installation.log(f"{PREFIX}deploy_aws", f"{old}.aws.apply", "authorize")
    assert f"{DAG} {new} has taken the place of this run" in log
    assert installation.alice.wait(DAG, new, timeout=LIMIT) == "success"
    assert installation.alice.wait(DAG, last, timeout=LIMIT) == "success", "nothing is left to do for it"
    began = installation.task(DAG, last, "freeze")["start_date"]
    assert began >= installation.task(DAG, new, "report")["end_date"]


def _approved(installation: Installation, *environments: str) -> dict[str, str]:
    """A run in each environment at the same time, approved by bob: run id -> how it ended."""
    runs = [installation.start_small(environment) for environment in environments]
    for run_id in runs:
        _approve(installation, run_id)
    return {run_id: installation.alice.wait(DAG, run_id, timeout=LIMIT) for run_id in runs}


def _approve(installation: Installation, run_id: str) -> None:
    for question in installation.alice.wait_for_question(DAG, run_id, timeout=LIMIT):
        answer = installation.bob.answer(question, "Approve")
        assert answer.status_code == 200, answer.text


def _states(installation: Installation, run_id: str) -> dict[str, str]:
    rows = installation.alice.xcom(DAG, run_id, "report", "rows")
    return {row["cloud"]: row["state"] for row in rows}


def _task_state(installation: Installation, dag_id: str, run_id: str, task_id: str) -> str | None:
    if installation.alice.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}").status_code != 200:
        return None
    state: str | None = installation.task(dag_id, run_id, task_id)["state"]
    return state


def _ledger(installation: Installation, scope: str) -> Any:
    keys = installation.airflow.environ["AIRFLOW__TRIPLANE__SIGNING_KEY"].split(",")
    return Ledger(installation.airflow.home / "triplane", scope, keys).entries()


def _until_it_applies(installation: Installation, scope: str, run_id: str) -> None:
    def applies(entry: Entry) -> bool:
        return entry.kind == APPLYING and run_id in str(entry.body["run"])

    _until(lambda: any(map(applies, _ledger(installation, scope))), f"{run_id} applies")


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"not seen: {what}"
        time.sleep(0.3)
