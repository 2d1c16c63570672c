"""Azure Functions, driven against the sandbox's control plane in this process."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.azure_lab import GROUP, LOCATION, SCOPE, Lab
from tests.function_packages import NO_ARCHIVE, UNIMPORTABLE, package
from tests.serverless_rounds import again, deleted, deployed, run

from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError, StaleError
from triplane.serverless.azure import function_app_body as body
from triplane.serverless.azure.functions import AzureFunctions
from triplane.serverless.target import Desired, Observed, Smoke, check_options, difference

PLAN = f"{SCOPE}/Microsoft.Web/serverfarms/p"
APP = f"{SCOPE}/Microsoft.Web/sites/app"
IDENTITY = f"{SCOPE}/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
SUBNET = f"{SCOPE}/Microsoft.Network/virtualNetworks/n/subnets/s"
RUNTIME = {"runtime": "python|3.11", "health_path": "/api/hook"}
IMAGE = f"streaming.azurecr.io/hook@sha256:{'a' * 64}"
ABSENT = f"elsewhere.example/hook@sha256:{'a' * 64}"
ONE, TWO = package("one"), package("two")
ASK = Smoke(path="/api/hook")
Make = Callable[[], AzureFunctions]


class Store(dict[str, bytes]):
    """Stands for the artifact store."""

    def take(self, wanted: str) -> bytes:
        if wanted not in self:
            raise RefusedError(f"{wanted} is not there")
        return self[wanted]

    def keep(self, data: bytes) -> str:
        self[digest(data)] = data
        return digest(data)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make(cloud: Lab, store: Store) -> Make:
    from azure.mgmt.web import WebSiteManagementClient

    return lambda: AzureFunctions(
        cloud.client(WebSiteManagementClient),
        cloud.token,
        resource_group=GROUP,
        location=LOCATION,
        packages=store.take,
        keep=store.keep,
        health_seconds=0.5,
    )


@pytest.fixture
def desired() -> Desired:
    return of(ONE)


def of(data: bytes, **changes: Any) -> Desired:
    fields: dict[str, Any] = {
        "name": "app", "artifact": digest(data), "config": "sha256:one", "package": data, "revision": "c0ffee",
        "environment": {"GREETING": "hello", "TOKEN": "planted"}, "options": RUNTIME, "attempt": f"{1:016x}",
    }  # fmt: skip
    return Desired(**{**fields, **changes})


def other(desired: Desired, number: int, data: bytes, **changes: Any) -> Desired:
    return again(desired, number, package=data, artifact=digest(data), config=f"sha256:{number}", **changes)


def answer(cloud: Lab, host: str = "app") -> str:
    return cloud.request("GET", f"https://{host}.azurewebsites.net/api/hook").text


def site(cloud: Lab, path: str = APP) -> Any:
    return cloud.arm("GET", path).json()


def settings(cloud: Lab, path: str = APP) -> dict[str, str]:
    return dict(cloud.arm("POST", f"{path}/config/appsettings/list").json()["properties"])


def swaps(cloud: Lab) -> int:
    return sum("slotsswap" in line for line in cloud.asked())


def slots(cloud: Lab) -> list[str]:
    return [item["name"] for item in cloud.arm("GET", f"{APP}/slots").json()["value"]]


def test_an_app_is_made_updated_by_a_swap_and_deleted(cloud: Lab, make: Make, desired: Desired) -> None:
    check_options(make(), desired)
    assert make().observe("app") is None
    first = deployed(make, desired, smoke=dataclasses.replace(ASK, contains="one hello"))
    assert difference(desired, first) == ()
    assert slots(cloud) == []
    assert site(cloud)["tags"] == {"triplane-commit": "c0ffee", "triplane-digest": desired.artifact}

    update = other(desired, 2, TWO, environment={"GREETING": "bye"})
    assert difference(update, first) == (
        f"code: {desired.artifact} -> {update.artifact}",
        "environment GREETING: changed",
        "environment TOKEN: removed (not in the spec)",
    )
    seen = []

    def look(attempt: Any) -> None:
        seen.append((attempt.phase, answer(cloud)))

    second = deployed(make, update, between=look, smoke=dataclasses.replace(ASK, contains="two bye"))
    assert ("shift", "one hello") in seen
    assert answer(cloud) == "two bye"
    assert answer(cloud, "app-staging") == "one hello"
    assert difference(update, second) == ()
    assert site(cloud)["tags"]["triplane-digest"] == update.artifact
    assert "planted" not in str(second.options)
    third = deployed(make, other(desired, 3, ONE))
    assert answer(cloud, "app-staging") == "two bye"
    assert third.version not in (first.version, second.version)
    deleted(make, "app")
    assert make().observe("app") is None


@pytest.mark.parametrize("data", [UNIMPORTABLE, NO_ARCHIVE], ids=["import", "archive"])
@pytest.mark.parametrize("slot", ["staging", "none"])
def test_an_update_that_fails_is_taken_back(
    cloud: Lab, make: Make, desired: Desired, data: bytes, slot: str
) -> None:
    desired = dataclasses.replace(desired, options={**RUNTIME, "slot": slot})
    first = deployed(make, desired)
    lines: list[str] = []
    bad = other(desired, 2, data, environment={"GREETING": "bad"})
    attempt = run(make, bad, first, log=lines.append)
    assert attempt.failed
    found = make().observe("app")
    assert found is not None
    assert found.version == attempt.serves
    assert difference(desired, found) == ()
    assert answer(cloud) == "one hello"
    assert slots(cloud) == []
    assert "planted" not in "".join(lines)
    deployed(make, other(desired, 3, TWO))
    assert answer(cloud) == "two hello"


def test_a_version_that_fails_its_smoke_test_never_serves(cloud: Lab, make: Make, desired: Desired) -> None:
    first = deployed(make, desired)
    bad = other(desired, 2, package("bad", status=503), options={"runtime": "python|3.11"})
    cloud.asked()
    attempt = run(make, bad, first, smoke=ASK)
    assert "it answered 503" in attempt.failed
    assert make().observe("app") == first
    assert swaps(cloud) == 0


def test_after_the_swap_a_swap_takes_it_back(cloud: Lab, make: Make, desired: Desired) -> None:
    first = deployed(make, desired)
    update = other(
        desired,
        2,
        TWO,
        options={**RUNTIME, "allow": ["10.0.0.0/8"], "identity": [IDENTITY], "vnet_subnet": SUBNET},
    )
    assert difference(update, deployed(make, update)) == ()
    assert site(cloud)["identity"]["type"] == "UserAssigned"
    while not hasattr(progress := make().restore("app", first, print), "version"):
        pass
    assert progress.version == first.version
    found = make().observe("app")
    assert found == first
    assert answer(cloud) == "one hello"
    assert slots(cloud) == []


def test_a_first_deployment_that_fails_leaves_nothing(cloud: Lab, make: Make, desired: Desired) -> None:
    attempt = run(make, other(desired, 1, NO_ARCHIVE), None)
    assert "not a zip archive" in attempt.failed
    assert attempt.serves == ""
    assert make().observe("app") is None


def test_an_app_of_somebody_else_is_left_alone(cloud: Lab, make: Make, desired: Desired) -> None:
    assert cloud.arm("PUT", APP, {"location": LOCATION, "properties": {}}).ok
    with pytest.raises(StaleError, match="left alone"):
        make().restore("app", None, print)
    found = make().observe("app")
    assert found is not None
    assert found.version == ""
    deployed(make, desired)
    assert answer(cloud) == "one hello"


def test_what_somebody_changed_by_hand_is_seen(cloud: Lab, make: Make, desired: Desired) -> None:
    first = deployed(make, desired)
    changed = settings(cloud) | {"GREETING": "by hand", "EXTRA": "1"}
    assert cloud.arm("PUT", f"{APP}/config/appsettings", {"properties": changed}).ok
    assert cloud.arm("PATCH", f"{APP}/config/web", {"properties": {"healthCheckPath": "/x"}}).ok
    found = make().observe("app")
    assert found is not None
    assert difference(desired, found) == (
        "health_path: /x -> /api/hook",
        "environment EXTRA: removed (not in the spec)",
        "environment GREETING: changed",
    )
    url = "https://app.scm.azurewebsites.net/api/zipdeploy"
    assert cloud.request("POST", url, data=TWO, headers={"Authorization": f"Bearer {cloud.token()}"}).ok
    with pytest.raises(StaleError, match="somebody else deploys"):
        make().prepare(other(desired, 2, TWO), first, print)
    deployed(make, again(desired, 3))
    assert answer(cloud) == "one hello"


@pytest.mark.parametrize("sku", ["Basic", "Dynamic"])
def test_a_plan_without_a_free_slot_is_deployed_to_in_place(
    cloud: Lab, make: Make, desired: Desired, sku: str
) -> None:
    plan = {"location": LOCATION, "sku": {"name": "X", "tier": sku}, "properties": {"reserved": True}}
    assert cloud.arm("PUT", PLAN, plan).ok
    desired = dataclasses.replace(desired, options={**RUNTIME, "plan": PLAN})
    first = deployed(make, desired)
    if sku == "Dynamic":
        assert cloud.arm("PUT", f"{APP}/slots/theirs", {"location": LOCATION, "properties": {}}).ok
    second = deployed(make, other(desired, 2, TWO))
    assert answer(cloud) == "two hello"
    assert slots(cloud) == ([] if sku == "Basic" else ["app/theirs"])
    attempt = run(make, other(desired, 3, UNIMPORTABLE, environment={}), second)
    assert attempt.failed
    assert answer(cloud) == "two hello"
    assert attempt.serves not in (first.version, second.version)


def test_in_place_what_serves_is_kept_before_it_is_replaced(
    cloud: Lab, make: Make, desired: Desired, store: Store
) -> None:
    desired = dataclasses.replace(desired, options={**RUNTIME, "slot": "none"})
    first = deployed(make, desired)
    assert store == {}
    deployed(make, other(desired, 2, TWO))
    assert list(store.values()) == [ONE]
    progress: Any = None
    while not hasattr(progress, "version"):
        progress = make().restore("app", first, print)
    assert answer(cloud) == "one hello"
    found = make().observe("app")
    assert found is not None
    assert difference(desired, found) == ()


def test_an_image_is_run_and_swapped(cloud: Lab, make: Make) -> None:
    wanted = Desired(
        name="app", artifact=IMAGE, config="sha256:one", environment={"A": "keyvault://vault/a"},
        options={"identity": [IDENTITY], "min_tls": "1.3", "https_only": False, "auth_level": "admin",
                 "slot": "blue", "allow": []},
        attempt=f"{1:016x}",
    )  # fmt: skip
    first = deployed(make, wanted)
    assert difference(wanted, first) == ()
    assert settings(cloud)["A"] == "@Microsoft.KeyVault(SecretUri=https://vault.vault.azure.net/secrets/a/)"
    newer = again(wanted, 2, artifact=IMAGE.replace("a" * 64, "b" * 64))
    second = deployed(make, newer)
    assert second.version == newer.attempt
    assert slots(cloud) == ["app/blue"]
    attempt = run(make, again(wanted, 3, artifact=ABSENT), second, limit=3.0)
    assert "loads no function" in attempt.failed
    assert make().observe("app") == second


def test_a_function_with_a_key_can_be_asked(cloud: Lab, make: Make, desired: Desired) -> None:
    closed = other(desired, 1, package("closed", level="FUNCTION"), options={"runtime": "python|3.11"})
    found = deployed(make, closed, smoke=dataclasses.replace(ASK, contains="closed"))
    assert make().invoke("app", found.version, dataclasses.replace(ASK, status=401)).status == 401
    with pytest.raises(InputError, match="holds other"):
        make().invoke("app", "other", ASK)


def test_settings_of_a_slot_stay_and_are_not_ours(cloud: Lab, make: Make, desired: Desired) -> None:
    deployed(make, desired)
    names = {"properties": {"appSettingNames": ["STICKY"]}}
    assert cloud.arm("PUT", f"{APP}/config/slotConfigNames", names).ok
    changed = settings(cloud) | {"STICKY": "production"}
    assert cloud.arm("PUT", f"{APP}/config/appsettings", {"properties": changed}).ok
    second = deployed(make, other(desired, 2, TWO))
    assert settings(cloud)["STICKY"] == "production"
    assert "STICKY" not in second.environment
    attempt = run(make, other(desired, 3, ONE, environment={"STICKY": "x"}), second)
    assert "deployment slot setting" in attempt.failed


@pytest.mark.parametrize("data", [TWO, UNIMPORTABLE], ids=["good", "bad"])
@pytest.mark.parametrize("slot", ["staging", "none"])
def test_each_step_may_be_made_twice(
    cloud: Lab, make: Make, desired: Desired, data: bytes, slot: str
) -> None:
    desired = dataclasses.replace(desired, options={**RUNTIME, "slot": slot})
    first = deployed(make, desired, forget=True)
    asked = cloud.asked()
    assert sum("/zipdeploy" in line for line in asked) == 1
    attempt = run(make, other(desired, 2, data), first, forget=True)
    assert bool(attempt.failed) == (data == UNIMPORTABLE)
    asked = cloud.asked()
    expected = 2 if slot == "none" and attempt.failed else 1
    assert sum("/zipdeploy" in line for line in asked) == expected
    found = make().observe("app")
    assert found is not None
    assert found.version == attempt.serves
    assert answer(cloud) == ("one hello" if attempt.failed else "two hello")


FAULTS: list[dict[str, Any]] = [
    {"status": 429, "code": "TooManyRequests", "retry_after": 30},
    {"status": 503, "code": "ServiceUnavailable"},
    {"status": 401, "code": "ExpiredAuthenticationToken"},
    {"status": 500, "lost": True},
]
EVERYTHING = "/Microsoft.Web/|/api/(zipdeploy|deployments)"


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("fault", "slot"),
    [(FAULTS[0], "none"), (FAULTS[1], "none"), (FAULTS[2], "none"), (FAULTS[3], "staging")],
    ids=["429", "503", "401", "lost"],
)
def test_every_call_may_fail_once(
    cloud: Lab, make: Make, desired: Desired, fault: dict[str, Any], slot: str
) -> None:
    desired = dataclasses.replace(desired, options={"runtime": "python|3.11", "slot": slot})
    deployed(make, desired)
    cloud.asked()
    deployed(make, other(desired, 2, TWO))
    calls = [line for line in cloud.asked() if re.search(EVERYTHING, line)]
    # A lost answer matters where something was written; the other kinds share the calls among them.
    writes = [number for number, line in enumerate(calls) if not line.startswith("GET")]
    numbers = writes if fault.get("lost") else range(FAULTS.index(fault), len(calls), 4)
    for number in numbers:
        wanted = other(desired, 10 + number, (ONE, TWO)[number % 2])
        previous = make().observe("app")
        cloud.asked()
        cloud.fault(path=EVERYTHING, after=number, **fault)
        attempt = run(make, wanted, previous)
        cloud.calm()
        assert not attempt.failed, attempt.failed
        asked = cloud.asked()
        begun = [sum(part in line for line in asked) for part in ("/zipdeploy", "slotsswap")]
        once = [1, int(slot == "staging")]
        assert begun == once or (not fault.get("lost") and sum(begun) == sum(once) + 1), begun
        found = make().observe("app")
        assert found is not None
        assert difference(wanted, found) == ()
        assert answer(cloud) == ("one hello", "two hello")[number % 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environment": {"FUNCTIONS_WORKER_RUNTIME": "node"}}, "set by Triplane"),
        ({"options": {}}, "runtime"),
        ({"options": {"runtime": "python3.11"}}, "runtime"),
        ({"options": {**RUNTIME, "plan": "p"}}, "resource id"),
        ({"options": {**RUNTIME, "auth_level": "all"}}, "anonymous, function, admin"),
        ({"options": {**RUNTIME, "allow": ["everybody"]}}, "networks such as"),
        ({"package": None, "options": {}}, "image by its digest"),
        ({"package": None, "artifact": IMAGE}, "leave out `runtime`"),
        ({"environment": {"A": "keyvault://vault"}}, "keyvault://VAULT/NAME"),
    ],
)
def test_what_is_refused_before_anything_is_done(
    cloud: Lab, make: Make, desired: Desired, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make().prepare(dataclasses.replace(desired, **changes), None, print)
    assert make().observe("app") is None


@pytest.mark.parametrize(
    ("message", "artifact"),
    [
        (body.message("sha256:abc", "1"), "sha256:abc"),
        (body.message(None, "1"), None),
        ("sha256:abc", None),
        ("Created via a push deployment", None),
        ("", None),
    ],
)
def test_only_our_own_deployments_say_which_package_they_are(message: str, artifact: str | None) -> None:
    assert body.artifact_of(message) == artifact


def test_a_stale_observation_is_refused(cloud: Lab, make: Make, desired: Desired) -> None:
    deployed(make, desired)
    with pytest.raises(StaleError):
        make().prepare(other(desired, 2, TWO), Observed(version="other"), print)
    with pytest.raises(StaleError, match="is gone"):
        make().prepare(dataclasses.replace(desired, name="gone"), Observed(version="other"), print)
