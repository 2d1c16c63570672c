"""Kills Airflow's scheduler, its API server and tasks in the middle of runs of the parent DAG, and counts what became of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.deployment.small import CLOUDS, PREFIX, SmallPlatform
from triplane.core.history import AUTHORIZED, ROLLOUT
from triplane.core.ledger import Ledger
from triplane.sandbox.airflow import AirflowError, LocalAirflow, task_process
from triplane.terraform.attempt import APPLIED, APPLYING

PHASES = ("plan", "approval", "apply")
VICTIMS = ("scheduler", "api-server", "task")
DAG = f"{PREFIX}deploy"
SECONDS = 6.0
LIMIT = 300.0
PATIENT = {"AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10"}
"""What an Airflow needs to notice soon that a scheduler has died."""


@dataclass
class Verdict:
    """What the kills in one run led to. ``bad`` says what must not be."""

    kills: Sequence[tuple[str, str]]
    run_id: str = ""
    seconds: float = 0.0
    bad: list[str] = field(default_factory=list)


class ParentTrials:
    """Runs of a small platform's parent DAG; alice asks for them, and bob approves.

    :param environment: of the small platform; it needs one approval
    """

    def __init__(self, airflow: LocalAirflow, platform: SmallPlatform, environment: str = "small") -> None:
        self.airflow = airflow
        self.platform = platform
        self.environment = environment
        self.alice, self.bob = airflow.api("alice"), airflow.api("bob")
        self.count = 0

    def run(self, *kills: tuple[str, str]) -> Verdict:
        """One change in each cloud; ``kills`` are pairs of a phase and a victim, in the order of the phases."""
        self.count += 1
        for cloud in CLOUDS:
            self.platform.add(cloud, f"thing_{self.environment}_{self.count}", SECONDS)
        self.platform.commit(f"One more thing in each cloud ({self.count})")
        verdict, before, began = Verdict(kills), self._entries(), time.monotonic()
        verdict.run_id = self.alice.trigger(DAG, {"environment": self.environment})
        try:
            for phase in PHASES:
                instance = self._reached(phase, verdict.run_id)
                for _, victim in (kill for kill in kills if kill[0] == phase):
                    self._kill(victim, instance)
                if phase == "approval":
                    self._approve(verdict.run_id)
            state = self.alice.wait(DAG, verdict.run_id, timeout=LIMIT)
            verdict.bad = [*self._wrong_runs(verdict.run_id, state), *self._wrong_entries(before)]
        except AirflowError as error:
            verdict.bad = [f"{error}: {', '.join(self._unfinished(verdict.run_id))}"]
        verdict.seconds = time.monotonic() - began
        return verdict

    def _reached(self, phase: str, run_id: str) -> Mapping[str, Any]:
        """Wait for the phase; the task that is at work in it, or was."""
        if phase == "approval":
            return self._instance(
                DAG, run_id, "change_sets", "approval", states=("running", "awaiting_input")
            )
        dag_id, child = f"{PREFIX}deploy_aws", f"{run_id}.aws.{phase}"
        return self._instance(dag_id, child, f"infrastructure.main.{phase}", states=("running",))

    def _instance(self, dag_id: str, run_id: str, *task_ids: str, states: Sequence[str]) -> Mapping[str, Any]:
        def look() -> Mapping[str, Any] | None:
            answer = self.alice.request(
                "GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 200}
            )
            tasks = answer.json().get("task_instances", []) if answer.is_success else []
            return next(
                (task for task in tasks if task["task_id"] in task_ids and task["state"] in states), None
            )

        return _until(look, f"{dag_id} {run_id}: {' or '.join(task_ids)} at work", every=0.1)

    def _kill(self, victim: str, instance: Mapping[str, Any]) -> None:
        if victim != "task":
            self.airflow.kill(victim)
        elif pid := task_process(instance["id"]):
            os.kill(pid, signal.SIGKILL)

    def _approve(self, run_id: str) -> None:
        for question in self.alice.wait_for_question(DAG, run_id, timeout=LIMIT):
            answer = self.bob.answer(question, "Approve")
            assert answer.status_code == 200, answer.text

    def _unfinished(self, run_id: str) -> Iterator[str]:
        """The tasks of the run and its children that did not succeed."""
        runs = [(DAG, run_id)]
        runs += [
            (f"{PREFIX}deploy_{cloud}", f"{run_id}.{cloud}.{phase}") for cloud in CLOUDS for phase in PHASES
        ]
        for dag_id, run in runs:
            answer = self.alice.request(
                "GET", f"/dags/{dag_id}/dagRuns/{run}/taskInstances", params={"limit": 200}
            )
            for task in answer.json().get("task_instances", []) if answer.is_success else []:
                if task["state"] not in ("success", "skipped", None):
                    yield f"{dag_id} {task['task_id']} {task['state']} (try {task['try_number']})"

    def _wrong_runs(self, run_id: str, state: str) -> Iterator[str]:
        if state != "success":
            yield f"the run ended {state}"
        rows = self.alice.xcom(DAG, run_id, "report", "rows") or []
        yield from (f"{row['cloud']} is {row['state']}" for row in rows if row["state"] != "deployed")
        if len(rows) != len(CLOUDS):
            yield f"the report has {len(rows)} rows"
        for cloud in CLOUDS:
            found = self.alice.get(f"/dags/{PREFIX}deploy_{cloud}/dagRuns", limit=100, order_by="-run_after")
            own = sorted(
                run["dag_run_id"] for run in found["dag_runs"] if run["dag_run_id"].startswith(run_id)
            )
            if own != [f"{run_id}.{cloud}.apply", f"{run_id}.{cloud}.plan"]:
                yield f"{cloud} had the runs {own}"

    def _entries(self) -> dict[str, int]:
        return {cloud: len(self._ledger(cloud).entries()) for cloud in CLOUDS}

    def _wrong_entries(self, before: Mapping[str, int]) -> Iterator[str]:
        for cloud in CLOUDS:
            kinds = [entry.kind for entry in self._ledger(cloud).entries()[before[cloud] :]]
            for kind in (APPLYING, APPLIED, ROLLOUT):
                if kinds.count(kind) != 1:
                    yield f"{cloud}: the ledger has {kinds.count(kind)} entries {kind}"
            if AUTHORIZED not in kinds:
                yield f"{cloud}: nothing was authorized"

    def _ledger(self, cloud: str) -> Ledger:
        keys = self.airflow.environ["AIRFLOW__TRIPLANE__SIGNING_KEY"]
        return Ledger(self.airflow.home / "triplane", f"{self.environment}/{cloud}", keys.split(","))


def campaign(trials: ParentTrials, kills: int) -> Iterator[Verdict]:
    """``kills`` runs with one kill each: every victim in every phase in turn."""
    moments = [(phase, victim) for phase in PHASES for victim in VICTIMS]
    for number in range(kills):
        yield trials.run(moments[number % len(moments)])


def _until(look: Callable[[], Any], what: str, every: float = 0.5) -> Any:
    end = time.monotonic() + LIMIT
    while not (found := look()):
        if time.monotonic() > end:
            raise AirflowError(f"not seen within {LIMIT:g} s: {what}")
        time.sleep(every)
    return found
