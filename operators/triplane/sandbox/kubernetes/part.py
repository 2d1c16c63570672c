"""The sandbox part: one etcd, and for each cloud an API server, controllers and a scheduler."""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triplane.core.process import write_private
from triplane.sandbox import parts
from triplane.sandbox.kubernetes.access import deployer_rbac
from triplane.sandbox.kubernetes.after import answers
from triplane.sandbox.kubernetes.api import Api
from triplane.sandbox.kubernetes.cluster import CLOUDS, Cluster
from triplane.sandbox.service import Context, Part, Route, Service

REGISTRY_HOSTS = {
    "aws": "000000000000.dkr.ecr.eu-west-1.amazonaws.com",
    "gcp": "europe-west1-docker.pkg.dev",
    "azure": "streaming.azurecr.io",
}


class Kubernetes:
    """Real API servers, real schedulers and controllers; only the kubelets are a stand-in.

    ``TRIPLANE_KUBECONFIG_<CLOUD>`` names the kubeconfig of a cluster (kind, k3d, …) to use for that cloud
    instead; a front that knows the cloud's credentials stands before it.
    """

    name = "kubernetes"

    def prepare(self, ctx: Context) -> None:
        """Keys, certificates, kubeconfigs, and the configuration of webhook and kubelet."""
        folder = ctx.home / "kubernetes"
        folder.mkdir(exist_ok=True, mode=0o700)
        for cluster in _clusters(ctx):
            cluster.prepare(ctx.port("kubernetes-webhook"))
            if given := os.environ.get(f"TRIPLANE_KUBECONFIG_{cluster.cloud.upper()}"):
                cluster.use(Path(given))
        kubelets = [
            {
                "kubeconfig": str(cluster.folder / "kubelet.kubeconfig"),
                "port": ctx.port(f"kubernetes-{cluster.cloud}-kubelet"),
                "certificate": str(cluster.folder / "kubelet-server.crt"),
                "key": str(cluster.folder / "kubelet-server.key"),
                "registries": {
                    REGISTRY_HOSTS[cluster.cloud]: f"http://127.0.0.1:{ctx.port(f'registry-{cluster.cloud}')}"
                },
            }
            for cluster in _own(ctx)
        ]
        write_private(folder / "kubelet.json", json.dumps(kubelets))

    def services(self, ctx: Context) -> list[Service]:
        """etcd, the control planes, one kubelet and one token webhook."""
        folder = ctx.home / "kubernetes"
        write_private(folder / "webhook.json", json.dumps(_webhook(ctx)))
        clusters = _own(ctx)
        python = (sys.executable, "-m")
        here = __package__
        services = [_etcd(ctx)] if clusters else []
        for cluster in clusters:
            services += _control_plane(ctx, cluster)
        services += [_front(ctx, cluster) for cluster in _clusters(ctx) if cluster.given.exists()]
        services.append(
            Service(
                name="kubernetes-webhook",
                argv=(*python, f"{here}.webhook", str(folder / "webhook.json")),
                ready=_http(f"http://127.0.0.1:{ctx.port('kubernetes-webhook')}/"),
            )
        )
        return [*services, _kubelet(folder, clusters)] if clusters else services

    def routes(self, ctx: Context) -> list[Route]:
        """None: the API servers are reached at their own addresses, with their own authorities."""
        return []

    def environ(self, ctx: Context) -> dict[str, str]:
        """Nothing: credentials come from the clouds."""
        return {}

    def seed(self, ctx: Context) -> None:
        """Let the clouds' deployer identities deploy, and do nothing else."""
        for cluster in _clusters(ctx):
            api = Api.of(cluster.admin_kubeconfig)
            for path, body in deployer_rbac():
                api.create(path, body)


def _clusters(ctx: Context) -> list[Cluster]:
    return [Cluster.of(ctx, cloud) for cloud in CLOUDS]


def _own(ctx: Context) -> list[Cluster]:
    """The clusters that the sandbox runs itself."""
    return [cluster for cluster in _clusters(ctx) if not cluster.given.exists()]


def _etcd(ctx: Context) -> Service:
    client = f"http://127.0.0.1:{ctx.port('kubernetes-etcd')}"
    peer = f"http://127.0.0.1:{ctx.port('kubernetes-etcd-peer')}"
    return Service(
        name="kubernetes-etcd",
        argv=(
            *("etcd", "--data-dir", str(ctx.home / "kubernetes" / "etcd")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}", "--unsafe-no-fsync", "--log-level", "warn"),
        ),
        ready=_http(f"{client}/health"),
    )


def _control_plane(ctx: Context, cluster: Cluster) -> list[Service]:
    tools = ctx.cache / "bin"
    ca_file = cluster.folder / "ca.crt"
    wait = (
        sys.executable,
        str(Path(__file__).with_name("after.py")),
        str(ca_file),
        f"{cluster.server}/readyz",
    )

    def ready() -> bool:
        return answers(f"{cluster.server}/readyz", ca_file)

    return [
        Service(
            name=f"kubernetes-{cluster.cloud}-apiserver",
            argv=cluster.apiserver(tools / "kube-apiserver", ctx.port("kubernetes-etcd")),
            ready=ready,
        ),
        Service(
            name=f"kubernetes-{cluster.cloud}-controllers",
            argv=(*wait, *cluster.controller_manager(tools / "kube-controller-manager")),
            ready=ready,
        ),
        Service(
            name=f"kubernetes-{cluster.cloud}-scheduler",
            argv=(*wait, *cluster.scheduler(tools / "kube-scheduler")),
            ready=ready,
        ),
    ]


def _kubelet(folder: Path, clusters: list[Cluster]) -> Service:
    return Service(
        name="kubernetes-kubelet",
        argv=(sys.executable, "-m", f"{__package__}.kubelet", str(folder / "kubelet.json")),
        ready=lambda: all(_has_node(cluster) for cluster in clusters),
    )


def _front(ctx: Context, cluster: Cluster) -> Service:
    return Service(
        name=f"kubernetes-{cluster.cloud}-front",
        argv=(
            *(sys.executable, "-m", f"{__package__}.front", str(cluster.folder), str(cluster.port)),
            f"http://127.0.0.1:{ctx.port('kubernetes-webhook')}/{cluster.cloud}",
        ),
        ready=lambda: answers(f"{cluster.server}/readyz", cluster.folder / "ca.crt"),
    )


def _webhook(ctx: Context) -> dict[str, Any]:
    return {
        "port": ctx.port("kubernetes-webhook"),
        "aws": {
            "access_keys": _access_keys(ctx),
            "clusters": f"http://127.0.0.1:{ctx.port('aws')}/_sandbox/eks",
        },
        "gcp": {"tokeninfo": f"http://127.0.0.1:{ctx.port('gcp-rest')}/_sandbox/tokeninfo"},
    }


def _http(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    return ready


def _has_node(cluster: Cluster) -> bool:
    try:
        return bool(Api.of(cluster.admin_kubeconfig).get("/api/v1/nodes")["items"])
    except Exception:
        return False


def _access_keys(ctx: Context) -> dict[str, str]:
    """Access key -> secret key, of the AWS connection that the sandbox hands out."""
    keys = {}
    for part in parts.load(["aws"]):
        text = part.environ(ctx).get("AIRFLOW_CONN_AWS_DEFAULT", "")
        if text.startswith("{"):
            connection = json.loads(text)
            keys[connection["login"]] = connection["password"]
        elif url := urllib.parse.urlsplit(text):
            keys[urllib.parse.unquote(url.username or "")] = urllib.parse.unquote(url.password or "")
    return keys


PART: Part = Kubernetes()
