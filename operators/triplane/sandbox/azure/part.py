"""Azure in the sandbox: Resource Manager, the directory, function apps, and Blob Storage by Azurite."""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path

from triplane.sandbox.azure import contract
from triplane.sandbox.azure.world import TASKS_ACCOUNT, Settings
from triplane.sandbox.service import Context, Route, Service

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-00000000000a"
CLIENT = "00000000-0000-0000-0000-0000000000c1"
LOCATION = "westeurope"
GROUP = "streaming"
STATE_ACCOUNT = "streamingtfstate"
STATE_CONTAINER = "tfstate"
REGISTRY = "streaming"
ARM_HOSTS = (
    *("management.azure.com", "login.microsoftonline.com", "login.windows.net"),
    *("*.azurewebsites.net", "*.azurecontainerapps.io", "*.vault.azure.net"),
)
BLOB_HOSTS = "*.blob.core.windows.net"


class Azure:
    """The part. Its port ``azure-arm`` serves ``/_sandbox/tokeninfo?access_token=`` to other parts."""

    name = "azure"

    def prepare(self, ctx: Context) -> None:
        home = ctx.home / "azure"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "blob").mkdir(exist_ok=True)
        settings = Settings(
            port=ctx.port("azure-arm"),
            home=str(home),
            contract=str(_contract(ctx.cache)),
            subscription=SUBSCRIPTION,
            tenant=TENANT,
            client_id=CLIENT,
            client_secret=ctx.secret("azure-client-secret"),
            key=ctx.secret("azure-key"),
            state_account=STATE_ACCOUNT,
            state_key=_state_key(ctx),
            tasks_key=_tasks_key(ctx),
            blobs=f"http://127.0.0.1:{ctx.port('azure-blob')}",
            gate=f"http://127.0.0.1:{ctx.port('registry-gate')}",
            registry=f"http://127.0.0.1:{ctx.port('registry-azure')}",
            proxy=ctx.proxy_url,
            ca=str(ctx.ca_file),
        )
        _write_private(home / "settings.json", json.dumps(asdict(settings)))

    def services(self, ctx: Context) -> list[Service]:
        arm, blob = ctx.port("azure-arm"), ctx.port("azure-blob")
        server = (
            sys.executable,
            "-m",
            "triplane.sandbox.azure.server",
            str(ctx.home / "azure/settings.json"),
        )
        azurite = (
            str(ctx.cache / "npm/node_modules/.bin/azurite-blob"),
            "--blobHost", "127.0.0.1", "--blobPort", str(blob),
            "--location", str(ctx.home / "azure" / "blob"),
            "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        )  # fmt: skip
        return [
            Service(
                name="azure-arm",
                argv=server,
                ready=lambda: _answers(f"http://127.0.0.1:{arm}/_sandbox/ready"),
            ),
            Service(
                name="azure-blob",
                argv=azurite,
                env={
                    "AZURITE_ACCOUNTS": f"{STATE_ACCOUNT}:{_state_key(ctx)};{TASKS_ACCOUNT}:{_tasks_key(ctx)}"
                },
                ready=lambda: _listens(blob),
            ),
        ]

    def routes(self, ctx: Context) -> list[Route]:
        arm = [Route(host=host, port=ctx.port("azure-arm")) for host in ARM_HOSTS]
        return [*arm, Route(host=BLOB_HOSTS, port=ctx.port("azure-blob"))]

    def environ(self, ctx: Context) -> dict[str, str]:
        connection = {
            "conn_type": "azure",
            "login": CLIENT,
            "password": ctx.secret("azure-client-secret"),
            "extra": {"tenantId": TENANT, "subscriptionId": SUBSCRIPTION, "use_azure_identity_object": True},
        }
        return {"AIRFLOW_CONN_AZURE_DEFAULT": json.dumps(connection)}

    def seed(self, ctx: Context) -> None:
        """What a customer's subscription holds before the first deployment."""
        from triplane.sandbox.azure.seed import seed

        seed(ctx)


def _contract(cache: Path) -> Path:
    """The contract of the installed SDKs, made once and kept in the cache."""
    file = cache / "azure" / f"contract-{contract.fingerprint()}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(contract.build()))
        scratch.replace(file)
    return file


def _state_key(ctx: Context) -> str:
    return base64.b64encode(bytes.fromhex(ctx.secret("azure-state-key"))).decode()


def _tasks_key(ctx: Context) -> str:
    return base64.b64encode(bytes.fromhex(ctx.secret("azure-tasks-key"))).decode()


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _answers(url: str) -> bool:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
        return bool(answer.status == 200)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


PART = Azure()
