"""Drift in a real cluster: what somebody changed by hand is found, what nobody did is not."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.e2e import test_kubernetes, test_manifests
from tests.e2e.test_kubernetes import SECRET, until
from triplane.drift.report import lines, summary
from triplane.kubernetes.drift_operators import KubernetesDriftBatchOperator
from triplane.sandbox.runtime import Sandbox

Object = dict[str, Any]


@pytest.fixture
def airflow(
    sandbox: Sandbox, cloud_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", SECRET)
    path = sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig"
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(path)}}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER_AWS", json.dumps(connection))


@pytest.fixture
def lab(sandbox: Sandbox, airflow: None, tmp_path: Path) -> test_manifests.Lab:
    return test_manifests.Lab(sandbox, tmp_path / "k8s")


def checked(*components: Object) -> list[Object]:
    operator = KubernetesDriftBatchOperator(task_id="drift", components=components)
    return operator.execute({})  # type: ignore[arg-type]


def component(lab: test_manifests.Lab, **more: Any) -> Object:
    taken = ("task_id", "images", "timeout", "deferrable")
    return {key: value for key, value in lab.kwargs(**more).items() if key not in taken}


def test_manifests_that_somebody_changed(lab: test_manifests.Lab) -> None:
    (never,) = checked(component(lab))
    assert (never["state"], never["pending"]) == ("pending", "it was never applied")
    lab.apply()
    assert checked(component(lab))[0]["state"] == "in_sync"

    patch = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": lab.good}]}}}}
    lab.kubectl("patch", "deployment", "api", "--patch", json.dumps(patch))
    lab.kubectl("annotate", "deployment", "api", "injected.example.com/at=now")
    assert checked(component(lab))[0]["state"] == "in_sync", "an injected sidecar is nobody's drift"

    lab.kubectl("patch", "configmap", "settings", "--patch", '{"data": {"LEVEL": "debug"}}')
    lab.kubectl("patch", "secret", "credentials", "--patch", '{"data": {"TOKEN": "aGFja2Vk"}}')
    lab.kubectl("delete", "service", "api")
    lab.kubectl("set", "image", "deployment/api", f"main={lab.better}")
    until(lambda: len(checked(component(lab))[0]["resources"]) >= 5)
    (found,) = checked(component(lab))
    assert found["state"] == "drifted"
    text = "\n".join(lines(summary([found], [found["address"]])))
    ns = lab.namespace
    assert f"configmap {ns}/settings: data.LEVEL" in text
    assert f"secret {ns}/credentials: data.TOKEN" in text
    assert f"service {ns}/api: delete" in text
    assert "spec.template.spec.containers[main].image" in text
    assert f"pods of deployment {ns}/api: image of running main" in text
    assert SECRET not in json.dumps(found)
    assert "aGFja2Vk" not in json.dumps(found)
    again = checked(component(lab))[0]
    assert [item["first_seen"] for item in again["resources"]] == [
        item["first_seen"] for item in found["resources"]
    ]

    until_ = (date.today() + timedelta(days=9)).isoformat()
    rule = {"resource": "*", "reason": "an exercise", "until": until_}
    (ignored,) = checked(component(lab) | {"ignore": [rule]})
    assert (ignored["state"], len(ignored["cured"])) == ("in_sync", 5)
    lab.apply()
    until(lambda: checked(component(lab))[0]["state"] == "in_sync")
    (pending,) = checked(component(lab, config={"settings": {"LEVEL": "warn"}}))
    assert pending["state"] == "pending"


def test_replicas_of_an_autoscaler_are_no_drift(lab: test_manifests.Lab) -> None:
    lab.apply(workloads={"deployment/api": {"replicas": 2}})
    workloads = component(lab, workloads={"deployment/api": {"replicas": 2}})
    lab.kubectl("scale", "deployment/api", "--replicas=3")
    assert checked(workloads)[0]["state"] == "drifted"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    autoscaler = {"metadata": {"name": "api"}, "spec": {"scaleTargetRef": target, "maxReplicas": 5}}
    lab.api.create(f"/apis/autoscaling/v1/namespaces/{lab.namespace}/horizontalpodautoscalers", autoscaler)
    (found,) = checked(workloads)
    assert found["state"] == "in_sync"
    assert "an autoscaler set its replicas" in found["noise"][0]


def test_a_cluster_that_does_not_answer_is_unknown(
    lab: test_manifests.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.apply()
    good = component(lab)
    assert checked(good)[0]["state"] == "in_sync"
    text = lab.kubeconfig.read_text().replace("server: https://127.0.0.1:", "server: https://127.0.0.1:1 #")
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": text}}
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", json.dumps(connection))
    bad, fine = checked(good | {"conn_id": "elsewhere"}, good)
    assert (bad["state"], fine["state"]) == ("unknown", "in_sync")
    assert "refused" in bad["error"]
    assert bad["last_good"]


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_a_release_that_somebody_changed(sandbox: Sandbox, airflow: None, helm: str) -> None:
    release = test_kubernetes.Lab(sandbox, f"drift-{time.time_ns() % 10**8}", helm=helm)
    place = {"address": "aws/chart/ingest", "conn_id": "cluster_aws", "scope": "staging/aws"}
    here = {**place, "namespace": release.namespace, "release": "ingest", "helm_bin": helm}
    assert checked(here)[0]["pending"] == "nothing is installed"
    release.deploy(release.good)
    assert checked(here)[0]["state"] == "in_sync"
    env = {**os.environ, "KUBECONFIG": str(release.kubeconfig)}

    def run(*argv: str) -> None:
        subprocess.run([*argv, "-n", release.namespace], env=env, check=True, capture_output=True)

    run("kubectl", "scale", "deployment/ingest", "--replicas=3")
    (found,) = checked(here)
    ((resource),) = found["resources"]
    assert [item["name"] for item in resource["attributes"]] == ["spec.replicas"]
    chart = str(test_kubernetes.CHART)
    run(helm, "upgrade", "ingest", chart, "--reuse-values", "--set", "replicas=3")
    actions = [item["action"] for item in checked(here)[0]["resources"]]
    assert actions == ["revision 2 was made by hand"]
    run(helm, "rollback", "ingest", "1")
    (found,) = checked(here)
    assert "was rolled back to revision 1 by hand (revision 3)" in [
        item["action"] for item in found["resources"]
    ]
    release.deploy(release.better)
    assert checked(here)[0]["state"] == "in_sync"
