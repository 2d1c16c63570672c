"""Plain manifests and kustomize folders on the sandbox's real API servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e.test_kubernetes import processes, push, until
from triplane.kubernetes.manifest_operators import (
    ManifestsApplyOperator,
    ManifestsDeleteOperator,
    ManifestsPlanOperator,
)
from triplane.sandbox.kubernetes.api import Api
from triplane.sandbox.runtime import Sandbox

Object = dict[str, Any]
SECRET = "correct-horse-battery"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers:
        - name: main
          image: ingest
          envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: credentials}}]
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80}]}
"""


class Lab:
    """One component, deployed with the sandbox's own administrator."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.namespace = f"manifests-{time.time_ns() % 10**8}"
        self.good, self.better = push(sandbox, "aws", "good"), push(sandbox, "aws", "better")
        self.kubeconfig = sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig"
        self.api = Api.of(self.kubeconfig)
        self.xcom: Object = {}
        self.write("api.yaml", DEPLOYMENT)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def kwargs(self, **more: Any) -> Object:
        return {
            "task_id": "t",
            "path": str(self.folder),
            "namespace": self.namespace,
            "address": "aws/manifests/api",
            "scope": "staging/aws",
            "conn_id": "cluster_aws",
            "images": {"ingest": self.good},
            "config": {"settings": {"LEVEL": "info"}},
            "secrets": {"credentials": {"TOKEN": "${variable.token}"}},
            "timeout": 20,
            "deferrable": False,
            **more,
        }

    def context(self) -> Any:
        return {
            "ti": SimpleNamespace(xcom_push=lambda key, value: self.xcom.update({key: value})),
            "dag_run": SimpleNamespace(dag_id="deploy_aws", run_id=self.namespace),
        }

    def plan(self, **more: Any) -> Object:
        return ManifestsPlanOperator(**self.kwargs(**more)).execute(self.context())

    def apply(self, **more: Any) -> Object:
        return ManifestsApplyOperator(**self.kwargs(**more)).execute(self.context())

    def delete(self, **more: Any) -> Object:
        return ManifestsDeleteOperator(**self.kwargs(**more)).execute(self.context())

    def get(self, path: str) -> Any:
        return self.api.get(f"{path.replace('NS', f'namespaces/{self.namespace}')}")

    def names(self, kind: str = "/api/v1/NS/configmaps") -> set[str]:
        return {item["metadata"]["name"] for item in self.get(kind)["items"]}

    def kubectl(self, *args: str) -> str:
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        argv = ["kubectl", "-n", self.namespace, *args]
        return subprocess.run(argv, env=env, capture_output=True, check=True, text=True).stdout


@pytest.fixture
def lab(sandbox: Sandbox, cloud_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", SECRET)
    found = Lab(sandbox, tmp_path / "k8s")
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(found.kubeconfig)}}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER_AWS", json.dumps(connection))
    return found


DEPLOYED = "/apis/apps/v1/NS/deployments/api"


def test_applied_left_alone_changed_and_pruned(lab: Lab) -> None:
    first = lab.plan()
    assert (first["action"], first["risk"]) == ("create", "low")
    assert f"+ deployment {lab.namespace}/api" in first["lines"]
    assert SECRET not in json.dumps(first)
    assert lab.apply(images=None, change=first)["state"] == "deployed"
    assert lab.apply(change=first)["state"] == "deployed", "a retry finds its work done"
    found = lab.get(DEPLOYED)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == lab.good
    assert found["metadata"]["managedFields"][0]["manager"] == "triplane"
    same = lab.plan()
    assert (same["action"], same["lines"]) == ("none", [])
    assert lab.apply(change=same)["state"] == "unchanged"

    lab.kubectl("create", "configmap", "of-others")
    lab.write("api.yaml", DEPLOYMENT.partition("---")[0])
    second = lab.plan(images={"ingest": lab.better}, config={"settings": {"LEVEL": "debug"}})
    assert second["risk"] == "high", "something is deleted"
    lines = "\n".join(second["lines"])
    assert f"~ configmap {lab.namespace}/settings: data.LEVEL: info -> debug" in lines
    assert "spec.template.spec.containers[main].image" in lines
    assert f"- service {lab.namespace}/api" in lines
    lab.apply(images={"ingest": lab.better}, config={"settings": {"LEVEL": "debug"}}, change=second)
    assert "api" not in lab.names("/api/v1/NS/services")
    assert "of-others" in lab.names()


def test_what_others_made_and_moved(lab: Lab) -> None:
    change = lab.plan()
    lab.apply(change=change)
    with pytest.raises(AirflowFailException, match=r"not what was approved.*written"):
        lab.apply(change=change, config={"settings": {"LEVEL": "trace"}})
    with pytest.raises(AirflowFailException, match=r"belongs to the component aws.manifests.api"):
        lab.plan(address="aws/manifests/other")
    lab.kubectl("label", "deployment", "api", "triplane.dev/component-")
    change = lab.plan(config={"settings": {"LEVEL": "warn"}})
    lab.kubectl("set", "env", "deployment/api", "X=1")
    lab.kubectl("set", "image", "deployment/api", f"main={lab.better}")
    with pytest.raises(AirflowFailException, match=r"deployment .*/api is not as it was .* plan again"):
        lab.apply(config={"settings": {"LEVEL": "warn"}}, change=change)


def test_pods_roll_when_their_secret_changes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.apply()
    before = lab.get(DEPLOYED)["metadata"]["generation"]
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", SECRET + "-2")
    change = lab.plan()
    assert "~ secret" in "".join(change["lines"])
    assert "data.TOKEN: *** -> ***" in "".join(change["lines"])
    assert SECRET not in json.dumps(change)
    lab.apply(change=change)
    assert lab.get(DEPLOYED)["metadata"]["generation"] == before + 1


def test_kustomize(lab: Lab) -> None:
    config = {"resources": ["api.yaml"], "namePrefix": "edge-", "commonAnnotations": {"team": "edge"}}
    lab.write("kustomization.yaml", yaml.safe_dump(config))
    assert lab.apply()["state"] == "deployed"
    found = lab.get("/apis/apps/v1/NS/deployments/edge-api")
    assert found["metadata"]["annotations"]["team"] == "edge"
    lab.write("kustomization.yaml", "resources: [nowhere.yaml]")
    with pytest.raises(AirflowFailException, match=r"kubectl kustomize .*nowhere.yaml"):
        lab.plan()


def test_what_the_server_refuses_is_refused_by_the_plan(lab: Lab) -> None:
    lab.apply()
    lab.write("api.yaml", DEPLOYMENT.replace("matchLabels: {app: api}", "matchLabels: {app: other}"))
    with pytest.raises(AirflowFailException, match="selector"):
        lab.plan()


def test_a_rollout_that_fails_says_why(lab: Lab) -> None:
    bad = f"{lab.good.partition('@')[0]}@sha256:{'0' * 64}"
    with pytest.raises(AirflowFailException, match="image pull: pod api-"):
        lab.apply(images={"ingest": bad}, timeout=2.5)
    assert lab.xcom["return_value"]["state"] == "failed"
    assert lab.apply()["state"] == "deployed"


def test_replicas_pass_to_an_autoscaler(lab: Lab) -> None:
    lab.apply(workloads={"deployment/api": {"replicas": 3, "max_surge": 1, "max_unavailable": 0}})
    assert lab.get(DEPLOYED)["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    both = {"deployment/api": {"replicas": 3, "autoscale": {"min": 2, "max": 5, "cpu": 80}}}
    with pytest.raises(AirflowFailException, match="sets replicas, and the autoscaler api changes them"):
        lab.plan(workloads=both)
    scaled = {"deployment/api": {"autoscale": {"min": 2, "max": 5, "cpu": 80}}}
    lab.apply(workloads=scaled)
    assert lab.get(DEPLOYED)["spec"]["replicas"] == 3
    autoscaler = lab.get("/apis/autoscaling/v2beta2/NS/horizontalpodautoscalers/api")
    assert autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    lab.kubectl("scale", "deployment/api", "--replicas=4")
    assert lab.plan(workloads=scaled)["action"] == "none"


def test_deleted_is_what_was_approved(lab: Lab) -> None:
    lab.apply()
    lab.kubectl("create", "configmap", "of-others")
    change = lab.plan(intent="destroy")
    assert (change["action"], change["risk"]) == ("destroy", "critical")
    with pytest.raises(AirflowFailException, match="was not approved"):
        lab.delete(change=lab.plan(config={"settings": {"LEVEL": "trace"}}))
    assert lab.delete(change=change)["state"] == "destroyed"
    assert lab.names("/apis/apps/v1/NS/deployments") == set()
    assert not lab.names() & {"settings"}
    assert "of-others" in lab.names()
    assert lab.plan(intent="destroy")["action"] == "none"
    assert lab.delete(change=change)["state"] == "destroyed", "a retry finds its work done"


def test_a_task_that_is_killed_in_mid_apply(lab: Lab) -> None:
    many = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{n:03}"}, "data": {"n": str(n)}}
        for n in range(60)
    ]
    lab.write("many.yaml", yaml.safe_dump_all(many))
    change = lab.plan()
    script = "\n".join(
        [
            "import json, sys; from types import SimpleNamespace",
            "from triplane.kubernetes.manifest_operators import ManifestsApplyOperator",
            "kwargs = json.loads(sys.stdin.read())",
            "run = SimpleNamespace(dag_id='deploy_aws', run_id=kwargs['namespace'])",
            "ManifestsApplyOperator(**kwargs).execute({'dag_run': run})",
        ]
    )
    task = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    assert task.stdin is not None
    task.stdin.write(json.dumps(lab.kwargs(change=change)).encode())
    task.stdin.close()
    until(lambda: _count(lab) > 5, 60)
    task.send_signal(signal.SIGKILL)
    task.wait()
    assert lab.apply(change=change)["state"] == "deployed"
    assert _count(lab) == 60
    assert lab.plan()["action"] == "none"


def _count(lab: Lab) -> int:
    try:
        return sum(name.startswith("c0") for name in lab.names())
    except Exception:
        return 0


def test_secrets_are_in_no_command_line_and_in_no_file(lab: Lab, tmp_path: Path) -> None:
    import threading

    seen: list[str] = []
    thread = threading.Thread(target=lab.apply)
    thread.start()
    while thread.is_alive():
        seen += processes("kubectl").values()
    thread.join()
    assert any("apply --server-side" in line for line in seen)
    assert not any(SECRET in line for line in seen)
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert files
    assert not any(SECRET.encode() in path.read_bytes() for path in files)
