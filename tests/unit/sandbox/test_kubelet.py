from __future__ import annotations

from typing import Any

import pytest

from triplane.sandbox.kubernetes.containers import ANNOTATION, events, said, status
from triplane.sandbox.kubernetes.kubelet import Kubelet, Reference, Registries, decide

ID = "host/app@sha256:" + "a" * 64
NOW = "2026-01-01T00:00:00Z"


def pod(*images: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": containers, **spec},
        "status": {"phase": "Pending"},
    }


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("host.io/team/app@sha256:12", Reference("host.io", "team/app", "sha256:12")),
        ("host.io/team/app:1@sha256:12", Reference("host.io", "team/app", "sha256:12")),
        ("localhost:5000/app:2", Reference("localhost:5000", "app", "2")),
        ("busybox", Reference("docker.io", "busybox", "latest")),
        ("team/app:1", Reference("docker.io", "team/app", "1")),
    ],
)
def test_reference(image: str, reference: Reference) -> None:
    assert Reference.parse(image) == reference


def test_other_registries_are_not_asked() -> None:
    assert Registries({}).pull("elsewhere.io/app:1") is None


def test_decide() -> None:
    new = pod("a")
    assert decide("ADDED", new) == "report"
    assert decide("DELETED", new) == "ignore"
    assert decide("ERROR", {"code": 410}) == "ignore"
    assert decide("MODIFIED", {**new, "status": {"phase": "Running"}}) == "ignore"
    leaving = {**new, "metadata": {**new["metadata"], "deletionTimestamp": NOW}}
    assert decide("MODIFIED", leaving) == "delete"


def test_a_pulled_pod_is_ready() -> None:
    found = status(pod("a"), lambda image: ID, "10.1.0.1", NOW)
    assert found["phase"] == "Running"
    assert {item["type"] for item in found["conditions"] if item["status"] == "True"} >= {"Ready"}
    assert found["containerStatuses"][0]["imageID"] == ID


def test_one_missing_image_keeps_the_pod_waiting() -> None:
    found = status(pod("a", "gone"), {"a": ID}.get, "10.1.0.1", NOW)
    assert found["phase"] == "Pending"
    reasons = [item["state"]["waiting"]["reason"] for item in found["containerStatuses"]]
    assert reasons == ["ContainerCreating", "ImagePullBackOff"]


def test_a_job_ends() -> None:
    found = status(pod("a", restartPolicy="Never"), lambda image: ID, "10.1.0.1", NOW)
    assert found["phase"] == "Succeeded"
    assert found["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


class Recorder:
    """Stands in for the API client and keeps what was sent."""

    server = "https://here"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self.sent.append((path, body["status"]["phase"]))

    def create(self, path: str, body: dict[str, Any]) -> None:
        assert body["involvedObject"]["uid"] == "u"

    def delete(self, path: str, options: dict[str, Any]) -> None:
        self.sent.append((path, options["preconditions"]["uid"]))


def test_an_image_that_comes_late_is_found() -> None:
    api: Any = Recorder()
    images: dict[str, str] = {}
    node = Kubelet(api, images.get)
    path = "/api/v1/namespaces/n/pods/p"
    node.handle("ADDED", pod("a"))
    node.handle("MODIFIED", pod("a"))
    assert api.sent == [(f"{path}/status", "Pending")]
    images["a"] = ID
    node._report(node.waiting["u"])
    assert api.sent[1:] == [(f"{path}/status", "Running")]
    assert not node.waiting


def test_a_pod_that_leaves_is_removed() -> None:
    api: Any = Recorder()
    leaving = pod("a")
    leaving["metadata"]["deletionTimestamp"] = NOW
    node = Kubelet(api, lambda image: None)
    node.handle("MODIFIED", leaving)
    assert api.sent == [("/api/v1/namespaces/n/pods/p", "u")]


def annotated(**notes: str) -> dict[str, Any]:
    found = pod("a")
    found["metadata"]["annotations"] = {ANNOTATION + name: text for name, text in notes.items()}
    return found


def test_a_program_that_ends_is_started_again_and_again() -> None:
    crashing = annotated(exits="3", says="no database")
    found = status(crashing, lambda image: ID, "10.1.0.1", NOW)
    container = found["containerStatuses"][0]
    assert (found["phase"], container["state"]["waiting"]["reason"]) == ("Running", "CrashLoopBackOff")
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert [event["reason"] for event in events(crashing, found, NOW)] == ["BackOff"]
    assert said(crashing) == "no database"


def test_a_job_that_fails() -> None:
    failing = annotated(exits="3")
    failing["spec"]["restartPolicy"] = "Never"
    found = status(failing, lambda image: ID, "10.1.0.1", NOW)
    assert found["phase"] == "Failed"
    assert found["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_a_probe_fails_only_where_there_is_one() -> None:
    failing = annotated(probe="503")
    assert status(failing, lambda image: ID, "10.1.0.1", NOW)["containerStatuses"][0]["ready"]
    failing["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/"}}
    found = status(failing, lambda image: ID, "10.1.0.1", NOW)
    assert not found["containerStatuses"][0]["ready"]
    assert [event["reason"] for event in events(failing, found, NOW)] == ["Unhealthy"]
