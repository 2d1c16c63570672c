"""One sandboxed cluster: its files, and the command lines of its control plane."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from triplane.core.process import Command, run, tool_env, write_private
from triplane.sandbox.kubernetes.pki import KeyPair, issue, new_authority
from triplane.sandbox.service import Context

CLOUDS = ("aws", "gcp", "azure")
DEPLOYERS = "triplane:deployers"
CONTROLLERS = (
    *("deployment", "replicaset", "statefulset", "daemonset", "job", "cronjob", "horizontalpodautoscaling"),
    *("endpoint", "endpointslice", "namespace", "garbagecollector", "podgc", "disruption"),
    *("serviceaccount", "serviceaccount-token", "root-ca-cert-publisher"),
    *("resourcequota", "persistentvolume-binder"),
)


@dataclass(frozen=True)
class Cluster:
    """The cluster that stands for ``cloud``'s managed Kubernetes."""

    cloud: str
    folder: Path
    port: int

    @classmethod
    def of(cls, ctx: Context, cloud: str) -> Cluster:
        """The cluster of ``cloud`` in this sandbox."""
        return cls(cloud, ctx.home / "kubernetes" / cloud, ctx.port(f"kubernetes-{cloud}"))

    @property
    def server(self) -> str:
        """Where the API server listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def given(self) -> Path:
        """The kubeconfig of a cluster that is used instead of one of the sandbox's own, if it exists."""
        return self.folder / "given.kubeconfig"

    @property
    def admin_kubeconfig(self) -> Path:
        """For reads that go round the clouds' credentials."""
        return self.folder / "admin.kubeconfig"

    def prepare(self, webhook_port: int) -> None:
        """Make keys, certificates and kubeconfigs once; later calls leave them as they are."""
        if self.admin_kubeconfig.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = new_authority(f"triplane sandbox {self.cloud}")
        authority.write(self.folder, "ca")
        issue(authority, "kube-apiserver", server=True).write(self.folder, "apiserver")
        issue(authority, "system:node:sandbox", server=True).write(self.folder, "kubelet-server")
        issue(authority, "service-accounts").write(self.folder, "service-accounts")
        users = {
            "controller-manager": issue(authority, "sandbox-controllers", group="system:masters"),
            "scheduler": issue(authority, "system:kube-scheduler"),
            "kubelet": issue(authority, "sandbox-kubelet", group="system:masters"),
            "user": issue(authority, "clusterUser_streaming_streaming", group=DEPLOYERS),
            "admin": issue(authority, "sandbox-admin", group="system:masters"),
        }
        webhook = {"cluster": {"server": f"http://127.0.0.1:{webhook_port}/{self.cloud}"}}
        self._write_kubeconfig("webhook", webhook, {})
        data = base64.b64encode(authority.certificate).decode()
        write_private(
            self.folder / "endpoint.json",
            json.dumps({"server": self.server, "ca": data, "name": "streaming"}),
        )
        for name, pair in users.items():
            cluster = {"cluster": {"server": self.server, "certificate-authority-data": data}}
            self._write_kubeconfig(name, cluster, _certificate_user(pair))

    def use(self, kubeconfig: Path) -> None:
        """Put another cluster behind this one's address: the current context of ``kubeconfig``."""
        command = ("kubectl", "config", "view", "--raw", "--minify", "--flatten", "--output", "json")
        shown = run(Command(argv=command, env=tool_env(KUBECONFIG=str(kubeconfig.expanduser()))))
        for path in (self.given, self.admin_kubeconfig):
            write_private(path, shown.stdout)

    def apiserver(self, binary: Path, etcd_port: int) -> tuple[str, ...]:
        """Command line of the API server."""
        return (
            str(binary),
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            f"--etcd-prefix=/{self.cloud}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.folder / 'apiserver.crt'}",
            f"--tls-private-key-file={self.folder / 'apiserver.key'}",
            f"--client-ca-file={self.folder / 'ca.crt'}",
            f"--authentication-token-webhook-config-file={self.folder / 'webhook.kubeconfig'}",
            "--authentication-token-webhook-version=v1",
            "--authentication-token-webhook-cache-ttl=30s",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=TaintNodesByCondition",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.folder / 'service-accounts.key'}",
            f"--service-account-key-file={self.folder / 'service-accounts.crt'}",
            "--endpoint-reconciler-type=none",
            "--feature-gates=APIPriorityAndFairness=false",
            "--profiling=false",
            "--allow-privileged=true",
        )

    def controller_manager(self, binary: Path) -> tuple[str, ...]:
        """Command line of the controllers that deployments need."""
        return (
            str(binary),
            f"--kubeconfig={self.folder / 'controller-manager.kubeconfig'}",
            *("--port=0", "--secure-port=0", "--leader-elect=false", "--profiling=false"),
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={self.folder / 'service-accounts.key'}",
            f"--root-ca-file={self.folder / 'ca.crt'}",
        )

    def scheduler(self, binary: Path) -> tuple[str, ...]:
        """Command line of the scheduler."""
        return (
            str(binary),
            f"--kubeconfig={self.folder / 'scheduler.kubeconfig'}",
            *("--port=0", "--secure-port=0", "--leader-elect=false", "--profiling=false"),
        )

    def _write_kubeconfig(self, name: str, cluster: dict[str, Any], user: dict[str, Any]) -> None:
        write_private(self.folder / f"{name}.kubeconfig", yaml.safe_dump(kubeconfig(cluster, user)))


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """A kubeconfig of one cluster, one user and one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "streaming", **cluster}],
        "users": [{"name": "streaming", "user": user}],
        "contexts": [{"name": "streaming", "context": {"cluster": "streaming", "user": "streaming"}}],
        "current-context": "streaming",
    }


def _certificate_user(pair: KeyPair) -> dict[str, Any]:
    return {
        "client-certificate-data": base64.b64encode(pair.certificate).decode(),
        "client-key-data": base64.b64encode(pair.key).decode(),
    }
