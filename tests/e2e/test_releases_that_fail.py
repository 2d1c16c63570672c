"""Releases that do not get ready, each for a reason of its own: the error says which, after Helm removed the pods."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.e2e.test_kubernetes import Lab, airflow, until  # noqa: F401
from tests.e2e.test_rollouts import Object, pod, workload
from tests.few import few
from triplane.sandbox.kubernetes.api import Api
from triplane.sandbox.runtime import Sandbox

CHART = Path(__file__).parents[1] / "testdata" / "charts" / "plain"


class Plain:
    """A release of the objects that a test gives it, in a namespace of its own."""

    def __init__(self, sandbox: Sandbox, helm: str) -> None:
        self.lab = Lab(sandbox, f"fails-{time.time_ns() % 10**9}", helm=helm)
        self.good, self.bad = self.lab.good, self.lab.bad
        self.api = Api.of(self.lab.kubeconfig)

    def deploy(self, *objects: Object, timeout: float = 8) -> Any:
        self.lab.tries.clear()
        values = {"objects": list(objects)}
        return self.lab.deploy("", path=str(CHART), images={}, values=values, timeout=timeout)

    def why(self, *objects: Object, timeout: float = 8) -> str:
        with pytest.raises(AirflowFailException) as caught:
            self.deploy(*objects, timeout=timeout)
        return str(caught.value)

    def quota(self, pods: int) -> None:
        """Make the namespace, and a quota that the API server has seen."""
        self.api.create("/api/v1/namespaces", {"metadata": {"name": self.lab.namespace}})
        meta = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
        path = f"/api/v1/namespaces/{self.lab.namespace}/resourcequotas"
        self.api.create(path, {**meta, "spec": {"hard": {"pods": str(pods)}}})
        until(lambda: "hard" in self.api.get(f"{path}/small").get("status", {}))
        time.sleep(0.5)


@pytest.fixture(params=few(["helm", "helm3"], ["helm"]))
def plain(request: pytest.FixtureRequest, sandbox: Sandbox, airflow: None) -> Plain:  # noqa: F811
    return Plain(sandbox, request.param)


only_helm_4 = pytest.mark.parametrize("plain", ["helm"], indirect=True)


def test_a_crash_loop_keeps_its_last_words(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    plain.deploy(workload("Deployment", "api", pod(plain.good)))
    words = "starting\nno database at db:5432\npassword=hunter22hunter"
    why = plain.why(workload("Deployment", "api", pod(plain.good, {"exits": "3", "says": words})))
    assert "revision 3 (the content of revision 1) serves" in why
    assert "Error: UPGRADE FAILED" in why
    assert "crash loop: pod api-" in why
    assert "it ended with exit code 3 (Error)" in why
    assert "    | no database at db:5432" in why
    said = capsys.readouterr().out
    assert "hunter22" not in why + said
    assert said.count(f"Waiting for deployment {plain.lab.namespace}/api: crash loop: pod api-") == 1


def test_no_node_takes_a_first_installation(plain: Plain) -> None:
    wants = {"resources": {"requests": {"cpu": "1000"}}}
    why = plain.why(workload("StatefulSet", "db", pod(plain.good, container=wants)))
    assert "nothing serves" in why
    assert f"statefulset {plain.lab.namespace}/db is not ready: 0 of 1 ready" in why
    assert "unschedulable: pod db-0: " in why
    assert "Insufficient cpu" in why


@only_helm_4
def test_a_probe_that_fails(plain: Plain) -> None:
    probe = {"readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}
    why = plain.why(workload("DaemonSet", "agent", pod(plain.good, {"probe": "503"}, container=probe)))
    assert "probe: pod agent-" in why
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in why


@only_helm_4
def test_a_quota_that_is_used_up(plain: Plain) -> None:
    plain.quota(1)
    why = plain.why(workload("Deployment", "api", pod(plain.good), replicas=3))
    assert "quota: replicaset api-" in why
    assert "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1" in why


@only_helm_4
def test_the_way_back_does_not_hide_the_reason(plain: Plain) -> None:
    """The old pods start anew, and for some seconds they are what is not ready."""
    strategy = {"strategy": {"type": "Recreate"}}
    plain.deploy(workload("Deployment", "api", pod(plain.good), **strategy))
    why = plain.why(workload("Deployment", "api", pod(plain.bad), **strategy))
    assert f'Failed to pull image "{plain.bad}"' in why


def test_the_job_of_a_hook_that_fails_at_once(plain: Plain) -> None:
    template = pod(plain.good, {"exits": "2", "says": "table users is locked"}, restartPolicy="Never")
    job = workload("Job", "ingest-migrate", template, backoffLimit=0)
    job["metadata"]["annotations"] = {"helm.sh/hook": "pre-install,pre-upgrade"}
    why = plain.why(job, workload("Deployment", "api", pod(plain.good)), timeout=30)
    assert f"job {plain.lab.namespace}/ingest-migrate is not ready: BackoffLimitExceeded" in why
    assert "    | table users is locked" in why


def test_a_job_of_the_release_that_fails(plain: Plain) -> None:
    template = pod(plain.good, {"exits": "2", "says": "no such table"}, restartPolicy="Never")
    job = workload("Job", "migrate", template, backoffLimit=0)
    why = plain.why(job, workload("Deployment", "api", pod(plain.good)))
    assert re.search(r"migrate.*(BackoffLimitExceeded|Job Failed)", why), (
        "Helm may remove it before anybody looks"
    )
