"""GitHub, GitLab and Azure DevOps as a part of the sandbox."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from triplane.sandbox.ca import write_private
from triplane.sandbox.forges.git import make_repository
from triplane.sandbox.forges.github import LOGS_HOST
from triplane.sandbox.forges.tokens import APP
from triplane.sandbox.service import Context, Route, Service

HOSTS = ("api.github.com", "github.com", LOGS_HOST, "gitlab.com", "dev.azure.com")
REPOSITORIES = (("github.com", "acme/shop"), ("gitlab.com", "acme/shop"))
CONNECTIONS = {"github_default": "github", "gitlab_default": "gitlab", "azure_devops_default": "devops"}


class ForgesPart:
    """One small server. Its port is ``forges``."""

    name = "forges"

    def prepare(self, ctx: Context) -> None:
        directory = ctx.home / "forges"
        directory.mkdir(mode=0o700, exist_ok=True)
        tokens = {name: ctx.secret(f"forges-{name}") for name in CONNECTIONS.values()}
        private, public = rsa_pair()
        write_private(directory / "app.pem", private.encode())
        for host, repository in REPOSITORIES:
            make_repository(git_root(ctx.home) / host, repository)
        settings = {
            "app": public,
            "git": str(git_root(ctx.home)),
            "port": ctx.port("forges"),
            "azure": f"http://127.0.0.1:{ctx.port('azure-arm')}",
            **tokens,
        }
        write_private(directory / "settings.json", json.dumps(settings).encode())

    def services(self, ctx: Context) -> list[Service]:
        settings, port = str(ctx.home / "forges" / "settings.json"), ctx.port("forges")
        return [
            Service(
                name="forges",
                argv=(sys.executable, "-m", "triplane.sandbox.forges.server", settings),
                ready=lambda: _answers(f"http://127.0.0.1:{port}/_sandbox/ready"),
            )
        ]

    def routes(self, ctx: Context) -> list[Route]:
        return [Route(host=host, port=ctx.port("forges")) for host in HOSTS]

    def environ(self, ctx: Context) -> dict[str, str]:
        given: dict[str, dict[str, object]] = {
            conn_id: {"password": ctx.secret(f"forges-{name}")} for conn_id, name in CONNECTIONS.items()
        }
        app: dict[str, object] = {
            "password": (ctx.home / "forges" / "app.pem").read_text(),
            "extra": {"app_id": APP},
        }
        return {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps({"conn_type": "http", **fields})
            for conn_id, fields in {**given, "github_app": app}.items()
        }

    def seed(self, ctx: Context) -> None:
        """Its repositories and pipelines are there from the beginning."""


def git_root(home: Path) -> Path:
    """Where the repositories of the sandbox at ``home`` are: ``<host>/<owner>/<name>.git``, to push into."""
    return home / "forges" / "git"


def rsa_pair() -> tuple[str, str]:
    """A private key and its public key, both PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def _answers(url: str) -> bool:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
        return bool(answer.status == 200)


PART = ForgesPart()
