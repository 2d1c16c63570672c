"""Google's own clients, Airflow's hooks and Terraform, all unmodified, against the sandbox."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane.core.errors import InputError
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.drift_operators import ServerlessDriftBatchOperator
from triplane.serverless.operators import ServerlessDeployOperator, ServerlessPlanOperator
from triplane.serverless.target import DeployFailed, Desired, Observed, Target, difference

PROJECT, REGION, CONNECTION = "triplane-sandbox", "europe-west1", "google_cloud_default"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
REGISTRY = f"{REGION}-docker.pkg.dev/{PROJECT}/streaming"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
pytestmark = pytest.mark.usefixtures("cloud_env")


def push(sandbox: Sandbox, text: str) -> str:
    """An image without layers in the sandbox's registry, by its digest."""
    root = f"http://127.0.0.1:{sandbox.port('registry-gcp')}"
    base = f"{root}/v2/{PROJECT}/streaming/webhook"
    config = json.dumps({"architecture": "amd64", "os": "linux", "comment": text}).encode()
    location = send("POST", f"{base}/blobs/uploads/").headers["Location"]
    upload = location if location.startswith("http") else root + location
    separator = "&" if "?" in upload else "?"
    send("PUT", f"{upload}{separator}digest={sha256(config)}", config, "application/octet-stream")
    described = {
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(config), "size": len(config)
    }  # fmt: skip
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    manifest = json.dumps(body).encode()
    send("PUT", f"{base}/manifests/{sha256(manifest)}", manifest, MANIFEST)
    return f"{REGISTRY}/webhook@{sha256(manifest)}"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def send(verb: str, url: str, data: bytes | None = None, content: str = "") -> Any:
    headers = {"Content-Type": content} if content else {}
    request = urllib.request.Request(url, data, headers, method=verb)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)


