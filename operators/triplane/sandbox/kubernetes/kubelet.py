"""A stand-in for kubelets: nothing runs, but pods become what they would become on a real node.

It registers one node in each cluster. A pod bound to that node becomes Ready when its images are in the
registry of that cluster's cloud, ``ImagePullBackOff`` while they are not, and Succeeded if it is one that
ends by itself (a job's). Its annotations can have it crash or fail its probes (see ``containers.py``).
Usage: ``python -m … CONFIG.json``, where CONFIG is ``[{"kubeconfig": path, "port": the log server's,
"certificate": path, "key": path, "registries": {"<host>": "http://127.0.0.1:<port>"}}, …]``.
"""

from __future__ import annotations

import datetime
import itertools
import json
import logging
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from triplane.sandbox.kubernetes import logs
from triplane.sandbox.kubernetes.api import Api, ApiError, Object
from triplane.sandbox.kubernetes.containers import Pull, events, said, status

NODE = "sandbox"
MANIFESTS = ", ".join(
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)
CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "500"}
log = logging.getLogger("kubelet")


@dataclass(frozen=True)
class Reference:
    """An image reference in its parts; ``version`` is a digest or a tag."""

    host: str
    repository: str
    version: str

    @classmethod
    def parse(cls, image: str) -> Reference:
        """``host/repository[:tag][@digest]``; without a host it is Docker Hub's."""
        name, _, digest = image.partition("@")
        host, slash, rest = name.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, rest = "docker.io", name
        repository, _, tag = rest.partition(":")
        return cls(host, repository, digest or tag or "latest")


@dataclass(frozen=True)
class Registries:
    """The registries that a cluster's nodes may pull from: host name -> loopback URL."""

    urls: Mapping[str, str]

    def pull(self, image: str) -> str | None:
        """The image id ``host/repository@sha256:…`` if the image is there, else None."""
        reference = Reference.parse(image)
        if reference.host not in self.urls:
            return None
        url = f"{self.urls[reference.host]}/v2/{reference.repository}/manifests/{reference.version}"
        request = urllib.request.Request(url, headers={"Accept": MANIFESTS}, method="HEAD")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5) as response:
                digest = response.headers["Docker-Content-Digest"]
        except (urllib.error.URLError, OSError):
            return None
        return f"{reference.host}/{reference.repository}@{digest}"


Step = Literal["ignore", "delete", "report"]


def decide(event: str, pod: Object) -> Step:
    """What a pod's event asks of the kubelet."""
    if event not in ("ADDED", "MODIFIED"):
        return "ignore"
    if pod["metadata"].get("deletionTimestamp"):
        return "delete"
    return "report" if pod["status"].get("phase", "Pending") == "Pending" else "ignore"


@dataclass
class Kubelet:
    """Keeps one cluster's node and its pods."""

    api: Api
    pull: Pull
    log_port: int = 0
    logs: dict[tuple[str, str], str] = field(default_factory=dict)
    waiting: dict[str, Object] = field(default_factory=dict)
    addresses: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Serve until the process ends; whatever goes wrong is tried again."""
        threading.Thread(target=self._retry_pulls, daemon=True).start()
        while True:
            try:
                self._register()
                for event in self.api.watch(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}"):
                    self.handle(event["type"], event["object"])
            except (ApiError, OSError, ValueError) as error:
                log.info("%s: %s", self.api.server, error)
                time.sleep(0.3)

    def handle(self, event: str, pod: Object) -> None:
        """Act on one watch event."""
        step = decide(event, pod)
        with self.lock:
            if step == "report":
                self._report(pod)
            elif event == "DELETED" or step == "delete":
                self.waiting.pop(pod["metadata"]["uid"], None)
                self.logs.pop((pod["metadata"]["namespace"], pod["metadata"]["name"]), None)
        if step == "delete":
            uid = {"uid": pod["metadata"]["uid"]}
            self.api.delete(_path(pod), {"gracePeriodSeconds": 0, "preconditions": uid})

    def _report(self, pod: Object) -> None:
        """Write a pod's status; one without its images is kept for another try."""
        number = next(self.addresses)
        observed = status(pod, self.pull, f"10.1.{number // 250 % 250}.{number % 250 + 1}", _now())
        uid = pod["metadata"]["uid"]
        if observed["phase"] == "Pending":
            first = uid not in self.waiting
            self.waiting[uid] = pod
            if not first:
                return
        else:
            self.waiting.pop(uid, None)
            self.logs[pod["metadata"]["namespace"], pod["metadata"]["name"]] = said(pod)
        self.api.patch(f"{_path(pod)}/status", {"metadata": {"uid": uid}, "status": observed})
        for event in events(pod, observed, _now()):
            self.api.create(f"/api/v1/namespaces/{pod['metadata']['namespace']}/events", event)
        log.info("%s %s: %s", self.api.server, _path(pod), observed["phase"])

    def _retry_pulls(self) -> None:
        while True:
            time.sleep(2)
            with self.lock:
                for pod in list(self.waiting.values()):
                    try:
                        self._report(pod)
                    except (ApiError, OSError) as error:
                        log.info("%s: %s", _path(pod), error)

    def _register(self) -> None:
        labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        self.api.create("/api/v1/nodes", {"metadata": {"name": NODE, "labels": labels}})
        now = _now()
        ready = {"type": "Ready", "status": "True", "reason": "Sandbox", "message": "a stand-in node"}
        times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
        node: dict[str, Any] = {
            "capacity": CAPACITY,
            "allocatable": CAPACITY,
            "conditions": [ready | times],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.log_port}},
        }
        self.api.patch(f"/api/v1/nodes/{NODE}/status", {"status": node})


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main(config: Path) -> None:
    """Serve every cluster of the configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    threads = []
    for entry in json.loads(config.read_text()):
        api, pull = Api.of(Path(entry["kubeconfig"])), Registries(entry["registries"]).pull
        kubelet = Kubelet(api, pull, entry["port"])
        threads.append(threading.Thread(target=kubelet.run))
        logs.serve(entry["port"], Path(entry["certificate"]), Path(entry["key"]), kubelet.logs)
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
