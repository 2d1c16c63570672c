"""The image registries: a real one for each cloud and one standing in for Docker Hub.

Clients reach them by their real names through a gate that checks each cloud's own kind of login. The ports
``registry-aws``, ``registry-gcp``, ``registry-azure`` and ``registry-docker-io`` are the registries themselves,
without login, for independent reads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from triplane.sandbox import busybox
from triplane.sandbox.ca import write_private
from triplane.sandbox.runtime import listens
from triplane.sandbox.service import Context, Route, Service

# Registry -> kind of login, host names, and the port name of the API that knows whether a token is valid.
REGISTRIES = {
    "aws": ("ecr", "*.dkr.ecr.*.amazonaws.com", "aws"),
    "gcp": ("artifact_registry", "*-docker.pkg.dev", "gcp-rest"),
    "azure": ("acr", "*.azurecr.io", "azure-arm"),
    "docker-io": ("docker_hub", "registry-1.docker.io", None),
}


class RegistryPart:
    """Debian's docker-registry, once for each cloud, and the gate in front of them."""

    name = "registry"

    def prepare(self, ctx: Context) -> None:
        for name in REGISTRIES:
            _directory(ctx, name).mkdir(parents=True)
            write_private(_directory(ctx, name) / "config.yaml", yaml.safe_dump(_config(ctx, name)).encode())
        settings = {
            "port": ctx.port("registry-gate"),
            "secret": ctx.secret("registry-gate"),
            "registries": [
                {
                    "kind": kind,
                    "host": host,
                    "upstream": f"http://127.0.0.1:{ctx.port(f'registry-{name}')}",
                    "cloud": f"http://127.0.0.1:{ctx.port(cloud)}" if cloud else "",
                }
                for name, (kind, host, cloud) in REGISTRIES.items()
            ],
        }
        write_private(_gate_settings(ctx), json.dumps(settings, indent=1).encode())

    def services(self, ctx: Context) -> list[Service]:
        gate = Service(
            name="registry-gate",
            argv=(sys.executable, "-m", "triplane.sandbox.registry_gate", str(_gate_settings(ctx))),
            ready=lambda: listens(ctx.port("registry-gate")),
        )
        return [*(_registry(ctx, name) for name in REGISTRIES), gate]

    def routes(self, ctx: Context) -> list[Route]:
        gate = ctx.port("registry-gate")
        return [Route(host=host, port=gate) for _, host, _ in REGISTRIES.values()]

    def environ(self, ctx: Context) -> dict[str, str]:
        return {}

    def seed(self, ctx: Context) -> None:
        busybox.publish(f"http://127.0.0.1:{ctx.port('registry-docker-io')}")


def _directory(ctx: Context, name: str) -> Path:
    return ctx.home / "registry" / name


def _gate_settings(ctx: Context) -> Path:
    return ctx.home / "registry" / "gate.json"


def _config(ctx: Context, name: str) -> dict[str, object]:
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(_directory(ctx, name) / "storage")},
            "delete": {"enabled": True},
        },
        # The registry sees plain HTTP; an absolute upload URL would lead clients away from TLS.
        "http": {"addr": f"127.0.0.1:{ctx.port(f'registry-{name}')}", "relativeurls": True},
    }


def _registry(ctx: Context, name: str) -> Service:
    port = ctx.port(f"registry-{name}")
    return Service(
        name=f"registry-{name}",
        argv=("docker-registry", "serve", str(_directory(ctx, name) / "config.yaml")),
        env={"OTEL_TRACES_EXPORTER": "none"},
        ready=lambda: listens(port),
    )


PART = RegistryPart()
