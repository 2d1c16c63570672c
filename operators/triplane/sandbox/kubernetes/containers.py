"""What becomes of a pod's containers on a node where nothing really runs.

Annotations of the pod say what its programs would do; without any they run well:

- ``sandbox.triplane.dev/exits``: the exit code they end with, soon after their start
- ``sandbox.triplane.dev/says``: what they write into their logs
- ``sandbox.triplane.dev/probe``: the HTTP status with which they answer a readiness probe, if they have one

The states, reasons and messages are those of a real kubelet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from triplane.sandbox.kubernetes.api import Object

ANNOTATION = "sandbox.triplane.dev/"
Pull = Callable[[str], str | None]


def status(pod: Object, pull: Pull, address: str, now: str) -> Object:
    """The status of a pod whose images were pulled, or could not be."""
    containers = pod["spec"]["containers"]
    pulled = {container["image"]: pull(container["image"]) for container in containers}
    started = all(pulled.values())
    policy = pod["spec"].get("restartPolicy", "Always")
    crashes = started and exit_code(pod) != 0
    ended = started and (policy == "Never" or (policy == "OnFailure" and not crashes))
    statuses = [
        _container(pod, container, pulled[container["image"]], started, ended, now)
        for container in containers
    ]
    ready = all(item["ready"] for item in statuses)
    conditions = {"Initialized": True, "PodScheduled": True, "ContainersReady": ready, "Ready": ready}
    over = "Failed" if crashes else "Succeeded"
    return {
        "phase": over if ended else "Running" if started else "Pending",
        "hostIP": "127.0.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [
            {"type": name, "status": str(value), "lastTransitionTime": now}
            for name, value in conditions.items()
        ],
        "containerStatuses": statuses,
    }


def events(pod: Object, observed: Object, now: str) -> Iterator[Object]:
    """What a kubelet reports besides the status."""
    for container in observed["containerStatuses"]:
        waiting = container["state"].get("waiting", {})
        if waiting.get("reason") == "ImagePullBackOff":
            image = container["image"]
            why = f'failed to resolve reference "{image}": {image}: not found'
            message = f'Failed to pull image "{image}": rpc error: code = NotFound desc = {why}'
            yield _event(pod, container["name"], "Failed", message, now)
        elif waiting.get("reason") == "CrashLoopBackOff":
            yield _event(pod, container["name"], "BackOff", "Back-off restarting failed container", now)
        elif "running" in container["state"] and not container["ready"]:
            message = f"Readiness probe failed: HTTP probe failed with statuscode: {_probe(pod)}"
            yield _event(pod, container["name"], "Unhealthy", message, now)


def exit_code(pod: Object) -> int:
    """What the pod's programs end with; 0 for those that should not end too."""
    return int(_annotation(pod, "exits") or 0)


def said(pod: Object) -> str:
    """The log of each of the pod's containers."""
    return _annotation(pod, "says")


def _container(
    pod: Object, container: Object, image_id: str | None, started: bool, ended: bool, now: str
) -> Object:
    code = exit_code(pod)
    crashes = started and code != 0
    over = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": now,
        "finishedAt": now,
    }
    state: Object = {"running": {"startedAt": now}}
    if ended:
        state = {"terminated": over}
    elif image_id is None:
        message = f'Back-off pulling image "{container["image"]}"'
        state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    elif not started:
        state = {"waiting": {"reason": "ContainerCreating"}}
    elif crashes:
        meta = pod["metadata"]
        where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        message = f"back-off 40s restarting failed container={container['name']} pod={where}"
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    running = "running" in state
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": image_id or "",
        "ready": running and not ("readinessProbe" in container and _probe(pod)),
        "started": running,
        "restartCount": 3 if crashes and not ended else 0,
        "state": state,
        **({"lastState": {"terminated": over}} if crashes and not ended else {}),
    }


def _probe(pod: Object) -> str:
    return _annotation(pod, "probe")


def _annotation(pod: Object, name: str) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(ANNOTATION + name, ""))


def _event(pod: Object, container: str, reason: str, message: str, now: str) -> Object:
    meta = pod["metadata"]
    involved = {"apiVersion": "v1", "kind": "Pod", "fieldPath": f"spec.containers{{{container}}}"}
    involved |= {key: meta[key] for key in ("name", "namespace", "uid")}
    return {
        "metadata": {"name": f"{meta['name']}.{container}.{reason.lower()}", "namespace": meta["namespace"]},
        "involvedObject": involved,
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "kubelet", "host": "sandbox"},
    }
