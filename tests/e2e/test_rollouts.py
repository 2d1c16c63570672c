"""Rollouts that hang, each for a reason of its own, on the sandbox's real control plane."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from tests.e2e.test_kubernetes import push, until
from triplane.kubernetes.cluster_operator import RolloutOperator
from triplane.kubernetes.triggers import RolloutTrigger
from triplane.sandbox.kubernetes.containers import ANNOTATION
from triplane.sandbox.runtime import Sandbox

Object = dict[str, Any]


def pod(image: str, annotations: Object | None = None, **spec: Any) -> Object:
    notes = {ANNOTATION + name: text for name, text in (annotations or {}).items()}
    container = {"name": "main", "image": image, **spec.pop("container", {})}
    return {
        "metadata": {"labels": {"app": "lab"}, "annotations": notes},
        "spec": {"containers": [container], **spec},
    }


def workload(kind: str, name: str, template: Object, **spec: Any) -> Object:
    version = "batch/v1" if kind == "Job" else "apps/v1"
    selector = {} if kind == "Job" else {"selector": {"matchLabels": {"app": "lab"}}}
    if kind == "StatefulSet":
        selector["serviceName"] = name
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {**selector, "template": template, **spec},
    }


class Lab:
    """One namespace, filled with plain kubectl."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.namespace = f"rollout-{time.time_ns() % 10**8}"
        self.good = push(sandbox, "aws", "good")
        self.missing = f"{self.good.partition('@')[0]}@sha256:{'0' * 64}"
        self.kubeconfig = sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig"
        self.kubectl("create", "namespace", self.namespace)

    def kubectl(self, *args: str, stdin: str = "") -> str:
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(["kubectl", *args], env=env, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def wait(self, *workloads: str, timeout: float = 4, **more: Any) -> Any:
        options = {"deferrable": False, "conn_id": "cluster_aws", "namespace": self.namespace, **more}
        operator = RolloutOperator(task_id="wait", workloads=workloads, timeout=timeout, **options)
        return operator.execute({})  # type: ignore[arg-type]

    def why(self, *workloads: str, **more: Any) -> str:
        with pytest.raises(AirflowFailException) as caught:
            self.wait(*workloads, **more)
        return str(caught.value)


@pytest.fixture
def lab(sandbox: Sandbox, cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    found = Lab(sandbox)
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(found.kubeconfig)}}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER_AWS", json.dumps(connection))
    return found


def test_what_gets_ready(lab: Lab) -> None:
    lab.apply(
        workload("Deployment", "api", pod(lab.good), replicas=2),
        workload("StatefulSet", "db", pod(lab.good), replicas=2),
        workload("DaemonSet", "agent", pod(lab.good)),
        workload("Job", "migrate", pod(lab.good, restartPolicy="Never")),
    )
    names = ["deployment/api", "statefulset/db", "daemonset/agent", "job/migrate"]
    assert lab.wait(*names, timeout=30) == names


def test_an_image_that_is_not_there(lab: Lab) -> None:
    lab.apply(workload("Deployment", "api", pod(lab.missing), replicas=2))
    why = lab.why("deployment/api")
    assert "image pull: pod api-" in why
    assert "(and 1 more)" in why
    assert f'Failed to pull image "{lab.missing}"' in why
    assert "0 of 2 available" in why


def test_a_crash_loop_shows_its_last_words(lab: Lab) -> None:
    words = "starting\nno database at db:5432\npassword=hunter22hunter"
    lab.apply(workload("StatefulSet", "db", pod(lab.good, {"exits": "3", "says": words})))
    why = lab.why("statefulset/db")
    assert "crash loop: pod db-0, container main: it ended with exit code 3 (Error), 3 restarts" in why
    assert "| no database at db:5432" in why
    assert "hunter22" not in why


def test_no_node_takes_it(lab: Lab) -> None:
    wants = {"resources": {"requests": {"cpu": "1000"}}}
    lab.apply(workload("Deployment", "api", pod(lab.good, container=wants)))
    assert "unschedulable: pod api-" in (why := lab.why("deployment/api"))
    assert "Insufficient cpu" in why


