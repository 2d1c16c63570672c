"""Google Cloud as a part of the sandbox."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from triplane.sandbox.ca import write_private
from triplane.sandbox.gcp.oauth import TOKEN_URI
from triplane.sandbox.gcp.state import PROJECT, REGION
from triplane.sandbox.service import Context, Route, Service

EMAIL = f"triplane@{PROJECT}.iam.gserviceaccount.com"
BUCKET = "streaming-tfstate"
BUILD_BUCKET = f"{PROJECT}_cloudbuild"
REPOSITORY = "streaming"
DELIVERY = "streaming"
"""A delivery pipeline of Cloud Deploy and its only target."""


class GooglePart:
    """REST and gRPC control plane, OAuth, and Cloud Storage."""

    name = "gcp"

    def prepare(self, ctx: Context) -> None:
        directory = ctx.home / "gcp"
        directory.mkdir(mode=0o700, exist_ok=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        account = service_account(key, ctx.secret("gcp-key-id")[:40])
        write_private(directory / "service-account.json", json.dumps(account).encode())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        config = {
            "rest": ctx.port("gcp-rest"),
            "grpc": ctx.port("gcp-grpc"),
            "home": str(ctx.home),
            "email": EMAIL,
            "public_key": public.decode(),
            "registry": f"http://127.0.0.1:{ctx.port('registry-gcp')}",
            "proxy": ctx.proxy_url,
            "ca": str(ctx.ca_file),
            "storage": f"http://127.0.0.1:{ctx.port('gcp-storage')}",
        }
        write_private(directory / "config.json", json.dumps(config).encode())

    def services(self, ctx: Context) -> list[Service]:
        rest, storage = ctx.port("gcp-rest"), ctx.port("gcp-storage")
        config = str(ctx.home / "gcp" / "config.json")
        return [
            Service(
                name="gcp-rest",
                argv=(sys.executable, "-m", "triplane.sandbox.gcp.server", config),
                ready=lambda: _answers(f"http://127.0.0.1:{rest}/_sandbox/ready"),
            ),
            Service(
                name="gcp-storage",
                argv=(
                    str(ctx.cache / "bin" / "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1",
                    "-port", str(storage), "-backend", "memory",
                    "-external-url", "https://storage.googleapis.com", "-log-level", "warn",
                    "-location", REGION.upper(),
                ),
                ready=lambda: _answers(f"http://127.0.0.1:{storage}/storage/v1/b"),
            ),
        ]  # fmt: skip

    def routes(self, ctx: Context) -> list[Route]:
        rest, grpc = ctx.port("gcp-rest"), ctx.port("gcp-grpc")
        apis = ("run", "*-run", "run.*.rep", "container", "artifactregistry", "cloudbuild")
        others = (
            "clouddeploy",
            "cloudfunctions",
            "logging",
            "monitoring",
            "oslogin",
            "pubsub",
            "cloudscheduler",
            "secretmanager",
            "compute",
            "sqladmin",
            "iam",
            "iamcredentials",
            "storage",
            "oauth2",
        )
        return [
            *(Route(host=f"{api}.googleapis.com", port=rest, grpc_port=grpc) for api in apis),
            *(Route(host=f"{api}.googleapis.com", port=rest) for api in others),
            Route(host="*.a.run.app", port=rest),
        ]

    def environ(self, ctx: Context) -> dict[str, str]:
        account = (ctx.home / "gcp" / "service-account.json").read_text()
        # What gcsfs needs, for an artifact store on gs://, to come in here and to ask for no zonal buckets.
        through = {"gcs.session-kwargs": {"trust_env": True}}
        extra = {"project": PROJECT, "keyfile_dict": account, **through}
        connection = {"conn_type": "google_cloud_platform", "extra": extra}
        return {
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def seed(self, ctx: Context) -> None:
        """The buckets of Terraform's state and of builds, and the repository of the images, as a customer would make them."""
        account = json.loads((ctx.home / "gcp" / "service-account.json").read_text())
        rest = f"http://127.0.0.1:{ctx.port('gcp-rest')}"
        token = _access_token(rest, account)
        bucket = {"name": BUCKET, "location": REGION.upper(), "versioning": {"enabled": True}}
        _post(rest, "storage.googleapis.com", f"/storage/v1/b?project={PROJECT}", bucket, token)
        builds = {"name": BUILD_BUCKET, "location": REGION.upper()}
        _post(rest, "storage.googleapis.com", f"/storage/v1/b?project={PROJECT}", builds, token)
        parent = f"/v1/projects/{PROJECT}/locations/{REGION}"
        path = f"{parent}/repositories?repositoryId={REPOSITORY}"
        _post(rest, "artifactregistry.googleapis.com", path, {"format": "DOCKER"}, token)
        cluster = f"projects/{PROJECT}/locations/{REGION}/clusters/streaming"
        target = {"gke": {"cluster": cluster}}
        _make(rest, "clouddeploy.googleapis.com", f"{parent}/targets?targetId={DELIVERY}", target, token)
        delivery = {"serialPipeline": {"stages": [{"targetId": DELIVERY}]}}
        path = f"{parent}/deliveryPipelines?deliveryPipelineId={DELIVERY}"
        _make(rest, "clouddeploy.googleapis.com", path, delivery, token)


PART = GooglePart()


def service_account(key: rsa.RSAPrivateKey, key_id: str) -> dict[str, str]:
    """The JSON of a service account key, as the console gives it out."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": key_id,
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": TOKEN_URI,
        "universe_domain": "googleapis.com",
    }


def _access_token(rest: str, account: dict[str, str]) -> str:
    """An access token by the account's signed assertion."""
    from google.oauth2 import service_account as accounts

    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = accounts.Credentials.from_service_account_info(account, scopes=scopes)
    assertion = credentials._make_authorization_grant_assertion().decode()
    form = f"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
    headers = {"Host": "oauth2.googleapis.com", "Content-Type": "application/x-www-form-urlencoded"}
    answer = _send(urllib.request.Request(f"{rest}/token", form.encode(), headers))
    return str(answer["access_token"])


def _post(rest: str, host: str, path: str, body: dict[str, Any], token: str) -> dict[str, Any]:
    headers = {"Host": host, "Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return _send(urllib.request.Request(f"{rest}{path}", json.dumps(body).encode(), headers))


def _make(rest: str, host: str, path: str, body: dict[str, Any], token: str) -> None:
    """The same, until the operation that it begins has ended."""
    operation = _post(rest, host, path, body, token)
    headers = {"Host": host, "Authorization": f"Bearer {token}"}
    while not operation.get("done"):
        time.sleep(0.1)
        operation = _send(urllib.request.Request(f"{rest}/v1/{operation['name']}", headers=headers))


def _send(request: urllib.request.Request) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        answer: dict[str, Any] = json.loads(response.read() or b"{}")
    return answer


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as response:
        return bool(response.status == 200)
