"""Why a workload does not get ready, from its pods, their events and what they wait for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Object = Mapping[str, Any]
Cause = Literal[
    "image pull",
    "crash loop",
    "unschedulable",
    "probe",
    "quota",
    "volume",
    "failed create",
    "container configuration",
    "exit",
]
PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
CONFIGURATION = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
CLAIM = ("ProvisioningFailed", "FailedBinding", "WaitForFirstConsumer", "ExternalProvisioning")
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Log:
    """A container whose last lines say more; ``previous`` is the one before it was started again."""

    namespace: str
    pod: str
    container: str
    previous: bool


@dataclass(frozen=True)
class Reason:
    """One cause. ``where`` is who has it; ``hopeless``: no waiting will cure it."""

    cause: Cause
    where: str
    text: str
    log: Log | None = None
    hopeless: bool = False
    more: int = 0

    def __str__(self) -> str:
        others = f" (and {self.more} more)" if self.more else ""
        return f"{self.cause}: {self.where}{others}: {self.text}"


class Objects:
    """The objects of one or more namespaces, found by name and by owner."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self._all = list(objects)
        self._owned: dict[str, list[Object]] = {}
        self._events: dict[str, list[Object]] = {}
        for item in self._all:
            for owner in item["metadata"].get("ownerReferences", ()):
                self._owned.setdefault(owner["uid"], []).append(item)
            if item["kind"] == "Event":
                self._events.setdefault(item["involvedObject"].get("uid", ""), []).append(item)

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object of that name, None if there is none."""
        for item in self._all:
            meta = item["metadata"]
            if (item["kind"], meta.get("namespace"), meta["name"]) == (kind, namespace, name):
                return item
        return None

    def owned(self, item: Object, kind: str) -> list[Object]:
        """What ``item`` owns itself."""
        return [other for other in self._owned.get(item["metadata"]["uid"], ()) if other["kind"] == kind]

    def maker(self, workload: Object) -> Object:
        """Who makes the pods that count: a deployment's newest replica set, else the workload itself."""
        if workload["kind"] != "Deployment":
            return workload
        revision = _annotation(workload, REVISION)
        sets = self.owned(workload, "ReplicaSet")
        return next((item for item in sets if _annotation(item, REVISION) == revision), workload)

    def events(self, item: Object, *reasons: str) -> list[Object]:
        """Events about ``item`` for one of ``reasons``, the newest first."""
        found = self._events.get(item["metadata"]["uid"], ())
        chosen = [event for event in found if event["reason"] in reasons]
        return sorted(chosen, key=lambda event: event.get("lastTimestamp") or "", reverse=True)


def reasons(known: Objects, workload: Object) -> Iterator[Reason]:
    """What keeps ``workload`` from being ready, each cause once, however many pods it has."""
    maker = known.maker(workload)
    found: dict[tuple[str, str], Reason] = {}
    for reason in _all(known, workload, maker):
        key = (reason.cause, reason.text)
        first = found.setdefault(key, reason)
        if first is not reason:
            found[key] = Reason(**{**vars(first), "more": first.more + 1})
    yield from found.values()


def _all(known: Objects, workload: Object, maker: Object) -> Iterator[Reason]:
    pods = [pod for pod in known.owned(maker, "Pod") if not pod["metadata"].get("deletionTimestamp")]
    if len(pods) < _wanted(workload):
        for event in known.events(maker, "FailedCreate")[:1]:
            cause: Cause = "quota" if "exceeded quota" in event["message"] else "failed create"
            name = f"{maker['kind'].lower()} {maker['metadata']['name']}"
            yield Reason(cause, name, event["message"])
    for pod in pods:
        yield from _pod(known, pod)


def _wanted(workload: Object) -> int:
    if workload["kind"] == "DaemonSet":
        return int(workload.get("status", {}).get("desiredNumberScheduled", 0))
    if workload["kind"] == "Job":
        return 1
    return int(workload["spec"].get("replicas", 1))


def _pod(known: Objects, pod: Object) -> Iterator[Reason]:
    name = f"pod {pod['metadata']['name']}"
    status = pod.get("status", {})
    claims = list(_claims(known, pod))
    yield from (Reason("volume", name, text) for text in claims)
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and not claims:
            yield Reason("unschedulable", name, condition.get("message", "no node takes it"))
    for event in known.events(pod, "FailedMount", "FailedAttachVolume")[:1]:
        if status.get("phase") == "Pending":
            yield Reason("volume", name, event["message"])
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            yield from _container(known, pod, container, init=kind.startswith("init"))


def _container(known: Objects, pod: Object, container: Object, *, init: bool) -> Iterator[Reason]:
    meta = pod["metadata"]
    where = f"pod {meta['name']}, container {container['name']}"
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in PULL:
        said = [event["message"] for event in known.events(pod, "Failed") if _about(event, container)]
        said = [text for text in said if container["image"] in text]
        text = f"{reason}: {said[0] if said else message}"
        yield Reason("image pull", where, text, hopeless=reason == "InvalidImageName")
    elif reason in CONFIGURATION:
        yield Reason("container configuration", where, f"{reason}: {message}")
    elif reason == "CrashLoopBackOff":
        yield _crashes(known, pod, container, where)
    elif (over := state.get("terminated")) and over.get("exitCode"):
        yield Reason(
            "exit", where, _ended(over), Log(meta["namespace"], meta["name"], container["name"], False)
        )
    elif "running" in state and not container.get("ready") and not init:
        yield Reason("probe", where, _probe(known, pod, container))
        if container.get("lastState", {}).get("terminated", {}).get("exitCode"):
            yield _crashes(known, pod, container, where)


def _crashes(known: Objects, pod: Object, container: Object, where: str) -> Reason:
    meta, last = pod["metadata"], container.get("lastState", {}).get("terminated", {})
    text = f"{_ended(last)}, {container.get('restartCount', 0)} restarts{_liveness(known, pod)}"
    return Reason("crash loop", where, text, Log(meta["namespace"], meta["name"], container["name"], True))


def _probe(known: Objects, pod: Object, container: Object) -> str:
    for event in known.events(pod, "Unhealthy"):
        if _about(event, container):
            return str(event["message"]).strip()
    return "it runs, but has not passed its readiness probe yet"


def _liveness(known: Objects, pod: Object) -> str:
    for event in known.events(pod, "Unhealthy"):
        if str(event["message"]).startswith(("Liveness", "Startup")):
            return f"; {event['message'].strip()}"
    return ""


def _claims(known: Objects, pod: Object) -> Iterator[str]:
    for volume in pod["spec"].get("volumes") or ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        claim = known.find("PersistentVolumeClaim", pod["metadata"]["namespace"], name) if name else None
        if claim is not None and claim.get("status", {}).get("phase") == "Pending":
            events = known.events(claim, *CLAIM)
            why = f": {events[0]['message']}" if events else ""
            yield f"its claim {name} is pending{why}"


def _ended(over: Object) -> str:
    why = f" ({over['reason']})" if over.get("reason") else ""
    return f"it ended with exit code {over.get('exitCode', '?')}{why}"


def _about(event: Object, container: Object) -> bool:
    path = event["involvedObject"].get("fieldPath", "")
    return not path or path.endswith(f"{{{container['name']}}}")


def _annotation(item: Object, name: str) -> Any:
    return (item["metadata"].get("annotations") or {}).get(name)