def rest(verb: str, url: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
    """Status and JSON of a request through the gateway."""
    import requests

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.request(verb, url, json=body, headers=headers, timeout=30)
    return answer.status_code, answer.json()


@pytest.fixture
def token() -> str:
    from triplane.clouds import gcp

    return gcp.access_token(CONNECTION)


@pytest.fixture
def target() -> Target:
    from triplane.serverless.operators import TARGETS, Place

    return TARGETS["cloud_run"](Place(conn_id=CONNECTION, region=REGION))


@pytest.fixture
def desired() -> Callable[..., Desired]:
    name = f"webhook-{uuid.uuid4().hex[:8]}"

    def make(image: str, **changes: Any) -> Desired:
        config = sha256(repr(sorted(changes.items())).encode())
        return Desired(**{"name": name, "artifact": image, "config": config, **changes})

    return make


def test_airflows_hook_speaks_grpc(sandbox: Sandbox) -> None:
    from airflow.providers.google.cloud.hooks.cloud_run import CloudRunServiceHook
    from google.cloud import run_v2

    hook = CloudRunServiceHook(gcp_conn_id=CONNECTION)
    name = f"hook-{uuid.uuid4().hex[:8]}"
    template = run_v2.RevisionTemplate(containers=[run_v2.Container(image=push(sandbox, "hook"))])
    made = hook.create_service(
        service_name=name, service=run_v2.Service(template=template), region=REGION, project_id=PROJECT
    )
    assert made.latest_ready_revision.startswith(f"{PARENT}/services/{name}/revisions/{name}-00001-")
    found = hook.get_service(service_name=name, region=REGION, project_id=PROJECT)
    assert found.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    client = run_v2.ServicesClient(credentials=hook.get_credentials(), transport="rest")
    assert client.get_service(name=found.name) == found
    assert found.name in [each.name for each in client.list_services(parent=PARENT)]
    hook.delete_service(service_name=name, region=REGION, project_id=PROJECT)


def test_the_cluster_hook_reads_a_cluster(sandbox: Sandbox, token: str) -> None:
    from airflow.providers.google.cloud.hooks.kubernetes_engine import GKEHook

    name = f"cluster-{uuid.uuid4().hex[:8]}"
    url = f"https://container.googleapis.com/v1/{PARENT}/clusters"
    status, _ = rest("POST", url, {"cluster": {"name": name, "initialNodeCount": 1}}, token)
    assert status == 200
    time.sleep(0.5)
    cluster = GKEHook(gcp_conn_id=CONNECTION, location=REGION).get_cluster(name=name, project_id=PROJECT)
    assert cluster.status.name == "RUNNING"
    endpoint = sandbox.home / "kubernetes" / "gcp" / "endpoint.json"
    if endpoint.exists():
        assert f"https://{cluster.endpoint}" == json.loads(endpoint.read_text())["server"]
    rest("DELETE", f"{url}/{name}", token=token)


@pytest.mark.parametrize("path", ["services?serviceId=x", "services/x?updateMask=template"])
def test_an_unknown_field_is_refused(token: str, path: str) -> None:
    verb = "POST" if "serviceId" in path else "PATCH"
    body = {"template": {"containers": [{"imagee": "x"}]}}
    status, answer = rest(verb, f"https://run.googleapis.com/v2/{PARENT}/{path}", body, token)
    assert status == 400
    assert answer["error"]["status"] == "INVALID_ARGUMENT"
    assert "Unknown name \"imagee\" at 'template.containers[0]'" in answer["error"]["message"]


@pytest.mark.parametrize(
    "url",
    [
        f"https://run.googleapis.com/v2/{PARENT}/services",
        f"https://compute.googleapis.com/compute/v1/projects/{PROJECT}/global/networks",
        f"https://artifactregistry.googleapis.com/v1/{PARENT}/repositories",
        "https://storage.googleapis.com/storage/v1/b/streaming-tfstate/o",
    ],
)
def test_without_a_token_nothing_is_answered(url: str, token: str) -> None:
    assert rest("GET", url)[0] == 401
    assert rest("GET", url, token="ya29.made-up")[0] == 401
    assert rest("GET", url, token=token)[0] == 200


def test_the_rest_of_the_sandbox_can_ask_whose_token_it_is(sandbox: Sandbox, token: str) -> None:
    url = f"http://127.0.0.1:{sandbox.port('gcp-rest')}/_sandbox/tokeninfo?access_token="
    assert json.load(send("GET", url + token))["email"].startswith("triplane@")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        send("GET", url + "made-up")


def test_storage_keeps_preconditions() -> None:
    from google.api_core.exceptions import PreconditionFailed

    from triplane.clouds import gcp

    bucket = gcp.storage(CONNECTION).bucket("streaming-tfstate")
    blob = bucket.blob(f"test/{uuid.uuid4().hex}")
    blob.upload_from_string("one", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob(blob.name).upload_from_string("two", if_generation_match=0)
    assert blob.download_as_bytes() == b"one"
    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=1)
    blob.delete(if_generation_match=blob.generation)
    assert bucket.get_blob(blob.name) is None


def test_terraform_locks_its_state(tmp_path: Path, sandbox: Sandbox) -> None:
    from triplane.clouds import gcp

    terraform = shutil.which("terraform")
    assert terraform, "`triplane sandbox install` brings one along"
    prefix = f"test-{uuid.uuid4().hex}"
    code = f'''
terraform {{
  backend "gcs" {{
    bucket = "streaming-tfstate"
    prefix = "{prefix}"
  }}
}}
resource "terraform_data" "slow" {{
  provisioner "local-exec" {{
    command = "touch applying; sleep 4"
  }}
}}
'''
    (tmp_path / "main.tf").write_text(code)
    import os

    env = {**os.environ, **gcp.terraform_credentials(CONNECTION).env, "TF_IN_AUTOMATION": "1"}

    def run(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            (terraform, *words), cwd=tmp_path, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    init = run("init", "-input=false", "-no-color")
    assert init.wait(60) == 0, init.stdout and init.stdout.read()
    first = run("apply", "-auto-approve", "-no-color")
    deadline = time.monotonic() + 30
    while not (tmp_path / "applying").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second = run("apply", "-auto-approve", "-no-color", "-lock-timeout=0s")
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "Error acquiring the state lock" in said
    assert first.wait(60) == 0
    state = gcp.storage(CONNECTION).bucket("streaming-tfstate").blob(f"{prefix}/default.tfstate")
    assert json.loads(state.download_as_bytes())["serial"] >= 1
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in gcp.terraform_credentials(CONNECTION).env


def test_registry_login(token: str) -> None:
    from triplane.clouds import gcp

    user, password = gcp.registry_login(CONNECTION, REGISTRY)
    assert (user, password[:5]) == ("oauth2accesstoken", "ya29.")
    with pytest.raises(InputError, match="not an Artifact Registry"):
        gcp.registry_login(CONNECTION, "docker.io")


def test_deploy_update_unchanged_fail_restore(
    sandbox: Sandbox, target: Target, desired: Callable[..., Desired]
) -> None:
    lines: list[str] = []
    options = {"port": 8080, "memory": "256Mi", "timeout": 30, "max_instances": 3}
    one = desired(push(sandbox, "one"), options=options, environment={"LEVEL": "info"})
    assert target.observe(one.name) is None
    made = target.deploy(one, None, lines.append)
    target.verify(one, made)
    first = target.observe(one.name)
    assert isinstance(first, Observed)
    assert difference(one, first) == ()

    two = desired(push(sandbox, "two"), options=options, environment={"LEVEL": "debug"})
    assert [line.split(":")[0] for line in difference(two, first)] == ["code", "environment LEVEL"]
    target.verify(two, target.deploy(two, first, lines.append))
    second = target.observe(one.name)
    assert isinstance(second, Observed)
    assert second.version != first.version

    bad = desired(f"{REGISTRY}/webhook@sha256:{'0' * 64}", options=options)
    with pytest.raises(DeployFailed, match=r"Image .* not found") as failed:
        target.deploy(bad, second, lines.append)
    assert failed.value.restored == second.version
    assert target.observe(one.name) == second

    target.restore(one.name, first)
    assert target.observe(one.name) == first


def test_a_first_deployment_that_fails_leaves_nothing(
    target: Target, desired: Callable[..., Desired]
) -> None:
    bad = desired(f"{REGISTRY}/webhook@sha256:{'0' * 64}")
    with pytest.raises(DeployFailed, match="nothing served before") as failed:
        target.deploy(bad, None, print)
    assert failed.value.restored is None
    assert target.observe(bad.name) is None


def test_operators_plan_deploy_and_find_nothing_to_do(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    image = push(sandbox, "operators")
    options: dict[str, Any] = {
        "target": "cloud_run", "name": f"webhook-{uuid.uuid4().hex[:8]}", "address": "gcp/function/webhook",
        "conn_id": CONNECTION, "region": REGION, "scope": "test/gcp", "environment": {"LEVEL": "info"},
        "options": {"port": 8080}, "image": image,
    }  # fmt: skip
    change = ServerlessPlanOperator(task_id="plan", **options).work({})  # type: ignore[typeddict-item]
    assert (change["action"], change["risk"]) == ("create", "low")
    del options["image"]
    deploy = ServerlessDeployOperator(task_id="deploy", change=change, **options)
    result = deploy.work({})  # type: ignore[typeddict-item]
    assert result["state"] == "deployed"
    again = ServerlessPlanOperator(task_id="again", image=image, **options).work({})  # type: ignore[typeddict-item]
    assert (again["action"], again["binds"]["observed"]) == ("none", result["version"])

    batch = ServerlessDriftBatchOperator(task_id="drift", functions=[options])
    (found,) = batch.execute({})  # type: ignore[arg-type]
    assert found["state"] == "in_sync"
    from google.cloud import run_v2

    from triplane.clouds import gcp

    services = gcp.client(run_v2.ServicesClient, CONNECTION)
    service = services.get_service(name=f"projects/{PROJECT}/locations/{REGION}/services/{options['name']}")
    service.ingress = run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY
    services.update_service(service=service).result(timeout=60)
    (found,) = batch.execute({})  # type: ignore[arg-type]
    assert found["state"] == "drifted"
    assert "ingress" in [attribute["name"] for attribute in found["resources"][0]["attributes"]]
