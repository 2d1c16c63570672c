"""How far each workload of a rollout has come, told from the objects of its namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from triplane.kubernetes.reasons import Objects, Reason, reasons

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
Object = Mapping[str, Any]
State = Literal["done", "going", "failed"]


@dataclass(frozen=True, order=True)
class Workload:
    """One thing to wait for; ``kind`` is one of :data:`KINDS`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Standing:
    """``failed`` is final: waiting longer cannot help. ``reasons`` say what holds it up."""

    workload: Workload
    state: State
    progress: str
    reasons: tuple[Reason, ...] = ()


def standings(objects: Iterable[Object], workloads: Iterable[Workload]) -> tuple[Standing, ...]:
    """Each of ``workloads`` as ``objects`` show it."""
    known = Objects(objects)
    return tuple(_standing(known, workload) for workload in workloads)


def _standing(known: Objects, workload: Workload) -> Standing:
    item = known.find(workload.kind, workload.namespace, workload.name)
    if item is None:
        return Standing(workload, "going", "is not there")
    state, progress = STATES[workload.kind](item)
    if state == "done":
        return Standing(workload, state, progress)
    why = tuple(reasons(known, item))
    hopeless = any(reason.hopeless for reason in why)
    return Standing(workload, "failed" if hopeless else state, progress, why)


def deployment(item: Object) -> tuple[State, str]:
    """As ``kubectl rollout status`` judges it."""
    status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    progress = f"{available} of {wanted} available, {updated} up to date"
    if _behind(item):
        return "going", "its controller has not seen it yet"
    deadline = _condition(item, "Progressing")
    if deadline.get("reason") == "ProgressDeadlineExceeded":
        return "failed", f"{progress}; {deadline.get('message', 'its progress deadline has passed')}"
    old = status.get("replicas", 0) - updated
    if updated < wanted or old > 0 or available < updated:
        return "going", progress + (f", {old} old ones still there" if old > 0 else "")
    return "done", progress


def stateful_set(item: Object) -> tuple[State, str]:
    """With a partition only the pods above it are waited for; ``OnDelete`` waits for nothing but readiness."""
    status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
    strategy = item["spec"].get("updateStrategy", {})
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    progress = f"{ready} of {wanted} ready, {updated} up to date"
    if _behind(item):
        return "going", "its controller has not seen it yet"
    due = wanted - (strategy.get("rollingUpdate") or {}).get("partition", 0)
    current = status.get("currentRevision") == status.get("updateRevision")
    rolled = strategy.get("type") == "OnDelete" or current or updated >= due
    return ("done" if ready >= wanted and rolled else "going"), progress


def daemon_set(item: Object) -> tuple[State, str]:
    """As ``kubectl rollout status`` judges it."""
    status = item.get("status", {})
    wanted, available = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    updated = status.get("updatedNumberScheduled", 0)
    progress = f"{available} of {wanted} available, {updated} up to date"
    if _behind(item):
        return "going", "its controller has not seen it yet"
    rolled = item["spec"].get("updateStrategy", {}).get("type") == "OnDelete" or updated >= wanted
    return ("done" if rolled and available >= wanted else "going"), progress


def job(item: Object) -> tuple[State, str]:
    """A suspended job is not waited for."""
    status = item.get("status", {})
    if _condition(item, "Complete").get("status") == "True":
        return "done", f"{status.get('succeeded', 0)} succeeded"
    failed = _condition(item, "Failed")
    if failed.get("status") == "True":
        return "failed", f"{failed.get('reason', 'Failed')}: {failed.get('message', '')}".rstrip(": ")
    if item["spec"].get("suspend"):
        return "done", "is suspended"
    counts = ", ".join(f"{status.get(name, 0)} {name}" for name in ("active", "succeeded", "failed"))
    return "going", counts


STATES = {"Deployment": deployment, "StatefulSet": stateful_set, "DaemonSet": daemon_set, "Job": job}


def _behind(item: Object) -> bool:
    return bool(item.get("status", {}).get("observedGeneration", 0) < item["metadata"].get("generation", 0))


def _condition(item: Object, kind: str) -> Object:
    found = item.get("status", {}).get("conditions") or ()
    return next((condition for condition in found if condition["type"] == kind), {})
