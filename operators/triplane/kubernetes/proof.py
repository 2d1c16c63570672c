"""Which image digests the pods of a release run, against those that its manifest names."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from triplane.kubernetes import kubectl
from triplane.kubernetes.diff import Object
from triplane.kubernetes.helm import Release

POLL_SECONDS = 1.0
Digests = Mapping[str, frozenset[str]]


def pinned(objects: Iterable[Object]) -> Digests:
    """Container -> the digests that the workloads among ``objects`` name; without those named by a tag, and those of
    workloads that shall have no pods.
    """
    found: dict[str, set[str]] = {}
    tagged = set()
    for item in objects:
        if item["kind"] not in kubectl.WORKLOADS or item["spec"].get("replicas") == 0:
            continue
        for container in item["spec"]["template"]["spec"].get("containers") or []:
            digest = str(container.get("image", "")).partition("@")[2]
            found.setdefault(container["name"], set()).add(digest)
            if not digest:
                tagged.add(container["name"])
    return {name: frozenset(digests) for name, digests in found.items() if name not in tagged}


def differing(expected: Digests, running: Digests) -> list[str]:
    """What runs and should not, or should and does not."""
    return [
        f"{name} runs {' and '.join(sorted(running.get(name, ()))) or 'nowhere'} instead of "
        f"{' and '.join(sorted(digests))}"
        for name, digests in sorted(expected.items())
        if not running.get(name) or not running[name] <= digests
    ]


def running(kubeconfig: Path, release: Release, binary: str) -> Digests:
    """Container -> the digests that its ready pods run. :raises ToolError: the cluster cannot be read"""
    return kubectl.read(kubeconfig, release.namespace, release.name, binary).digests


def wait(expected: Digests, kubeconfig: Path, release: Release, binary: str, seconds: float) -> list[str]:
    """Wait until the pods run what is expected, or say what they run instead. :raises ToolError:"""
    deadline = time.monotonic() + seconds
    while True:
        wrong = differing(expected, running(kubeconfig, release, binary))
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(POLL_SECONDS)
