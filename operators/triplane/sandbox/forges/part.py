"""GitHub, GitLab and Azure DevOps as a part of the sandbox."""

from __future__ import annotations

import json
import sys
import urllib.request

from triplane.sandbox.ca import write_private
from triplane.sandbox.forges.github import LOGS_HOST
from triplane.sandbox.service import Context, Route, Service

HOSTS = ("api.github.com", LOGS_HOST, "gitlab.com", "dev.azure.com")
CONNECTIONS = {"github_default": "github", "gitlab_default": "gitlab", "azure_devops_default": "devops"}


class ForgesPart:
    """One small server. Its port is ``forges``."""

    name = "forges"

    def prepare(self, ctx: Context) -> None:
        directory = ctx.home / "forges"
        directory.mkdir(mode=0o700, exist_ok=True)
        tokens = {name: ctx.secret(f"forges-{name}") for name in CONNECTIONS.values()}
        settings = {
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
        return {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(
                {"conn_type": "http", "password": ctx.secret(f"forges-{name}")}
            )
            for conn_id, name in CONNECTIONS.items()
        }

    def seed(self, ctx: Context) -> None:
        """Its repositories and pipelines are there from the beginning."""


def _answers(url: str) -> bool:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
        return bool(answer.status == 200)


PART = ForgesPart()
