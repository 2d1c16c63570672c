"""Unmodified clients reach AWS and the registries of the sandbox by their real names."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from azure.identity import ClientSecretCredential
from botocore.config import Config
from botocore.exceptions import ClientError
from google.auth.transport.requests import Request as GoogleRequest
from google.oauth2 import service_account

from triplane.sandbox import processes
from triplane.sandbox.runtime import Sandbox

REGISTRY = "000000000000.dkr.ecr.eu-west-1.amazonaws.com"
BACKEND = """
terraform {
  backend "s3" {
    bucket         = "streaming-tfstate"
    key            = "KEY"
    region         = "eu-west-1"
    dynamodb_table = "streaming-tflock"
  }
}
resource "terraform_data" "wait" {
  provisioner "local-exec" { command = "touch started; until [ -e go ]; do sleep 0.1; done" }
}
"""


def session(environ: dict[str, str], **changes: str) -> boto3.Session:
    connection = json.loads(environ["AIRFLOW_CONN_AWS_DEFAULT"]) | changes
    return boto3.Session(connection["login"], connection["password"], region_name="eu-west-1")


def test_state_bucket_and_lock_table_are_there(cloud_env: dict[str, str]) -> None:
    s3 = session(cloud_env).client("s3")
    assert "streaming-tfstate" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_versioning(Bucket="streaming-tfstate")["Status"] == "Enabled"
    table = session(cloud_env).client("dynamodb").describe_table(TableName="streaming-tflock")["Table"]
    assert table["KeySchema"] == [{"AttributeName": "LockID", "KeyType": "HASH"}]


@pytest.mark.parametrize("style", ["virtual", "path"])
def test_objects_by_both_addressing_styles(cloud_env: dict[str, str], style: str) -> None:
    s3 = session(cloud_env).client("s3", config=Config(s3={"addressing_style": style}))
    s3.put_object(Bucket="streaming-tfstate", Key=f"test/a b/{style}?.txt", Body=b"x" * 100_000)
    answer = s3.get_object(Bucket="streaming-tfstate", Key=f"test/a b/{style}?.txt")
    assert answer["Body"].read() == b"x" * 100_000


@pytest.mark.parametrize("service", ["s3", "sts", "ecr"])
def test_wrong_secret_key_is_refused(cloud_env: dict[str, str], service: str) -> None:
    client = session(cloud_env, password="wrong").client(service)
    call = {"s3": "list_buckets", "sts": "get_caller_identity", "ecr": "get_authorization_token"}[service]
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        getattr(client, call)()


def test_request_that_the_api_would_refuse_is_refused(cloud_env: dict[str, str]) -> None:
    client = session(cloud_env).client("lambda", config=Config(parameter_validation=False))
    with pytest.raises(ClientError, match="Missing required parameter"):
        client.create_function(FunctionName="incomplete", Code={})


def test_no_way_out(cloud_env: dict[str, str]) -> None:
    with pytest.raises(OSError, match="502"):
        urllib.request.urlopen("https://example.com/", timeout=20)


@pytest.fixture
def terraform(cloud_env: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts terraform in a directory with an S3 backend; its credentials come from the environment."""
    (tmp_path / "main.tf").write_text(BACKEND.replace("KEY", f"test/{tmp_path.name}-{os.getpid()}.tfstate"))
    connection = json.loads(cloud_env["AIRFLOW_CONN_AWS_DEFAULT"])
    keys = {"AWS_ACCESS_KEY_ID": connection["login"], "AWS_SECRET_ACCESS_KEY": connection["password"]}

    def start(*args: str) -> subprocess.Popen[str]:
        env = {**os.environ, **keys, "TF_IN_AUTOMATION": "1"}
        return subprocess.Popen(
            ["terraform", args[0], "-no-color", "-input=false", *args[1:]], cwd=tmp_path, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    return start


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_terraform_state_and_lock(
    terraform: Callable[..., subprocess.Popen[str]], cloud_env: dict[str, str], tmp_path: Path
) -> None:
    code, output = finish(terraform("init"))
    assert code == 0, output
    first = terraform("apply", "-auto-approve")
    while first.poll() is None and not (tmp_path / "started").exists():
        time.sleep(0.05)
    code, output = finish(terraform("plan"))
    assert code == 1
    assert "Error acquiring the state lock" in output
    (tmp_path / "go").touch()
    code, output = finish(first)
    assert code == 0, output
    key = f"test/{tmp_path.name}-{os.getpid()}.tfstate"
    state = session(cloud_env).client("s3").get_object(Bucket="streaming-tfstate", Key=key)
    assert json.load(state["Body"])["serial"] == 1


@pytest.fixture
def buildah(cloud_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    storage = (
        "--root",
        str(tmp_path / "storage"),
        "--runroot",
        str(tmp_path / "run"),
        "--storage-driver",
        "vfs",
    )

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["buildah", *storage, *args], capture_output=True, text=True, timeout=120)

    yield run
    run("rm", "--all")


def ecr_login(environ: dict[str, str]) -> str:
    data = session(environ).client("ecr").get_authorization_token()["authorizationData"][0]
    return base64.b64decode(data["authorizationToken"]).decode()


def test_base_image_to_ecr(buildah: Callable[..., Any], cloud_env: dict[str, str], sandbox: Sandbox) -> None:
    ecr = session(cloud_env).client("ecr")
    repository = f"test/base-{os.getpid()}"
    ecr.create_repository(repositoryName=repository)
    pulled = buildah("from", "--name", "base", "docker.io/library/busybox:1.36")
    assert pulled.returncode == 0, pulled.stderr
    assert buildah("commit", "base", "base").returncode == 0
    target = f"docker://{REGISTRY}/{repository}:1"

    wrong = buildah("push", "--creds", "AWS:wrong", "base", target)
    assert wrong.returncode != 0
    assert "403" in wrong.stderr
    nowhere = buildah("push", "--creds", ecr_login(cloud_env), "base", f"docker://{REGISTRY}/test/nowhere:1")
    assert "does not exist in the registry" in nowhere.stderr

    pushed = buildah("push", "--creds", ecr_login(cloud_env), "base", target)
    assert pushed.returncode == 0, pushed.stderr
    described = ecr.describe_images(repositoryName=repository)["imageDetails"][0]
    request = urllib.request.Request(
        f"http://127.0.0.1:{sandbox.port('registry-aws')}/v2/{repository}/manifests/1",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["Docker-Content-Digest"] == described["imageDigest"]


def test_docker_hub_cannot_be_written(buildah: Callable[..., Any]) -> None:
    buildah("from", "--name", "base", "docker.io/library/busybox:1.36")
    assert buildah("commit", "base", "base").returncode == 0
    pushed = buildah("push", "base", "docker://docker.io/library/mine:1")
    assert pushed.returncode != 0
    assert "not authorized" in pushed.stderr


def test_presigned_identity(cloud_env: dict[str, str]) -> None:
    """The kind of URL that EKS takes as a token."""
    url = session(cloud_env).client("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
    with urllib.request.urlopen(url, timeout=20) as response:
        assert b"<Account>000000000000</Account>" in response.read()


def azure_registry_login(environ: dict[str, str], host: str) -> str:
    connection = json.loads(environ["AIRFLOW_CONN_AZURE_DEFAULT"])
    tenant = connection["extra"]["tenantId"]
    credential = ClientSecretCredential(tenant, connection["login"], connection["password"])
    token = credential.get_token("https://management.azure.com/.default").token
    form = {"grant_type": "access_token", "service": host, "tenant": tenant, "access_token": token}
    answer = requests.post(f"https://{host}/oauth2/exchange", data=form, timeout=20)
    return f"00000000-0000-0000-0000-000000000000:{answer.json()['refresh_token']}"


def google_registry_login(environ: dict[str, str], host: str) -> str:
    extra = json.loads(environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])["extra"]
    key = extra["keyfile_dict"]
    credentials = service_account.Credentials.from_service_account_info(
        json.loads(key) if isinstance(key, str) else key,
        scopes=["https://www.googleapis.com/auth/cloud-platform"],
    )
    credentials.refresh(GoogleRequest())
    return f"oauth2accesstoken:{credentials.token}"


@pytest.mark.parametrize(
    ("cloud", "host", "repository", "login"),
    [
        ("azure", "streaming.azurecr.io", "test/base", azure_registry_login),
        ("gcp", "europe-west1-docker.pkg.dev", "triplane-sandbox/streaming/base", google_registry_login),
    ],
)
def test_base_image_to_other_registries(
    buildah: Callable[..., Any],
    cloud_env: dict[str, str],
    sandbox: Sandbox,
    cloud: str,
    host: str,
    repository: str,
    login: Callable[[dict[str, str], str], str],
) -> None:
    target = f"docker://{host}/{repository}:1"
    good = login(cloud_env, host)
    buildah("from", "--name", "base", "docker.io/library/busybox:1.36")
    assert buildah("commit", "base", "base").returncode == 0

    wrong = buildah("push", "--creds", f"{good.partition(':')[0]}:wrong", "base", target)
    assert "unauthorized" in wrong.stderr
    assert "unauthorized" in buildah("push", "base", target).stderr
    pushed = buildah("push", "--creds", good, "base", target)
    assert pushed.returncode == 0, pushed.stderr
    url = f"http://127.0.0.1:{sandbox.port(f'registry-{cloud}')}/v2/{repository}/tags/list"
    assert requests.get(url, timeout=10).json()["tags"] == ["1"]


def test_everything_listens_on_loopback_only(sandbox: Sandbox) -> None:
    sandbox_id = json.loads((sandbox.home / "sandbox.json").read_text())["id"]
    sockets = set()
    for process in processes.marked(sandbox_id):
        for descriptor in glob(f"/proc/{process.pid}/fd/*"):
            with suppress(FileNotFoundError):  # closed meanwhile
                sockets.add(os.readlink(descriptor))
    listening = [
        line.split()[1].rpartition(":")[0]
        for family in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in sockets
    ]
    assert len(listening) >= 5
    # 127.0.0.1, ::1 and ::ffff:127.0.0.1, as the kernel writes them on a little-endian processor.
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert set(listening) <= loopback
