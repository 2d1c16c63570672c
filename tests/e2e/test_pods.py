"""The pods of the Kubernetes executor: from our templates, as Airflow makes them, admitted by a real API server."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from triplane.sandbox.runtime import Sandbox, default_cache

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes"
IDENTITY = {
    "aws": {"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_DEFAULT_REGION"},
    "gcp": {"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"},
    "azure": {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE"},
}


def kubectl(*arguments: str, given: str | None = None) -> str:
    """What kubectl prints."""
    program = default_cache() / "bin" / "kubectl"
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pod(template: Path) -> Any:
    """The pod that the Kubernetes executor makes for a task."""
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    return PodGenerator.construct_pod(
        dag_id="deploy_aws",
        task_id="infrastructure.network.apply",
        pod_id="deploy-aws-apply",
        try_number=1,
        kube_image="",
        date=datetime(2026, 1, 1, tzinfo=UTC),
        args=["python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string", "{}"],
        pod_override_object=None,
        base_worker_pod=PodGenerator.deserialize_model_file(str(template)),
        namespace="airflow",
        scheduler_job_id="1",
        run_id="run",
    )


@pytest.mark.parametrize("cloud", IDENTITY)
def test_a_task_of_a_cloud_has_the_identity_of_that_cloud_alone(cloud: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(kubectl("kustomize", str(EXAMPLE / cloud)))
    made = pod(tmp_path / "pod.yaml")
    (container,) = made.spec.containers
    assert container.name == "base"
    assert made.spec.service_account_name == f"triplane-{cloud}"
    assert {variable.name for variable in container.env} - {"AIRFLOW_IS_K8S_EXECUTOR_POD"} == IDENTITY[cloud]
    assert container.image == "registry.example.com/triplane:0.1.0"
    assert container.command is None, "the entry point of the image has to wait for tools"
    assert made.spec.termination_grace_period_seconds > 600
    assert made.spec.automount_service_account_token is False
    assert {mount.mount_path for mount in container.volume_mounts} >= {
        "/tmp",
        "/dev/shm",
        "/opt/airflow/.cache",
    }


def test_a_task_that_looks_at_all_clouds_has_all_identities(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(kubectl("kustomize", str(EXAMPLE / "all")))
    made = pod(tmp_path / "pod.yaml")
    named = {variable.name for variable in made.spec.containers[0].env}
    assert set().union(*IDENTITY.values()) <= named
    assert made.spec.service_account_name == "triplane-task"


def test_a_real_api_server_admits_accounts_and_pods(sandbox: Sandbox, tmp_path: Path) -> None:
    from kubernetes.client import ApiClient

    config = ("--kubeconfig", str(sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig"))
    namespace = (*config, "--namespace", "airflow-tasks")
    kubectl(*config, "create", "namespace", "airflow-tasks")
    kubectl(*namespace, "apply", "--filename", str(EXAMPLE / "accounts.yaml"))
    for name in (*IDENTITY, "all"):
        template = tmp_path / f"{name}.yaml"
        template.write_text(kubectl("kustomize", str(EXAMPLE / name)))
        made = pod(template)
        made.metadata.namespace = "airflow-tasks"
        manifest = json.dumps(
            {"apiVersion": "v1", "kind": "Pod", **ApiClient().sanitize_for_serialization(made)}
        )
        answer = json.loads(
            kubectl(*namespace, "create", "--dry-run=server", "--output=json", "--filename=-", given=manifest)
        )
        assert answer["spec"]["serviceAccountName"] == made.spec.service_account_name
        tokens = [volume for volume in answer["spec"]["volumes"] if "kube-api-access" in volume["name"]]
        assert tokens == [], "no token for the cluster's own API is mounted"
