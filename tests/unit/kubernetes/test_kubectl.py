from __future__ import annotations

from typing import Any

import pytest

from triplane.core.errors import TerminalError
from triplane.kubernetes import kubectl
from triplane.kubernetes.kubectl import Serving, same_everywhere, serving

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def item(kind: str, uid: str, owner: str = "", **rest: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": uid, "uid": uid, "annotations": {kubectl.RELEASE: "ingest"}}
    if owner:
        metadata |= {"ownerReferences": [{"uid": owner}], "annotations": {}}
    return {"kind": kind, "metadata": metadata, **rest}


def pod(uid: str, owner: str, image_id: str, reason: str = "") -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "service",
        "image": "r/i:1",
        "imageID": image_id,
        "ready": not reason,
    }
    container["state"] = {"waiting": {"reason": reason, "message": "no"}} if reason else {"running": {}}
    spec = {"containers": [{"name": "service", "image": "r/i:1"}]}
    return item("Pod", uid, owner, spec=spec, status={"containerStatuses": [container]})


def deployment(ready: int, updated: int, replicas: int = 1) -> dict[str, Any]:
    status = {"readyReplicas": ready, "updatedReplicas": updated}
    template = {"spec": {"containers": [{"name": "service", "image": "r/i:1"}]}}
    return item("Deployment", "d", spec={"replicas": replicas, "template": template}, status=status)


def test_argv() -> None:
    assert kubectl.get_args("streaming") == (
        "get", "deployments,statefulsets,daemonsets,replicasets,pods",
        "--namespace", "streaming", "--output", "json", "--request-timeout", "30s",
    )  # fmt: skip


def test_serving_follows_owners() -> None:
    stranger = item("Deployment", "x", spec={}, status={"readyReplicas": 1, "updatedReplicas": 1})
    stranger["metadata"]["annotations"] = {}
    objects = [
        *(deployment(1, 1), item("ReplicaSet", "rs", "d"), pod("p", "rs", f"host/i@{A}")),
        *(stranger, pod("other", "x", f"host/i@{B}")),
    ]
    found = serving(objects, "ingest")
    assert found == Serving({"service": frozenset({A})})
    assert found.ready


def test_serving_says_what_is_wrong() -> None:
    objects = [
        *(deployment(1, 1), item("ReplicaSet", "old", "d"), item("ReplicaSet", "new", "d")),
        *(pod("p", "old", f"host/i@{A}"), pod("q", "new", "", "ImagePullBackOff")),
    ]
    objects[0]["status"]["updatedReplicas"] = 0
    found = serving(objects, "ingest")
    assert found.digests == {"service": frozenset({A})}
    assert found.problems == (
        "deployment d: 1 of 1 ready, 0 up to date",
        "pod q, container service: ImagePullBackOff no",
    )


def test_injected_containers_do_not_count_and_what_is_named_by_its_digest_runs_that() -> None:
    found = pod("p", "rs", f"host/i@{A}")
    found["spec"]["containers"] = [
        {"name": "service", "image": f"host/i@{B}"},
        {"name": "sidecar", "image": f"host/mesh@{A}"},
    ]
    (own,) = found["status"]["containerStatuses"]
    found["status"]["containerStatuses"].append({**own, "name": "sidecar"})
    objects = [deployment(1, 1), item("ReplicaSet", "rs", "d"), found]
    assert serving(objects, "ingest").digests == {"service": frozenset({B})}


def test_a_release_without_pods_is_the_same_everywhere() -> None:
    none = serving([deployment(0, 0, replicas=0)], "ingest")
    assert not none.wanted
    assert same_everywhere("ingest", {"aws": none, "gcp": serving([], "ingest")}) == {"aws": {}, "gcp": {}}
    assert same_everywhere("ingest", {"aws": same(A), "gcp": none})["aws"] == {"service": A}


def same(digest: str, *problems: str) -> Serving:
    return Serving({"service": frozenset({digest})}, problems)


def test_parity() -> None:
    assert same_everywhere("ingest", {"aws": same(A), "gcp": same(A)}) == {
        "aws": {"service": A},
        "gcp": {"service": A},
    }


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (same(B), f"gcp serves {{'service': '{B}'}}"),
        (Serving({}), "gcp: nothing serves"),
        (same(A, "deployment d: 0 of 1 ready"), "gcp: deployment d: 0 of 1 ready"),
    ],
)
def test_no_parity(other: Serving, message: str) -> None:
    with pytest.raises(TerminalError, match="not the same in all clusters") as caught:
        same_everywhere("ingest", {"aws": same(A), "gcp": other})
    assert message in str(caught.value)