def test_a_probe_that_fails(lab: Lab) -> None:
    probe = {"readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}
    lab.apply(workload("DaemonSet", "agent", pod(lab.good, {"probe": "503"}, container=probe)))
    why = lab.why("daemonset/agent")
    assert "probe: pod agent-" in why
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in why


def test_a_quota_that_is_used_up(lab: Lab) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    lab.apply({**quota, "spec": {"hard": {"pods": "1"}}})
    seen = "-o=jsonpath={.status.hard.pods}"
    until(lambda: lab.kubectl("get", "resourcequota", "small", "-n", lab.namespace, seen) == "1")
    time.sleep(0.5)
    lab.apply(workload("Deployment", "api", pod(lab.good), replicas=3))
    why = lab.why("deployment/api")
    assert "quota: replicaset api-" in why
    assert "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1" in why


def test_a_pod_that_cannot_be_created(lab: Lab) -> None:
    lab.apply(workload("Deployment", "api", pod(lab.good, serviceAccountName="nobody")))
    why = lab.why("deployment/api")
    assert "failed create: replicaset api-" in why
    assert 'serviceaccount "nobody" not found' in why


def test_a_claim_that_nobody_fills(lab: Lab) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    lab.apply({**claim, "spec": size}, workload("StatefulSet", "db", pod(lab.good, volumes=volumes)))
    why = lab.why("statefulset/db")
    assert "volume: pod db-0: its claim data is pending" in why
    assert "no persistent volumes available" in why


def test_a_job_that_fails_is_not_waited_for(lab: Lab) -> None:
    template = pod(lab.good, {"exits": "2", "says": "table users is locked"}, restartPolicy="Never")
    lab.apply(workload("Job", "migrate", template, backoffLimit=0))
    begin = time.monotonic()
    why = lab.why("job/migrate", timeout=60)
    assert time.monotonic() - begin < 30
    assert "BackoffLimitExceeded" in why
    assert "exit: pod migrate-" in why
    assert "| table users is locked" in why


def test_a_progress_deadline_ends_the_wait(lab: Lab) -> None:
    lab.apply(workload("Deployment", "api", pod(lab.missing), progressDeadlineSeconds=2))
    begin = time.monotonic()
    assert "has timed out progressing" in lab.why("deployment/api", timeout=60)
    assert time.monotonic() - begin < 30


def test_a_long_wait_takes_no_slot(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RolloutOperator, "patience", 0.5)
    lab.apply(workload("Deployment", "api", pod(lab.missing)))
    with pytest.raises(TaskDeferred) as caught:
        lab.wait("deployment/api", deferrable=True, timeout=60, poll=0.5)
    deferred = caught.value
    path, arguments = deferred.trigger.serialize()
    assert path == "triplane.kubernetes.triggers.RolloutTrigger"
    lab.kubectl("set", "image", "deployment/api", f"main={lab.good}", "-n", lab.namespace)
    event = fired(RolloutTrigger(**json.loads(json.dumps(arguments))))
    assert event["state"] == "done"
    operator = RolloutOperator(task_id="wait", workloads=["deployment/api"], conn_id="cluster_aws")
    resumed = operator.resume({}, event)  # type: ignore[arg-type]
    assert resumed == ["deployment/api"]


def test_a_long_wait_that_ends_badly_says_why(lab: Lab) -> None:
    lab.apply(workload("Deployment", "api", pod(lab.missing)))
    plain = [["Deployment", lab.namespace, "api"]]
    access = {"cloud": "kubernetes", "conn_id": "cluster_aws"}
    until = time.time() + 2
    event = fired(RolloutTrigger(workloads=plain, access=access, until=until, poll=0.5))
    assert event["state"] == "timeout"
    operator = RolloutOperator(task_id="wait", workloads=["deployment/api"], conn_id="cluster_aws")
    for forged in (event, event | {"state": "done"}):
        with pytest.raises(AirflowFailException, match="image pull: pod api-"):
            operator.resume({}, forged)  # type: ignore[arg-type]


def fired(trigger: RolloutTrigger) -> Object:
    async def first() -> Object:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("it ended without an event")

    return asyncio.run(first())


def test_nothing_is_left_outside_private_folders(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.apply(workload("Deployment", "api", pod(lab.good)))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lab.wait("deployment/api", timeout=30)
    assert not list(tmp_path.iterdir())
