"""Cloud Run: deployments a step at a time, through Google's unmodified clients, gateway and TLS."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests
from google.cloud import run_v2

from tests.e2e.google_lab import (
    CONNECTION,
    PARENT,
    REGION,
    REGISTRY,
    desired,
    fault,
    push,
    run,
    until_gone,
)
from triplane.clouds import gcp
from triplane.core.errors import TransientError
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.google.cloud_run import CloudRun
from triplane.serverless.google.targets import cloud_run
from triplane.serverless.target import Observed, Smoke, difference
from triplane.serverless.traffic import Traffic

pytestmark = pytest.mark.usefixtures("cloud_env")
OPTIONS: dict[str, Any] = {
    "port": 8080,
    "memory": "256Mi",
    "timeout": 30,
    "max_instances": 3,
    "ingress": "all",
}
MISSING = f"{REGISTRY}/webhook@sha256:{'0' * 64}"


def connect() -> CloudRun:
    return cloud_run(CONNECTION, REGION)


def observed(name: str) -> Observed:
    found = connect().observe(name)
    assert found is not None
    return found


@pytest.fixture
def name() -> str:
    return f"webhook-{uuid.uuid4().hex[:8]}"


def test_the_whole_life_of_a_service(sandbox: Sandbox, name: str) -> None:
    one = desired(name, push(sandbox, "one"), options=OPTIONS, environment={"LEVEL": "info"})
    assert connect().observe(name) is None
    smoke = Smoke(path="/health", contains=f"{name}-0000")
    made = run(connect, one, smoke=smoke)
    assert not made.failed
    first = observed(name)
    assert difference(one, first) == ()

    two = desired(name, push(sandbox, "two"), options=OPTIONS, environment={"LEVEL": "debug"})
    assert [line.split(":")[0] for line in difference(two, first)] == ["code", "environment LEVEL"]
    canary = Traffic(strategy="canary", steps=(10,), wait=0)
    assert not run(connect, two, traffic=canary, smoke=smoke).failed
    second = observed(name)
    assert second.version != first.version
    assert difference(two, second) == ()

    services = gcp.client(run_v2.ServicesClient, CONNECTION)
    service = services.get_service(name=f"{PARENT}/services/{name}")
    service.ingress = run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY
    services.update_service(service=service).result(timeout=60)
    assert difference(two, observed(name)) == ("ingress: internal -> all",)
    assert not run(connect, two).failed
    assert difference(two, observed(name)) == ()
    third = observed(name)

    bad = run(connect, desired(name, MISSING, options=OPTIONS))
    assert "not found" in bad.failed
    assert bad.serves == third.version
    assert observed(name) == third

    until_gone(connect, name)


def test_a_first_deployment_that_fails_leaves_nothing(name: str) -> None:
    failed = run(connect, desired(name, MISSING))
    assert "not found" in failed.failed
    assert failed.serves == ""
    assert connect().observe(name) is None


def test_who_may_ask(sandbox: Sandbox, name: str) -> None:
    image = push(sandbox, "invokers")
    assert not run(connect, desired(name, image, options={"invokers": []}), smoke=Smoke()).failed
    uri = gcp.client(run_v2.ServicesClient, CONNECTION).get_service(name=f"{PARENT}/services/{name}").uri
    assert requests.get(uri, timeout=30).status_code == 403
    token = gcp.id_token(CONNECTION, uri)
    assert requests.get(uri, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == 200
    wrong = gcp.id_token(CONNECTION, "https://elsewhere.example.com")
    assert requests.get(uri, headers={"Authorization": f"Bearer {wrong}"}, timeout=30).status_code == 403
    assert not run(connect, desired(name, image, options={"invokers": ["allUsers"]})).failed
    assert requests.get(uri, timeout=30).status_code == 200
    until_gone(connect, name)


@pytest.mark.parametrize(
    ("status", "message"), [(429, "Quota exceeded"), (503, "unavailable"), (401, "expired")]
)
def test_google_is_busy(sandbox: Sandbox, name: str, status: int, message: str) -> None:
    """More often than the client asks by itself: a 401 is asked again with new tokens before it counts."""
    fault(sandbox, path=f"services/{name}$", status=status, message=message, times=6)
    with pytest.raises(TransientError, match=message):
        connect().observe(name)
    while True:
        try:
            assert connect().observe(name) is None
            break
        except TransientError:
            continue


def test_the_spec_of_what_was_deployed_is_kept(sandbox: Sandbox, name: str) -> None:
    options = {**OPTIONS, "execution_environment": "gen2", "network": "default", "egress": "all-traffic"}
    wanted = desired(name, push(sandbox, "options"), options=options)
    assert not run(connect, wanted).failed
    assert difference(wanted, observed(name)) == ()
    until_gone(connect, name)
