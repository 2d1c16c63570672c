"""Cloud Functions: packages that the sandbox really builds and runs, through Google's unmodified clients."""

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
    desired,
    fault,
    package,
    run,
    sha256,
    until_gone,
)
from triplane.clouds import gcp
from triplane.core.errors import TransientError
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.google.cloud_functions import CloudFunctions
from triplane.serverless.google.targets import cloud_functions
from triplane.serverless.target import Desired, Observed, Smoke, difference
from triplane.serverless.traffic import Traffic

pytestmark = pytest.mark.usefixtures("cloud_env")
OPTIONS: dict[str, Any] = {
    "runtime": "python312", "entry_point": "hook", "memory": "256Mi", "timeout": 30, "max_instances": 3,
    "ingress": "all", "invokers": ["allUsers"],
}  # fmt: skip
CODE = """
import os

import functions_framework


@functions_framework.http
def hook(request):
    body = request.get_json(silent=True) or {{}}
    return {{"version": "{version}", "level": os.environ.get("LEVEL"), "event": body.get("event")}}
"""


def connect() -> CloudFunctions:
    return cloud_functions(CONNECTION, REGION)


def observed(name: str) -> Observed:
    found = connect().observe(name)
    assert found is not None
    return found


def function(name: str, files: dict[str, str], **changes: Any) -> Desired:
    data = package(files)
    return desired(name, sha256(data), package=data, **{"options": OPTIONS, **changes})


def version(name: str, text: str, **changes: Any) -> Desired:
    files = {"main.py": CODE.format(version=text), "requirements.txt": "functions-framework==3.*\n"}
    return function(name, files, **changes)


@pytest.fixture
def name() -> str:
    return f"hook-{uuid.uuid4().hex[:8]}"


def test_the_whole_life_of_a_function(name: str) -> None:
    smoke = Smoke(method="POST", payload={"event": "push"}, contains='"event": "push"')
    one = version(name, "one", environment={"LEVEL": "info", "TOKEN": "secretmanager://token/1"})
    assert connect().observe(name) is None
    assert not run(connect, one, smoke=smoke).failed
    first = observed(name)
    assert difference(one, first) == ()
    service = gcp.client(run_v2.ServicesClient, CONNECTION).get_service(name=f"{PARENT}/services/{name}")
    assert requests.get(service.uri, timeout=30).json() == {"version": "one", "level": "info", "event": None}

    two = version(name, "two", environment={"LEVEL": "debug"})
    canary = Traffic(strategy="canary", steps=(10,), wait=0)
    assert not run(connect, two, traffic=canary, smoke=smoke).failed
    second = observed(name)
    assert difference(two, second) == ()
    assert requests.get(service.uri, timeout=30).json()["version"] == "two"

    bad = run(connect, function(name, {"app.py": "x = 1\n"}))
    assert "missing main.py" in bad.failed
    assert bad.serves == second.version
    lines: list[str] = []
    crash = run(connect, function(name, {"main.py": "1 / 0\n"}), log=lines.append)
    assert "  | ZeroDivisionError: division by zero" in lines
    assert "ZeroDivisionError" in crash.failed
    assert (observed(name).version, observed(name).artifact) == (second.version, second.artifact)
    assert requests.get(service.uri, timeout=30).json()["version"] == "two"
    assert not run(connect, version(name, "three")).failed
    assert requests.get(service.uri, timeout=30).json()["version"] == "three"

    until_gone(connect, name)
    assert requests.get(service.uri, timeout=30).status_code == 404


def test_a_first_deployment_that_fails_leaves_nothing(name: str) -> None:
    failed = run(connect, function(name, {"main.py": "def other(request): ...\n"}))
    assert "expected to contain a function named 'hook'" in failed.failed
    assert failed.serves == ""
    assert connect().observe(name) is None


def test_changes_by_hand_are_seen(name: str) -> None:
    wanted = version(name, "one")
    assert not run(connect, wanted).failed
    services = gcp.client(run_v2.ServicesClient, CONNECTION)
    service = services.get_service(name=f"{PARENT}/services/{name}")
    service.template.scaling.max_instance_count = 50
    service.template.containers[0].env.append(run_v2.EnvVar(name="DEBUG", value="1"))
    service.traffic = [run_v2.TrafficTarget(type_=1, percent=100)]
    services.update_service(service=service).result(timeout=60)
    found = difference(wanted, observed(name))
    assert "max_instances: 50 -> 3" in found
    assert "environment DEBUG: removed (not in the spec)" in found
    assert found[0].startswith("code: unknown -> ")
    assert not run(connect, wanted).failed
    assert difference(wanted, observed(name)) == ()
    until_gone(connect, name)


@pytest.mark.parametrize(
    ("status", "message"), [(429, "Quota exceeded"), (503, "unavailable"), (401, "expired")]
)
def test_google_is_busy(sandbox: Sandbox, name: str, status: int, message: str) -> None:
    """More often than the client asks by itself: a 401 is asked again with new tokens before it counts."""
    fault(sandbox, path=f"functions/{name}$", status=status, message=message, times=6)
    with pytest.raises(TransientError, match=message):
        connect().observe(name)
    while True:
        try:
            assert connect().observe(name) is None
            break
        except TransientError:
            continue
