"""A platform deployed by Celery workers that share nothing but the artifact store, with DAGs and spec from git."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.deployment.small import CLOUDS, SmallPlatform
from triplane.core.history import ROLLOUT
from triplane.core.ledger import Entry, Ledger
from triplane.sandbox.airflow import AirflowApi, task_process
from triplane.sandbox.distributed import DistributedAirflow
from triplane.sandbox.runtime import Sandbox
from triplane.terraform.attempt import APPLIED, APPLYING, FAILED

ENVIRONMENT = "spread"
APPLY = "infrastructure.main.apply"
LIMIT = 420.0
DAG = '''"""Airflow DAG `{name}`, from the platform's own repository."""

from triplane.factories.{module} import {factory}

dag = {factory}({argument})
'''
DAGS = {
    "deploy": DAG.format(name="deploy", module="parent", factory="parent_dag", argument=""),
    **{
        f"deploy_{cloud}": DAG.format(
            name=f"deploy_{cloud}", module="cloud", factory="cloud_dag", argument=f'"{cloud}"'
        )
        for cloud in CLOUDS
    },
}

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1500)]


class Distributed:
    """The Airflow, the platform's repository, and two people."""

    def __init__(self, airflow: DistributedAirflow, platform: SmallPlatform) -> None:
        self.airflow = airflow
        self.platform = platform
        self.alice: AirflowApi = airflow.api("alice")
        self.bob: AirflowApi = airflow.api("bob")

    def start(self) -> str:
        """A run of the parent, once Airflow knows the newest commit."""
        commit = self.platform.commit("What is deployed")
        self.until(
            lambda: self.alice.get("/dags/deploy")["bundle_version"] == commit, "the newest commit parsed"
        )
        return self.alice.trigger("deploy", {"environment": ENVIRONMENT})

    def approve(self, dag_id: str, run_id: str) -> None:
        """Bob approves."""
        for question in self.alice.wait_for_question(dag_id, run_id, timeout=LIMIT):
            answer = self.bob.answer(question, "Approve")
            assert answer.status_code == 200, answer.text

    def running(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """A task instance while it runs, else nothing."""
        answer = self.alice.request(
            "GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 200}
        )
        tasks = answer.json().get("task_instances", []) if answer.is_success else []
        return next((task for task in tasks if task["task_id"] == task_id and task["state"] == "running"), {})

    def workers(self, run_id: str, task_id: str = "", attempt: int | None = None) -> set[str]:
        """Who ran tasks of a run and of its children."""
        found = set()
        for worker, path in self.airflow.task_logs():
            parts = dict(part.partition("=")[::2] for part in path.parts if "=" in part)
            wanted = parts["run_id"].startswith(run_id) and task_id in ("", parts["task_id"])
            if wanted and attempt in (None, int(parts["attempt"].removesuffix(".log"))):
                found.add(worker)
        return found

    def ledger(self, cloud: str) -> list[Entry]:
        """The record of a cloud, in the artifact store."""
        from airflow.sdk import ObjectStoragePath

        with environment(self.airflow.environ):
            root = ObjectStoragePath(self.airflow.environ["AIRFLOW__TRIPLANE__ARTIFACT_STORE"])
            keys = self.airflow.environ["AIRFLOW__TRIPLANE__SIGNING_KEY"].split(",")
            return Ledger(root, f"{ENVIRONMENT}/{cloud}", keys).entries()

    def rows(self, run_id: str) -> dict[str, str]:
        """How each cloud ended, by the report."""
        rows = self.alice.xcom("deploy", run_id, "report", "rows") or []
        return {row["cloud"]: row["state"] for row in rows}

    @staticmethod
    def until(look: Any, what: str) -> Any:
        """Wait until something is seen, and return it."""
        end = time.monotonic() + LIMIT
        while not (found := look()):
            assert time.monotonic() < end, f"not seen within {LIMIT:g} s: {what}"
            time.sleep(0.3)
        return found


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def distributed(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributed]:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    home, bucket = tmp_path_factory.mktemp("distributed"), f"artifacts-{uuid.uuid4().hex[:8]}"
    with environment(sandbox.environ()):
        S3Hook("aws_default").create_bucket(bucket, region_name="eu-west-1")
    platform = SmallPlatform(home / "repository" / "platform", {ENVIRONMENT: {}})
    (platform.folder / "dags").mkdir()
    for name, text in DAGS.items():
        (platform.folder / "dags" / f"{name}.py").write_text(text)
    platform.commit("The DAGs")
    airflow = DistributedAirflow(
        home / "airflow",
        repository=platform.folder,
        store=f"s3://aws_default@{bucket}/triplane",
        environ={**sandbox.environ(), "AIRFLOW__TRIPLANE__PLATFORM": "../platform.yaml"},
        port=sandbox.port("airflow"),
    )
    try:
        airflow.start()
        airflow.wait_for_dags(*DAGS)
        yield Distributed(airflow, platform)
    finally:
        airflow.stop()


def test_a_run_stays_at_its_commit_while_the_branch_moves_on(distributed: Distributed) -> None:
    run_id = distributed.start()
    commit = distributed.platform.commit("Nothing that the run sees")
    asked = distributed.alice.wait_for_question("deploy", run_id, timeout=LIMIT)
    frozen = distributed.alice.xcom("deploy", run_id, "freeze")
    pinned = distributed.alice.get(f"/dags/deploy/dagRuns/{run_id}")["bundle_version"]
    assert frozen["revision"] == pinned != commit
    distributed.until(
        lambda: distributed.alice.get("/dags/deploy_aws")["bundle_version"] == commit,
        "the branch has moved on",
    )
    assert all(distributed.bob.answer(question, "Approve").status_code == 200 for question in asked)

    assert distributed.alice.wait("deploy", run_id, timeout=LIMIT) == "success"
    assert distributed.rows(run_id) == dict.fromkeys(CLOUDS, "deployed")
    for cloud in CLOUDS:
        (rollout,) = [entry for entry in distributed.ledger(cloud) if entry.kind == ROLLOUT]
        assert rollout.body["revision"] == pinned
    assert len(distributed.workers(run_id)) > 1


def test_a_worker_that_is_killed_while_it_applies(distributed: Distributed) -> None:
    distributed.platform.add("aws", "slow", seconds=10)
    run_id = distributed.start()
    child = f"{run_id}.aws.apply"
    distributed.approve("deploy", run_id)
    at_work = distributed.until(lambda: distributed.running("deploy_aws", child, APPLY), f"{APPLY} at work")
    process = distributed.until(lambda: task_process(at_work["id"]), "its process")
    distributed.until(lambda: distributed.ledger("aws")[-1].kind == APPLYING, "the apply on record")

    victim = distributed.airflow.worker_of(process)
    distributed.airflow.kill_worker(victim)

    # Another worker finds that it was cut off somewhere else, plans what is left, and asks.
    distributed.approve("deploy_aws", child)
    assert distributed.alice.wait("deploy", run_id, timeout=LIMIT) == "success"
    assert distributed.rows(run_id)["aws"] == "deployed"
    assert victim in distributed.workers(child, APPLY, attempt=1)
    assert victim not in distributed.workers(child, APPLY, attempt=2)
    kinds = [entry.kind for entry in distributed.ledger("aws") if run_id in json.dumps(dict(entry.body))]
    assert [kinds.count(kind) for kind in (APPLYING, FAILED, APPLIED, ROLLOUT)] == [2, 1, 1, 1]
