"""Container Apps, driven against the sandbox's control plane in this process."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.azure_lab import GROUP, LOCATION, SCOPE, Lab
from tests.few import few
from tests.serverless_rounds import again, deleted, deployed, run

from triplane.core.errors import InputError, StaleError
from triplane.serverless.azure import container_app_body as body
from triplane.serverless.azure.container_apps import ContainerApps
from triplane.serverless.target import Desired, Smoke, check_options, difference
from triplane.serverless.traffic import Traffic

ENVIRONMENT = f"{SCOPE}/Microsoft.App/managedEnvironments/apps"
IDENTITY = f"{SCOPE}/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
VERSION = "2026-07-01"
DIGEST = "a" * 64
GOOD = f"streaming.azurecr.io/hook@sha256:{DIGEST}"
BETTER = f"streaming.azurecr.io/hook@sha256:{'b' * 64}"
ABSENT = f"elsewhere.example/hook@sha256:{DIGEST}"
OPTIONS: dict[str, Any] = {
    "managed_environment": ENVIRONMENT, "port": 8080, "cpu": 0.5, "memory": "1Gi", "min_replicas": 1,
    "max_replicas": 3, "concurrency": 20, "health_path": "/healthz", "identity": [IDENTITY],
    "registry_identity": IDENTITY,
}  # fmt: skip


@pytest.fixture
def make(cloud: Lab) -> Callable[[], ContainerApps]:
    from azure.mgmt.appcontainers import ContainerAppsAPIClient

    assert cloud.arm("PUT", ENVIRONMENT, {"location": LOCATION, "properties": {}}, VERSION).status_code == 201
    return lambda: ContainerApps(
        cloud.client(ContainerAppsAPIClient), resource_group=GROUP, location=LOCATION
    )


@pytest.fixture
def desired() -> Desired:
    return Desired(
        name="hook",
        artifact=GOOD,
        config="sha256:one",
        environment={"LOG_LEVEL": "info", "TOKEN": "keyvault://vault/token"},
        options=OPTIONS,
        revision="c0ffee",
        attempt=f"{1:016x}",
    )


def answers(cloud: Lab, fqdn: str, count: int = 100) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        found[cloud.request("GET", f"https://{fqdn}/").json()["revision"]] += 1
    return found


def app(cloud: Lab) -> Any:
    return cloud.arm("GET", f"{SCOPE}/Microsoft.App/containerApps/hook", version=VERSION).json()


def revisions(cloud: Lab) -> dict[str, bool]:
    path = f"{SCOPE}/Microsoft.App/containerApps/hook/revisions"
    found = cloud.arm("GET", path, version=VERSION).json()["value"]
    return {item["name"]: item["properties"]["active"] for item in found}


def test_an_app_is_made_updated_in_steps_and_deleted(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired
) -> None:
    check_options(make(), desired)
    assert make().observe("hook") is None
    first = deployed(make, desired, smoke=Smoke(contains="hook--t"))
    assert difference(desired, first) == ()
    assert app(cloud)["tags"] == {"triplane-commit": "c0ffee", "triplane-digest": f"sha256:{DIGEST}"}
    fqdn = app(cloud)["properties"]["configuration"]["ingress"]["fqdn"]

    update = again(desired, 2, artifact=BETTER, config="sha256:two", environment={"LOG_LEVEL": "debug"})
    assert difference(update, first) == (
        f"code: {GOOD} -> {BETTER}",
        "environment LOG_LEVEL: changed",
        "environment TOKEN: removed (not in the spec)",
    )
    seen: list[Counter[str]] = []

    def look(attempt: Any) -> None:
        if attempt.phase == "watch":
            seen.append(answers(cloud, fqdn))

    traffic = Traffic(strategy="canary", steps=(10, 50), wait=0)
    second = deployed(make, update, traffic=traffic, between=look)
    assert [count[second.version] for count in seen] == [10, 50]
    assert answers(cloud, fqdn) == {second.version: 100}
    assert difference(update, second) == ()
    assert revisions(cloud) == {first.version: False, second.version: True}

    deleted(make, "hook")
    assert make().observe("hook") is None


def test_an_update_that_fails_is_taken_back(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired
) -> None:
    first = deployed(make, desired)
    lines: list[str] = []
    bad = again(desired, 2, artifact=ABSENT)
    attempt = run(make, bad, first, log=lines.append)
    assert "MANIFEST_UNKNOWN" in attempt.failed
    assert attempt.serves == first.version
    assert make().observe("hook") == first
    assert revisions(cloud) == {first.version: True, f"hook--t{2:016x}": False}
    assert any("MANIFEST_UNKNOWN" in line for line in lines)

    wrong = again(desired, 3, environment={"SANDBOX_STATUS": "500"}, options={**OPTIONS, "health_path": None})
    wrong = dataclasses.replace(wrong, options={k: v for k, v in OPTIONS.items() if k != "health_path"})
    attempt = run(make, wrong, first, smoke=Smoke(), log=lines.append)
    assert "it answered 500, not 200" in attempt.failed
    assert make().observe("hook") == first
    ill = again(desired, 4, environment={"SANDBOX_STATUS": "500"})
    assert "Degraded" in run(make, ill, first, limit=3.0).failed
    assert make().observe("hook") == first


def test_a_canary_that_fails_gives_the_traffic_back(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired
) -> None:
    first = deployed(make, desired)
    update = again(desired, 2, artifact=BETTER)

    def breaks(attempt: Any) -> None:
        if attempt.phase == "watch":
            cloud.fault(path="^/smoke", status=500, times=9)

    traffic = Traffic(strategy="canary", steps=(25,), wait=0)
    smoke = Smoke(path="/smoke")
    attempt = run(make, update, first, traffic=traffic, smoke=smoke, between=breaks)
    assert "it answered 500" in attempt.failed
    assert make().observe("hook") == first


def test_a_first_deployment_that_fails_leaves_nothing(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired
) -> None:
    attempt = run(make, dataclasses.replace(desired, artifact=ABSENT), None)
    assert (attempt.serves, "MANIFEST_UNKNOWN" in attempt.failed) == ("", True)
    assert make().observe("hook") is None


def test_what_somebody_changed_by_hand_is_seen(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired
) -> None:
    first = deployed(make, desired)
    path = f"{SCOPE}/Microsoft.App/containerApps/hook"
    template = app(cloud)["properties"]["template"]
    template["containers"][0]["env"].append({"name": "EXTRA", "value": "by-hand"})
    template["scale"]["maxReplicas"] = 9
    template["revisionSuffix"] = "byhand"
    traffic = {"ingress": {"traffic": [{"revisionName": "hook--byhand", "weight": 100}]}}
    change = {"properties": {"template": template, "configuration": traffic}}
    assert cloud.arm("PATCH", path, change, VERSION).ok
    found = make().observe("hook")
    assert found is not None
    assert difference(desired, found) == (
        "max_replicas: 9 -> 3",
        "environment EXTRA: removed (not in the spec)",
    )
    with pytest.raises(StaleError, match="somebody else deploys"):
        make().prepare(again(desired, 2), first, print)
    deployed(make, again(desired, 3))


def test_an_app_without_ingress_has_one_active_revision(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired
) -> None:
    options = {key: value for key, value in OPTIONS.items() if key not in ("port", "health_path")}
    worker = dataclasses.replace(desired, options={**options, "ingress": "none"})
    first = deployed(make, worker)
    assert difference(worker, first) == ()
    with pytest.raises(InputError, match="no ingress"):
        make().invoke("hook", first.version, Smoke())
    second = deployed(make, again(worker, 2, artifact=BETTER))
    assert revisions(cloud) == {first.version: False, second.version: True}
    attempt = run(make, again(worker, 3, artifact=ABSENT), second)
    assert attempt.failed
    assert make().observe("hook") == second
    back = deployed(make, again(desired, 4))
    assert difference(desired, back) == ()


@pytest.mark.parametrize("ingress", ["external", "none"])
def test_an_app_of_somebody_else_is_left_alone_and_taken_over(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired, ingress: str
) -> None:
    container = {"name": "x", "image": GOOD}
    properties = {"environmentId": ENVIRONMENT, "template": {"containers": [container]}}
    path = f"{SCOPE}/Microsoft.App/containerApps/hook"
    assert cloud.arm("PUT", path, {"location": LOCATION, "properties": properties}, VERSION).ok
    with pytest.raises(StaleError, match="left alone"):
        make().restore("hook", None, print)
    before = make().observe("hook")
    assert before is not None
    assert (before.artifact, before.config) == (GOOD, None)
    options = {key: value for key, value in OPTIONS.items() if key not in ("port", "health_path")}
    deployed(make, dataclasses.replace(desired, options={**options, "ingress": ingress}))


@pytest.mark.parametrize("artifact", [BETTER, ABSENT], ids=["good", "bad"])
def test_each_step_may_be_made_twice(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired, artifact: str
) -> None:
    first = deployed(make, desired, forget=True)
    traffic = Traffic(strategy="canary", steps=(10,), wait=0)
    attempt = run(make, again(desired, 2, artifact=artifact), first, traffic=traffic, forget=True)
    assert bool(attempt.failed) == (artifact == ABSENT)
    assert len(revisions(cloud)) == 2
    assert sum(revisions(cloud).values()) == 1
    found = make().observe("hook")
    assert found is not None
    assert found.version == attempt.serves


FAULTS: list[dict[str, Any]] = [
    {"status": 429, "code": "TooManyRequests", "retry_after": 30},
    {"status": 503, "code": "ServiceUnavailable"},
    {"status": 401, "code": "ExpiredAuthenticationToken"},
    {"status": 500, "lost": True},
]


@pytest.mark.parametrize("fault", few(FAULTS, FAULTS[3:]), ids=["429", "503", "401", "lost"])
def test_every_call_may_fail_once(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired, fault: dict[str, Any]
) -> None:
    first = deployed(make, desired)
    cloud.asked()
    deployed(make, again(desired, 2, artifact=BETTER))
    calls = [line for line in cloud.asked() if "/containerApps/" in line]
    for number in range(len(calls)):
        wanted = again(desired, 10 + number, artifact=(GOOD, BETTER)[number % 2], config=f"sha256:{number}")
        before, previous = set(revisions(cloud)), make().observe("hook")
        cloud.fault(path="/containerApps/", after=number, **fault)
        attempt = run(make, wanted, previous)
        cloud.calm()
        assert not attempt.failed, (calls[number], attempt.failed)
        found = make().observe("hook")
        assert found is not None
        assert difference(wanted, found) == ()
        assert set(revisions(cloud)) - before == {attempt.version}
    assert first.version in revisions(cloud)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"package": b"zip"}, "run an image"),
        ({"artifact": "streaming.azurecr.io/hook:latest"}, "by its digest"),
        ({"options": {}}, "managed_environment"),
        ({"options": {**OPTIONS, "ingress": "all"}}, "external, internal, none"),
        ({"options": {**OPTIONS, "cpu": "half"}}, "`cpu` is a number"),
        ({"options": {"managed_environment": ENVIRONMENT}}, "needs `identity`"),
        ({"environment": {"TRIPLANE_STAMP": "x"}}, "set by Triplane"),
        ({"environment": {"A": "keyvault://vault"}}, "keyvault://VAULT/NAME"),
        ({"options": {**OPTIONS, "registry_identity": "other"}}, "one of `identity`"),
    ],
)
def test_what_is_refused_before_anything_is_done(
    cloud: Lab, make: Callable[[], ContainerApps], desired: Desired, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make().prepare(dataclasses.replace(desired, **changes), None, print)
    assert make().observe("hook") is None


@pytest.mark.parametrize("version", ["a", "a=10,b=90", ""])
def test_a_version_says_how_the_traffic_is_split(version: str) -> None:
    assert body.version_of(body.shares_of(version)) == version
