"""Container Apps through the sandbox: revisions of images in its registry, and traffic that really decides."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.serverless_rounds import again, deleted, deployed, run
from triplane.clouds import azure
from triplane.sandbox.azure.part import GROUP, LOCATION, REGISTRY, SUBSCRIPTION
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.azure.container_apps import ContainerApps
from triplane.serverless.target import Desired, Smoke, difference
from triplane.serverless.traffic import Traffic

CONNECTION = "azure_default"
ENVIRONMENT = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.App/managedEnvironments/apps"
)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PAUSE = 0.3
pytestmark = pytest.mark.usefixtures("cloud_env")


def push(sandbox: Sandbox, text: str) -> str:
    """An image without layers in the sandbox's registry, by its digest."""
    session = requests.Session()
    session.trust_env = False
    base = f"http://127.0.0.1:{sandbox.port('registry-azure')}"
    config = json.dumps({"architecture": "amd64", "os": "linux", "comment": text}).encode()
    place = session.post(f"{base}/v2/hook/blobs/uploads/").headers["Location"]
    place = place if place.startswith("http") else base + place
    joint = "&" if "?" in place else "?"
    blob = {"Content-Type": "application/octet-stream"}
    session.put(f"{place}{joint}digest={sha256(config)}", config, headers=blob).raise_for_status()
    described = {
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(config), "size": len(config)
    }  # fmt: skip
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    manifest = json.dumps(body).encode()
    url = f"{base}/v2/hook/manifests/{sha256(manifest)}"
    session.put(url, manifest, headers={"Content-Type": MANIFEST}).raise_for_status()
    return f"{REGISTRY}.azurecr.io/hook@{sha256(manifest)}"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
def make() -> Callable[[], ContainerApps]:
    from azure.mgmt.appcontainers import ContainerAppsAPIClient

    environments = azure.client(ContainerAppsAPIClient, CONNECTION).managed_environments
    body = {"location": LOCATION, "properties": {}}
    environments.begin_create_or_update(GROUP, "apps", body, polling_interval=1).result()
    return lambda: ContainerApps(
        azure.client(ContainerAppsAPIClient, CONNECTION), resource_group=GROUP, location=LOCATION
    )


@pytest.fixture
def desired(sandbox: Sandbox) -> Desired:
    return Desired(
        name=f"t{uuid.uuid4().hex[:10]}",
        artifact=push(sandbox, "one"),
        config="sha256:one",
        environment={"LOG_LEVEL": "info", "TOKEN": "keyvault://vault/token"},
        options={"managed_environment": ENVIRONMENT, "port": 8080, "cpu": 0.25, "memory": "0.5Gi",
                 "min_replicas": 1, "max_replicas": 2, "health_path": "/", "identity": ["system"]},
        revision="c0ffee",
        attempt=uuid.uuid4().hex[:16],
    )  # fmt: skip


def answers(url: str) -> Counter[str]:
    return Counter(requests.get(url, timeout=30).json()["revision"] for _ in range(100))


def test_an_app_is_made_updated_in_steps_and_deleted(
    make: Callable[[], ContainerApps], desired: Desired, sandbox: Sandbox
) -> None:
    first = deployed(make, desired, smoke=Smoke(contains="hook@sha256"), pause=PAUSE)
    assert difference(desired, first) == ()
    update = again(desired, 2, artifact=push(sandbox, "two"))
    seen: list[Counter[str]] = []

    def look(attempt: Any) -> None:
        if attempt.phase == "watch":
            seen.append(answers(attempt.details["url"]))

    traffic = Traffic(strategy="canary", steps=(10,), wait=0)
    second = deployed(make, update, traffic=traffic, smoke=Smoke(), between=look, pause=PAUSE, forget=True)
    assert [count[second.version] for count in seen] == [10]
    assert difference(update, second) == ()
    assert difference(desired, second) != ()
    deleted(make, desired.name, PAUSE)
    assert make().observe(desired.name) is None


def test_an_image_that_is_not_there_is_taken_back(
    make: Callable[[], ContainerApps], desired: Desired
) -> None:
    first = deployed(make, desired, pause=PAUSE)
    absent = f"{REGISTRY}.azurecr.io/hook@sha256:{'0' * 64}"
    attempt = run(make, again(desired, 2, artifact=absent), first, pause=PAUSE)
    assert "MANIFEST_UNKNOWN" in attempt.failed
    assert make().observe(desired.name) == first
    ill = again(desired, 3, environment={"SANDBOX_STATUS": "503"})
    options = {key: value for key, value in desired.options.items() if key != "health_path"}
    attempt = run(make, dataclasses.replace(ill, options=options), first, smoke=Smoke(), pause=PAUSE)
    assert "it answered 503" in attempt.failed
    assert make().observe(desired.name) == first


def test_a_new_app_that_fails_is_removed(make: Callable[[], ContainerApps], desired: Desired) -> None:
    absent = f"{REGISTRY}.azurecr.io/hook@sha256:{'0' * 64}"
    attempt = run(make, dataclasses.replace(desired, artifact=absent), None, pause=PAUSE)
    assert attempt.serves == ""
    assert make().observe(desired.name) is None


def test_what_somebody_changed_by_hand_is_seen(make: Callable[[], ContainerApps], desired: Desired) -> None:
    from azure.mgmt.appcontainers import ContainerAppsAPIClient

    deployed(make, desired, pause=PAUSE)
    apps = azure.client(ContainerAppsAPIClient, CONNECTION).container_apps
    change = {"properties": {"configuration": {"ingress": {"external": False, "targetPort": 9000}}}}
    apps.begin_update(GROUP, desired.name, change, polling_interval=1).result()
    found = make().observe(desired.name)
    assert found is not None
    assert difference(desired, found) == ("port: 9000 -> 8080",)
    assert found.options["ingress"] == "internal"
