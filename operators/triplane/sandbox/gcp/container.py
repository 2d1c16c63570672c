"""Google Kubernetes Engine: clusters whose endpoint is the sandbox's real API server for Google Cloud."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import Body, Call, Handler, State, etag

ROOT = "https://container.googleapis.com/v1"
PREFIX = "container.projects.locations"
# Field of ClusterUpdate -> path in Cluster; what is not here is answered with 501 rather than forgotten.
UPDATES = {
    "desiredReleaseChannel": ("releaseChannel",),
    "desiredLoggingService": ("loggingService",),
    "desiredMonitoringService": ("monitoringService",),
    "desiredMasterVersion": ("currentMasterVersion",),
    "desiredWorkloadIdentityConfig": ("workloadIdentityConfig",),
    "desiredMasterAuthorizedNetworksConfig": ("masterAuthorizedNetworksConfig",),
    "desiredAddonsConfig": ("addonsConfig",),
}


class Container:
    def __init__(self, state: State) -> None:
        self._state = state

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.clusters.create": self.create,
            f"{PREFIX}.clusters.get": lambda call: self._show(self._state.get(call.params["name"])),
            f"{PREFIX}.clusters.list": self.list,
            f"{PREFIX}.clusters.update": self.update,
            f"{PREFIX}.clusters.setResourceLabels": self.set_labels,
            f"{PREFIX}.clusters.delete": self.delete,
            f"{PREFIX}.operations.get": lambda call: self._state.operations.get(call.params["name"]),
            f"{PREFIX}.operations.list": lambda call: {
                "operations": self._state.operations.below(call.params["parent"])
            },
        }

    def create(self, call: Call) -> Body:
        wanted = call.body.get("cluster", {})
        name = wanted.get("name", "")
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
            raise invalid("cluster.name", f"Invalid value for field \"cluster.name\": '{name}'.")
        autopilot = wanted.get("autopilot", {}).get("enabled")
        if not (autopilot or wanted.get("initialNodeCount") or wanted.get("nodePools")):
            raise invalid(
                "cluster.initial_node_count", "Cluster.initial_node_count must be greater than zero."
            )
        full = f"{call.params['parent']}/clusters/{name}"
        self._state.require_absent(full)
        self._state.resources[full] = _cluster(full, wanted)

        def finish() -> Body:
            live = self._state.live(full)
            live["status"] = "RUNNING"
            return live

        return self._start("CREATE_CLUSTER", full, finish)

    def list(self, call: Call) -> Body:
        clusters = self._state.below(f"{call.params['parent']}/clusters")
        return {"clusters": [self._show(cluster) for cluster in clusters]}

    def update(self, call: Call) -> Body:
        full = call.params["name"]
        self._state.live(full)
        changes = call.body.get("update", {})
        if unknown := sorted(set(changes) - set(UPDATES)):
            raise ApiError(501, f"the sandbox cannot update {', '.join(unknown)} of a cluster")

        def finish() -> Body:
            live = self._state.live(full)
            live.update({UPDATES[key][0]: value for key, value in changes.items()})
            return live

        return self._start("UPDATE_CLUSTER", full, finish)

    def set_labels(self, call: Call) -> Body:
        full = call.params["name"]
        live = self._state.live(full)
        if call.body.get("labelFingerprint") != live["labelFingerprint"]:
            raise ApiError(412, "Labels could not be set due to fingerprint mismatch.")

        def finish() -> Body:
            live = self._state.live(full)
            live["resourceLabels"] = call.body.get("resourceLabels", {})
            live["labelFingerprint"] = _label_fingerprint(live)
            return live

        return self._start("UPDATE_CLUSTER", full, finish)

    def delete(self, call: Call) -> Body:
        full = call.params["name"]
        live = self._state.live(full)
        live["status"] = "STOPPING"
        return self._start("DELETE_CLUSTER", full, lambda: self._state.remove(full))

    def _show(self, cluster: Body) -> Body:
        """The cluster with the address of the API server, once the cluster runs."""
        file = self._state.home / "kubernetes" / "gcp" / "endpoint.json"
        if cluster["status"] == "RUNNING" and file.exists():
            server = json.loads(file.read_text())
            cluster["endpoint"] = server["server"].removeprefix("https://")
            cluster["masterAuth"] = {"clusterCaCertificate": server["ca"]}
        return cluster

    def _start(self, verb: str, full: str, finish: Callable[[], Body]) -> Body:
        return self._state.operations.start(full.rpartition("/clusters/")[0], "container", verb, full, finish)


def _cluster(full: str, wanted: Body) -> Body:
    location = full.split("/")[3]
    version = "1.33.5-gke.1162000"
    body = {
        "network": "default",
        "subnetwork": "default",
        "loggingService": "logging.googleapis.com/kubernetes",
        "monitoringService": "monitoring.googleapis.com/kubernetes",
        "releaseChannel": {"channel": "REGULAR"},
        "databaseEncryption": {"state": "DECRYPTED"},
        **wanted,
        "id": uuid.uuid4().hex,
        "selfLink": f"{ROOT}/{full}",
        "location": location,
        "zone": location,
        "status": "PROVISIONING",
        "createTime": timestamp(),
        "currentMasterVersion": wanted.get("initialClusterVersion") or version,
        "servicesIpv4Cidr": "34.118.224.0/20",
        "clusterIpv4Cidr": wanted.get("clusterIpv4Cidr") or "10.56.0.0/14",
    }
    if not wanted.get("nodePools"):
        count = wanted.get("initialNodeCount") or 1
        body["nodePools"] = [{"name": "default-pool", "initialNodeCount": count, "status": "RUNNING"}]
    return {**body, "labelFingerprint": _label_fingerprint(body)}


def _label_fingerprint(body: Body) -> str:
    return etag(body.get("resourceLabels", {})).strip('"')[:8]
