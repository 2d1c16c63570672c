"""Google's own clients, Airflow's hooks and Terraform, all unmodified, against the sandbox."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.google_lab import CONNECTION, PARENT, PROJECT, REGION, REGISTRY, push, send
from triplane.core.errors import InputError
from triplane.sandbox.runtime import Sandbox

pytestmark = pytest.mark.usefixtures("cloud_env")


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
    command = "touch applying; until [ -e go ]; do sleep 0.1; done"
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
    (tmp_path / "go").touch()
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
