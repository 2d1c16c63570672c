"""What differs between the objects of a cluster and what was deployed.

The server itself says so: it is asked, in a dry run, what applying the deployed objects again would change. So
defaults, status and what others own (an injected sidecar, a label of a controller) never count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triplane.core.drift import Finding, finding
from triplane.core.redact import Redactor
from triplane.kubernetes.helm import Helm, Observed, Release
from triplane.kubernetes.kube import Kubectl
from triplane.kubernetes.manifests import parse
from triplane.kubernetes.objects import CLUSTER_KINDS, Id, Object, compare, containers, pod_spec
from triplane.kubernetes.reasons import Objects
from triplane.kubernetes.scaling import HPA

MANAGER = "triplane-drift"
"""Applies releases in dry runs: Helm owns their fields."""
PODS = "pods of "


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Live objects, what the deployed ones would make of them, and what runs beside them."""

    deployed: Sequence[Object]
    live: Mapping[tuple[str, str, str, str], Object]
    again: Mapping[tuple[str, str, str, str], Object]
    beside: Sequence[Object]


def look(kubectl: Kubectl, deployed: Sequence[Object], manager: str) -> Seen:
    """Ask the cluster. :raises ToolError: it does not answer"""
    live = kubectl.get(deployed)
    there = [item for item in deployed if Id.of(item).key in live]
    again = {Id.of(item).key: item for item in kubectl.dry_run(there, manager)}
    namespaces = sorted({Id.of(item).namespace for item in there if pod_spec(item)})
    kinds = "pods,replicasets,horizontalpodautoscalers"
    beside = [item for name in namespaces for item in kubectl.list(kinds, name)]
    return Seen(deployed=deployed, live=live, again=again, beside=beside)


def of_release(helm: Helm, release: Release, revision: int, kubectl: Kubectl) -> list[Object]:
    """What a revision applied, without its hooks. :raises ToolError: Helm or the cluster does not answer"""
    items = list(parse(helm.applied(release, revision), str(release)))
    builtin = all("." not in item["apiVersion"].partition("/")[0] for item in items)
    kinds = CLUSTER_KINDS if builtin else kubectl.cluster_kinds()
    for item in items:
        if item["kind"] not in kinds:
            item["metadata"].setdefault("namespace", release.namespace)
    return items


def findings(seen: Seen, redact: Redactor) -> tuple[list[Finding], list[str]]:
    """What drifted, object by object, and what only looks like it."""
    found: list[Finding] = []
    noise: list[str] = []
    scaled = set(_scaled(seen.beside))
    for item in seen.deployed:
        key = Id.of(item).key
        if key not in seen.live:
            found.append(finding(str(Id.of(item)), "delete"))
            continue
        change = compare(seen.again[key], seen.live[key], redact)
        attributes = [vars(attribute) for attribute in change.attributes] if change else []
        if (item["kind"], key[2], key[3]) in scaled:
            noise += [f"{Id.of(item)}: an autoscaler set its replicas" for a in attributes if _is_replicas(a)]
            attributes = [attribute for attribute in attributes if not _is_replicas(attribute)]
        if attributes and change:
            found.append(finding(str(Id.of(item)), "update", attributes, change.fingerprint))
    return [*found, *_images(seen)], noise


def history(observed: Observed, name: str, ours: int = 0) -> Iterator[Finding]:
    """Revisions of a release that we did not make, and one that did not end well.

    ``ours`` is the revision with which we went back from one that proved bad. Of a revision whose origin is no longer
    in the history nobody can say who made it.
    """
    latest = observed.latest
    if latest is None:
        return
    release = f"release {name}"
    if latest.status != "deployed":
        yield finding(release, f"revision {latest.number} is {latest.status}")
    known = any(item.number == observed.origin for item in observed.revisions)
    if observed.serving is not None and observed.recorded is None and known:
        yield finding(release, f"revision {observed.serving.number} was made by hand")
    if observed.serving is not None and observed.serving.number not in (ours, observed.origin):
        earlier = next((item for item in observed.revisions if item.number == latest.number - 1), None)
        if earlier is not None and earlier.status == "superseded":
            yield finding(
                release,
                f"was rolled back to revision {observed.origin} by hand (revision {observed.serving.number})",
            )


def images(seen: Seen) -> list[dict[str, Any]]:
    """The images that were deployed by their digests, and the digests that serve: those of the live templates, and of
    running pods."""
    found = []
    for item, pinned, running in _workloads(seen):
        live = seen.live.get(Id.of(item).key)
        template = pod_spec(live) if live else None
        now = {
            container["name"]: _digest(str(container.get("image", "")))
            for container in (containers(template) if template else ())
        }
        for name, image in pinned.items():
            serving = {now[name]} if name in now else set()
            serving |= {digest for container, digest in running if container == name}
            found.append(
                {
                    "image": image.partition("@")[0].rpartition("/")[2].partition(":")[0],
                    "deployed": _digest(image),
                    "serving": sorted(serving),
                }
            )
    return found


def _scaled(beside: Iterable[Object]) -> Iterator[tuple[str, str, str]]:
    for item in beside:
        if item["kind"] == HPA:
            target = item["spec"]["scaleTargetRef"]
            yield target["kind"], item["metadata"]["namespace"], target["name"]


def _is_replicas(attribute: Mapping[str, str]) -> bool:
    return attribute["name"] == "spec.replicas"


def _images(seen: Seen) -> Iterator[Finding]:
    """Pods that run another image than the digest that was deployed."""
    for item, images_, running in _workloads(seen):
        pinned = {name: _digest(image) for name, image in images_.items()}
        attributes = [
            {"name": f"image of running {name}", "before": pinned[name], "after": image}
            for name, image in sorted(running)
            if name in pinned and image != pinned[name]
        ]
        if attributes:
            yield finding(f"{PODS}{Id.of(item)}", "update", attributes)


def _workloads(seen: Seen) -> Iterator[tuple[Object, dict[str, str], set[tuple[str, str]]]]:
    """What runs pods: the object as it was deployed, container -> image by digest, and (container, digest) of running
    pods."""
    known = Objects([*seen.beside, *seen.live.values()])
    for item in seen.deployed:
        template, live = pod_spec(item), seen.live.get(Id.of(item).key)
        if template is None:
            continue
        pinned = {
            container["name"]: str(container["image"])
            for container in containers(template)
            if "@" in str(container.get("image", ""))
        }
        owners = [live, *known.owned(live, "ReplicaSet")] if live else []
        pods = {
            pod["metadata"]["uid"]: pod
            for owner in owners
            for pod in known.owned(owner, "Pod")
            if not pod["metadata"].get("deletionTimestamp")
        }
        yield item, pinned, {run for pod in pods.values() for run in _runs(pod)}


def _runs(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Container -> digest. The one that was asked for counts: a node may name one platform's of an index."""
    asked = {container["name"]: str(container.get("image", "")) for container in containers(pod)}
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if "running" not in status.get("state", {}):
            continue
        image = asked.get(status["name"], "")
        yield status["name"], _digest(image if "@" in image else status.get("imageID", ""))


def _digest(image: str) -> str:
    return image.rpartition("@")[2]
