"""What really serves: read from the cluster with kubectl, independently of what Helm believes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triplane.core.errors import TerminalError
from triplane.core.process import Command, run, tool_env

KINDS = "deployments,statefulsets,daemonsets,replicasets,pods"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
RELEASE = "meta.helm.sh/release-name"
Object = Mapping[str, Any]


def get_args(namespace: str) -> tuple[str, ...]:
    """``kubectl get`` of all that runs in a namespace."""
    return ("get", KINDS, "--namespace", namespace, "--output", "json", "--request-timeout", "30s")


@dataclass(frozen=True)
class Serving:
    """The pods of a release: image digests of ready containers, and what keeps others from being ready.

    ``wanted`` is false where no workload of it shall have pods. Containers that somebody injected do not count.
    """

    digests: Mapping[str, frozenset[str]]
    problems: tuple[str, ...] = ()
    wanted: bool = True

    @property
    def ready(self) -> bool:
        """Something serves, and nothing is wrong."""
        return bool(self.digests) and not self.problems


def kubectl_env(kubeconfig: Path) -> dict[str, str]:
    """kubectl's environment: what it learns of the cluster is kept beside the kubeconfig, and goes with it."""
    return tool_env(KUBECONFIG=str(kubeconfig), KUBECACHEDIR=str(kubeconfig.parent / "cache"))


def read(kubeconfig: Path, namespace: str, release: str, binary: str = "kubectl") -> Serving:
    """What the release ``release`` serves now. :raises ToolError: the cluster cannot be read"""
    command = Command(argv=(binary, *get_args(namespace)), env=kubectl_env(kubeconfig))
    return serving(json.loads(run(command, timeout=60).stdout)["items"], release)


def serving(objects: Iterable[Object], release: str) -> Serving:
    """Pods of Helm's release among ``objects``, found through their owners."""
    objects = list(objects)
    workloads = [
        item
        for item in objects
        if item["kind"] in WORKLOADS and item["metadata"].get("annotations", {}).get(RELEASE) == release
    ]
    owners = {item["metadata"]["uid"] for item in workloads}
    owners |= {
        item["metadata"]["uid"] for item in objects if item["kind"] == "ReplicaSet" and _owned(item, owners)
    }
    pods = [item for item in objects if item["kind"] == "Pod" and _owned(item, owners)]
    templates = [item["spec"]["template"]["spec"] for item in workloads]
    named = {container["name"] for template in templates for container in template["containers"]}
    digests: dict[str, set[str]] = {}
    problems = [problem for workload in workloads if (problem := _behind(workload))]
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        images = {container["name"]: container["image"] for container in pod["spec"]["containers"]}
        for container in pod["status"].get("containerStatuses", []):
            if container["name"] not in named:
                continue
            if container["ready"]:
                digests.setdefault(container["name"], set()).add(_digest(container, images))
            elif waiting := container["state"].get("waiting"):
                problems.append(
                    f"pod {pod['metadata']['name']}, container {container['name']}: "
                    f"{waiting['reason']} {waiting.get('message', '')}".rstrip()
                )
    return Serving(
        {name: frozenset(found) for name, found in sorted(digests.items())},
        tuple(problems),
        wanted=any(_wanted(item) for item in workloads),
    )


def _owned(item: Object, owners: set[str]) -> bool:
    return any(owner["uid"] in owners for owner in item["metadata"].get("ownerReferences", []))


def _wanted(workload: Object) -> int:
    """How many pods it shall have."""
    if workload["kind"] == "DaemonSet":
        return int(workload["status"].get("desiredNumberScheduled", 0))
    return int(workload["spec"].get("replicas", 1))


def _behind(workload: Object) -> str:
    """How far a deployment's roll-out has come, empty if it is complete."""
    wanted, status = _wanted(workload), workload["status"]
    if workload["kind"] == "DaemonSet":
        ready, updated = status.get("numberReady", 0), status.get("updatedNumberScheduled", 0)
    else:
        ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if ready >= wanted and updated >= wanted:
        return ""
    name = f"{workload['kind'].lower()} {workload['metadata']['name']}"
    return f"{name}: {ready} of {wanted} ready, {updated} up to date"


def _digest(container: Object, named: Mapping[str, str]) -> str:
    """What it runs. A container that was named by its digest runs that: some nodes report another id for it."""
    asked = named.get(container["name"], "")
    image = asked if "@" in asked else container.get("imageID") or container["image"]
    return str(image.rpartition("@")[2] or image)


def same_everywhere(release: str, serving: Mapping[str, Serving]) -> dict[str, dict[str, str]]:
    """Cluster -> container -> digest.

    :raises TerminalError: a cluster serves nothing and should, is not ready, or serves other images than the rest
    """
    wrong = [
        f"{name}: nothing serves" for name, found in serving.items() if found.wanted and not found.digests
    ]
    wrong += [f"{name}: {problem}" for name, found in serving.items() for problem in found.problems]
    shown = {
        name: {container: " and ".join(sorted(digests)) for container, digests in found.digests.items()}
        for name, found in serving.items()
    }
    if not wrong and len({json.dumps(digests, sort_keys=True) for digests in shown.values() if digests}) > 1:
        wrong = [f"{name} serves {digests}" for name, digests in shown.items()]
    if wrong:
        raise TerminalError(f"{release} is not the same in all clusters: {'; '.join(wrong)}")
    return shown
