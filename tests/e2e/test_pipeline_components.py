"""The example's native pipelines as components: planned, approved, run, left alone, looked after, forgotten."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.triggers.base import TriggerEvent
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core import deployed
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange
from triplane.factories.cloud import cloud_dag
from triplane.factories.drift import drift_dag
from triplane.pipelines.component_operators import (
    PipelineComponentOperator,
    PipelineForgetOperator,
    PipelinePlanOperator,
)
from triplane.pipelines.drift_operators import PipelineDriftBatchOperator
from triplane.pipelines.systems import connect

pytestmark = pytest.mark.e2e
EXAMPLE = str(Path(__file__).parents[2] / "examples/streaming-platform/platform.yaml")
CLOUDS = {"aws": "codepipeline", "gcp": "cloud_deploy", "azure": "azure_pipelines"}
PARAMS = {"params": {"environment": "staging"}}
IMAGE = "registry.example.com/streaming-platform/query@sha256:"
SHARED = ("system", "options", "inputs", "at_commit", "revision_input")


class Release:
    """The component ``release`` of one cloud of the example, in staging."""

    def __init__(self, cloud: str) -> None:
        self.cloud = cloud
        self.address = f"{cloud}/pipeline/release"
        self.scope = f"staging/{cloud}"
        dag: Any = cloud_dag(cloud, EXAMPLE)
        self.planned, self.running = (
            dag.get_task("pipelines.release.plan"),
            dag.get_task("pipelines.release.run"),
        )
        self.image = f"{IMAGE}{'1' * 64}"
        self.commit = "a" * 40
        self.runs = 0

    def arguments(self, task: Any, **more: Any) -> dict[str, Any]:
        """What the factory gives a task, as Airflow renders it."""
        shared = {name: task.render_template(getattr(task, name), PARAMS) for name in SHARED}
        return {"task_id": "t", "address": self.address, "scope": self.scope, **shared, **more}

    def context(self) -> Any:
        pushed: dict[str, Any] = {}
        push = lambda key, value: pushed.update({key: value})  # noqa: E731
        instance = SimpleNamespace(max_tries=0, try_number=1, map_index=-1, xcom_push=push, pushed=pushed)
        return {"ti": instance, "dag_run": SimpleNamespace(dag_id="d", run_id=f"r{self.runs}", conf={})}

    def plan(self, **more: Any) -> ComponentChange:
        (name,) = self.planned.images
        given = {
            "images": {name: self.image},
            "commit": self.commit,
            "source": "sha256:s",
            "risk": self.planned.risk,
        }
        operator = PipelinePlanOperator(**self.arguments(self.planned, **{**given, **more}))
        return ComponentChange.from_json(operator.execute(self.context()))

    def approved(self, change: ComponentChange, **more: Any) -> dict[str, Any]:
        """The change as somebody has approved it."""
        self.runs += 1
        now = datetime.now(UTC)
        known = {
            "platform": "streaming-platform",
            "environment": "staging",
            "cloud": self.cloud,
            "asked": "HEAD",
        }
        what = {
            "revision": self.commit,
            "source": "sha256:s",
            "spec": "sha256:p",
            "policy": Policy().to_json(),
        }
        change_set = ChangeSet(
            **{**known, **what, "planned_at": now.isoformat(), "changes": (change,), **more}
        )
        digest = settings.put_change_set(change_set)
        decision = Decision(
            dag_id="d", run_id=f"r{self.runs}", vote=0, requester="ann", responder="bob", approved=True,
            change_sets={self.cloud: digest}, decided_at=now.isoformat(),
            expires_at=(now + timedelta(hours=1)).isoformat(),
        )  # fmt: skip
        signed = decision.sign(settings.signing_keys()).to_json()
        return {"change_set": digest, "authorization": {"decisions": [signed]}}

    def run(self, change: ComponentChange, *, intent: str = "deploy", **more: Any) -> dict[str, Any]:
        """To the end, as the triggerer does it. What is done is recorded."""
        given = self.approved(change, intent=intent)
        settings_of = {"approves": self.running.approves, "timeout": self.running.timeout, "interval": 0.1}
        task = PipelineComponentOperator(**self.arguments(self.running, **settings_of, **given, **more))
        try:
            result = task.execute(self.context())
        except TaskDeferred as waiting:
            fresh = PipelineComponentOperator(**self.arguments(self.running, **settings_of, **given, **more))
            result = fresh.resume(self.context(), _event(waiting.trigger), **(waiting.kwargs or {}))
        change_set = settings.get_change_set(given["change_set"])
        deployed.record(settings.artifact_store(), change_set, [result], "r")
        return result

    def look(self) -> dict[str, Any]:
        """What the drift check says."""
        dag: Any = drift_dag(EXAMPLE)
        (component,) = dag.get_task(f"{self.cloud}.pipelines").components
        shared = {**component, "options": component["options"].resolve(PARAMS), "scope": self.scope}
        task = PipelineDriftBatchOperator(task_id="t", components=[shared])
        (found,) = task.execute({})  # type: ignore[arg-type]
        return found


def _event(trigger: Any) -> dict[str, Any]:
    async def first() -> TriggerEvent:
        return await anext(aiter(trigger.run()))

    return dict(asyncio.run(first()).payload)


@pytest.fixture(params=CLOUDS)
def release(
    request: Any, cloud_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Release:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    for key in ("ARTIFACT_KEY", "SIGNING_KEY"):
        monkeypatch.setenv(f"AIRFLOW__TRIPLANE__{key}", Fernet.generate_key().decode())
    monkeypatch.setattr("triplane.pipelines.cloud_deploy.LOOK_SECONDS", 0.1)
    return Release(request.param)


def test_a_pipeline_goes_through_its_life(release: Release) -> None:
    assert release.running.system == CLOUDS[release.cloud]
    first = release.plan()
    assert (first.action, str(first.risk)) == ("create", "medium")
    assert first.summary.startswith(f"{CLOUDS[release.cloud]} runs ")
    assert "~ input environment: staging" in first.lines
    assert any(release.image in line for line in first.lines)
    assert release.look()["state"] == "pending"

    result = release.run(first)
    assert (result["address"], result["state"]) == (release.address, "deployed")
    assert result["details"]["link"].startswith("https://")
    assert release.plan().action == "none"
    assert release.run(release.plan())["state"] == "unchanged"
    assert release.look()["state"] == "in_sync"

    # Another image is another run; another commit is none, since the pipeline is not told of it.
    release.commit = "b" * 40
    assert release.plan().action == "none"
    release.image = f"{IMAGE}{'2' * 64}"
    second = release.plan()
    assert (second.action, second.binds["commit"]) == ("update", release.commit)
    assert release.run(second)["details"]["run"] != result["details"]["run"]

    # Somebody runs it behind our back.
    where = release.arguments(release.running)["options"]
    _run_by_hand(release.running.system, where)
    found = release.look()
    assert found["state"] in ("in_sync", "unmanaged_change")
    assert found.get("noise") or found["resources"]

    # Destroyed, it is forgotten, and the next deployment runs it.
    gone = release.plan(intent="destroy")
    assert (gone.action, str(gone.risk)) == ("destroy", "low")
    forget = PipelineForgetOperator(
        **release.arguments(release.running, **release.approved(gone, intent="destroy"))
    )
    assert forget.execute(release.context())["state"] == "destroyed"
    assert release.plan().action == "create"
    assert release.plan(intent="destroy").action == "none"


def _run_by_hand(system: str, options: dict[str, Any]) -> None:
    import time

    from triplane.pipelines.pipeline import Wanted

    service = connect(system, options)
    inputs = {"environment": "staging"}
    run = service.start(Wanted(token=f"hand-{time.time_ns()}"[-24:].replace("_", "-"), inputs=inputs))
    while service.standing(run).state == "running":
        time.sleep(0.1)
    assert service.newest() == run


def test_what_was_approved_is_what_runs(release: Release) -> None:
    change = release.plan()
    changed = {"inputs": {"environment": "prod"}}
    with pytest.raises(AirflowFailException, match="its written is not what was approved; plan again"):
        release.run(change, **changed)
    task = PipelineComponentOperator(**release.arguments(release.running, change_set="", authorization=None))
    with pytest.raises(AirflowFailException, match="runs with an approved change set only"):
        task.execute(release.context())
    given = release.approved(change)
    given["authorization"] = {"decisions": []}
    with pytest.raises(AirflowFailException, match="is not approved"):
        PipelineComponentOperator(**release.arguments(release.running, **given)).execute(release.context())
    assert release.plan().action == "create", "nothing has run"


def test_a_rollback_runs_it_with_what_it_was_given_then(release: Release) -> None:
    service = connect(release.running.system, release.arguments(release.running)["options"])
    first_commit, first_image = release.commit, release.image
    release.run(release.plan())
    release.commit, release.image = "b" * 40, f"{IMAGE}{'2' * 64}"
    second = release.run(release.plan())["details"]["run"]

    release.commit, release.image = first_commit, first_image
    left = release.plan(intent="rollback", on_rollback="leave")
    assert (left.action, left.summary) == ("none", f"was run at {'b' * 12}: {second}")
    assert release.run(left, intent="rollback")["state"] == "unchanged"
    assert service.newest() == second

    back = release.plan(intent="rollback")
    assert (back.action, str(back.risk)) == ("update", "medium")
    assert any(line.endswith(f"{IMAGE}{'2' * 64} -> {first_image}") for line in back.lines)
    result = release.run(back, intent="rollback")
    assert result["state"] == "deployed"
    assert service.newest() == result["details"]["run"] != second
    assert release.plan().action == "none", "what was good then is what is there now"
