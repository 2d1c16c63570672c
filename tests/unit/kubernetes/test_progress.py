from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from triplane.core.errors import TransientError
from triplane.core.process import Completed
from triplane.kubernetes.helm import Release
from triplane.kubernetes.progress import Progress, back_args, waited_for
from triplane.kubernetes.rollout import Reader
from triplane.kubernetes.standing import Workload

RELEASE = Release("shop", "n")
SINCE = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
OURS = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "n"}
HOOK = {"helm.sh/hook": "pre-upgrade"}
LABEL = "app.kubernetes.io/instance"


def item(kind: str, name: str, made: str = "2026-05-01T12:00:05Z", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "n", "creationTimestamp": made, **more}}


@pytest.mark.parametrize(
    ("found", "waits"),
    [
        (item("Deployment", "api", annotations=OURS), True),
        (item("StatefulSet", "db", annotations={"meta.helm.sh/release-name": "shop"}), True),
        (item("Deployment", "api"), False),
        (item("Deployment", "api", annotations=OURS | {"meta.helm.sh/release-namespace": "m"}), False),
        (item("Deployment", "api", annotations={"meta.helm.sh/release-name": "shop-2"}), False),
        (item("ConfigMap", "api", annotations=OURS), False),
        (item("Job", "once", annotations=OURS), True),
        (item("Job", "shop-migrate", annotations=HOOK), True),
        (item("Job", "shop", annotations=HOOK), True),
        (item("Job", "shopping-migrate", annotations=HOOK), False),
        (item("Job", "migrate", annotations=HOOK, labels={LABEL: "shop"}), True),
        (item("Job", "shop-migrate", annotations=HOOK, labels={LABEL: "shop-2"}), False),
        (item("Job", "shop-migrate", "2026-05-01T11:00:00Z", annotations=HOOK), False),
    ],
)
def test_what_helm_waits_for(found: dict[str, Any], waits: bool) -> None:
    meta = found["metadata"]
    expected = (Workload(found["kind"], "n", meta["name"]),) if waits else ()
    assert waited_for([found], RELEASE, SINCE) == expected


def test_arguments() -> None:
    assert back_args(RELEASE, 4) == (
        *("get", "secrets", "--namespace", "n", "--selector"),
        "owner=helm,name=shop,version in (4,5),status in (pending-rollback,uninstalling)",
        *("--output", "name", "--request-timeout", "30s"),
    )


@dataclass(kw_only=True)
class Cluster(Reader):
    """Answers each look with the next of ``states``: what the container of a deployment's only pod waits for."""

    states: list[Any]
    undone: bool = False

    def read(self, namespace: str) -> list[Mapping[str, Any]]:
        if not self.states:
            raise TransientError("no more answers")
        state = self.states.pop(0)
        api = item("Deployment", "api", uid="api", annotations=OURS)
        api |= {"spec": {"replicas": 1}, "status": {"observedGeneration": 1}}
        pod = item("Pod", "api-1", uid="api-1", ownerReferences=[{"uid": "api"}])
        status = {"name": "c", "image": "i", "state": {"waiting": {"reason": state, "message": "m"}}}
        return [api, pod | {"spec": {}, "status": {"containerStatuses": [status]}}]

    def run(self, args: tuple[str, ...], ok: frozenset[int] = frozenset({0})) -> Completed:
        return Completed(("kubectl",), 0, "secret/x\n" if self.undone else "", "")


@pytest.mark.parametrize(
    ("states", "said", "kept"),
    [
        (["ErrImagePull", "ErrImagePull"], 1, "image pull"),
        (["ErrImagePull", "ContainerCreating"], 2, "image pull"),
        (["ContainerCreating", "ErrImagePull"], 2, "image pull"),
        (["ErrImagePull", "CreateContainerError"], 2, "container configuration"),
    ],
)
def test_causes_are_kept_and_said_once(
    monkeypatch: pytest.MonkeyPatch, states: list[str], said: int, kept: str
) -> None:
    progress, lines = watched(monkeypatch, Cluster(kubeconfig=Path("k"), states=states))
    assert len(lines) == said
    assert len(progress.problems) == 1
    assert (
        f"deployment n/api is not ready: 0 of 1 available, 0 up to date\n  {kept}: " in progress.problems[0]
    )


def test_what_helm_undoes_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(kubeconfig=Path("k"), states=["ErrImagePull", "ErrImagePull"], undone=True)
    progress, lines = watched(monkeypatch, cluster)
    assert (progress.problems, lines) == ((), [])
    assert len(cluster.states) == 1, "nobody looks again"


def watched(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> tuple[Progress, list[str]]:
    """What is said until the cluster has no more answers."""
    monkeypatch.setattr("triplane.kubernetes.progress.SECONDS", 0.01)
    lines: list[str] = []
    progress = Progress(cluster, RELEASE, 4, lines.append)
    with progress:
        for _ in range(100):
            if not cluster.states or cluster.undone:
                break
            time.sleep(0.01)
        time.sleep(0.1)
    return progress, lines
