"""Slots of function apps and Container Apps: what is accepted, what is refused, and what a swap moves."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

import pytest

SITES = "/resourceGroups/g/providers/Microsoft.Web/sites"
PLANS = "/resourceGroups/g/providers/Microsoft.Web/serverfarms"
APPS = "/resourceGroups/g/providers/Microsoft.App/containerApps"
ENVIRONMENTS = "/resourceGroups/g/providers/Microsoft.App/managedEnvironments"
SITE = {"location": "westeurope", "properties": {}}
NEW = "2026-07-01"
IMAGE = f"streaming.azurecr.io/hook@sha256:{'a' * 64}"


async def begin(az: Any) -> None:
    await az.login()
    await az.arm("PUT", "/resourceGroups/g", {"location": "westeurope"}, "2025-04-01")
    assert (await az.arm("PUT", f"{SITES}/one", SITE))[0] == 200


async def settle(seconds: float = 0.05) -> None:
    await asyncio.sleep(2 * seconds)


def test_a_swap_moves_settings_but_not_sticky_ones(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        await begin(az)
        status, body, _ = await az.arm("PUT", f"{SITES}/one/slots/blue", SITE)
        assert (status, body["properties"]["defaultHostName"]) == (200, "one-blue.azurewebsites.net")
        for path, value in ((f"{SITES}/one", "production"), (f"{SITES}/one/slots/blue", "slot")):
            values = {"MOVES": value, "STAYS": value}
            assert (await az.arm("PUT", f"{path}/config/appsettings", {"properties": values}))[0] == 200
            web = {"properties": {"linuxFxVersion": value, "minTlsVersion": "1.2"}}
            assert (await az.arm("PATCH", f"{path}/config/web", web))[0] == 200
        names = {"properties": {"appSettingNames": ["STAYS"]}}
        assert (await az.arm("PUT", f"{SITES}/one/config/slotConfigNames", names))[0] == 200
        swap = {"targetSlot": "blue", "preserveVnet": True}
        status, _, headers = await az.arm("POST", f"{SITES}/one/slotsswap", swap)
        assert (status, headers["Retry-After"]) == (202, "1")
        _, body, _ = await az.arm("GET", f"{SITES}/one")
        assert body["properties"]["inProgressOperationId"]
        status, body, _ = await az.arm("PUT", f"{SITES}/one/slots/blue", SITE)
        assert (status, "in progress" in body["error"]["message"]) == (409, True)
        await settle()
        _, body, _ = await az.arm("POST", f"{SITES}/one/config/appsettings/list")
        assert body["properties"] == {"MOVES": "slot", "STAYS": "production"}
        _, body, _ = await az.arm("GET", f"{SITES}/one/config/web")
        assert body["properties"]["linuxFxVersion"] == "slot"
        assert "inProgressOperationId" not in (await az.arm("GET", f"{SITES}/one"))[1]["properties"]

    azure(scenario)


def test_a_swap_that_fails_moves_nothing(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        await begin(az)
        await az.arm("PUT", f"{SITES}/one/slots/blue", SITE)
        await az.arm("PUT", f"{SITES}/one/config/appsettings", {"properties": {"A": "1"}})
        fault = {"path": "slotsswap$", "operation": True, "code": "SwapFailed", "message": "no warm up"}
        await az.call("POST", "127.0.0.1", "/_sandbox/faults", json=fault)
        swap = {"targetSlot": "blue", "preserveVnet": True}
        _, _, headers = await az.arm("POST", f"{SITES}/one/slotsswap", swap)
        await settle()
        path = re.sub(r"^https://[^/]+|\?.*", "", headers["Location"])
        assert (await az.arm("GET", path))[1]["error"]["code"] == "SwapFailed"
        _, body, _ = await az.arm("POST", f"{SITES}/one/config/appsettings/list")
        assert body["properties"] == {"A": "1"}

    azure(scenario)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("PUT", f"{SITES}/one/slots/s", {**SITE, "colour": 1}, 400, "Could not find member 'colour'"),
        ("PUT", f"{SITES}/one/slots/s", {"properties": {}}, 400, "location property is required"),
        ("PUT", f"{SITES}/none/slots/s", SITE, 404, "parent resource"),
        ("POST", f"{SITES}/one/slotsswap", {"targetSlot": "s"}, 400, "preserveVnet"),
        ("POST", f"{SITES}/one/slotsswap", {"targetSlot": "s", "preserveVnet": True}, 404, "Cannot find slot"),
        ("PUT", f"{SITES}/two", {**SITE, "properties": {"clientCertMode": "Maybe"}}, 400, "clientCertMode"),
        ("PUT", f"{SITES}/two", {**SITE, "properties": {"siteConfig": {"minTlsVersion": "9"}}}, 400, "minTlsVersion"),
    ],
)  # fmt: skip
def test_what_is_refused_of_slots(
    azure: Any, method: str, path: str, body: Any, status: int, message: str
) -> None:
    async def scenario(az: Any) -> None:
        await begin(az)
        answer = await az.arm(method, path, body)
        assert (answer[0], message in answer[1]["error"]["message"]) == (status, True), answer[1]

    azure(scenario)


@pytest.mark.parametrize(("tier", "allowed"), [("Basic", 0), ("Dynamic", 1), ("ElasticPremium", 2)])
def test_a_plan_allows_so_many_slots(azure: Any, tier: str, allowed: int) -> None:
    async def scenario(az: Any) -> None:
        await begin(az)
        plan = {"location": "westeurope", "sku": {"name": "X", "tier": tier}, "properties": {}}
        _, made, _ = await az.arm("PUT", f"{PLANS}/p", plan)
        site = {**SITE, "properties": {"serverFarmId": made["id"]}}
        await az.arm("PUT", f"{SITES}/two", site)
        for number in range(allowed):
            assert (await az.arm("PUT", f"{SITES}/two/slots/s{number}", SITE))[0] == 200
        status, body, _ = await az.arm("PUT", f"{SITES}/two/slots/more", SITE)
        assert (status, f"allowed for the '{tier}' SKU" in body["error"]["message"]) == (409, True)

    azure(scenario)


def app(environment: str, **changes: Any) -> dict[str, Any]:
    container = {"name": "app", "image": IMAGE, **changes.pop("container", {})}
    configuration = {"activeRevisionsMode": "Multiple", "ingress": {"external": True, "targetPort": 80}}
    template = {"revisionSuffix": "one", "containers": [container], **changes.pop("template", {})}
    configuration |= changes.pop("configuration", {})
    properties = {"environmentId": environment, "configuration": configuration, "template": template}
    return {"location": "westeurope", "properties": {**properties, **changes}}


async def environment(az: Any, seconds: float = 0.05) -> str:
    await begin(az)
    _, made, headers = await az.arm("PUT", f"{ENVIRONMENTS}/e", SITE, NEW)
    assert headers["Azure-AsyncOperation"]
    await settle(seconds)
    return str(made["id"])


def test_traffic_weights_decide_which_revision_answers(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        home = await environment(az, 0.4)
        secret = {
            "configuration": {"ingress": {"external": True}, "secrets": [{"name": "s", "value": "planted"}]}
        }
        status, made, _ = await az.arm("PUT", f"{APPS}/hook", app(home, **secret), NEW)
        assert (status, made["properties"]["provisioningState"]) == (201, "InProgress")
        assert "planted" not in str(made)
        assert (await az.arm("PUT", f"{APPS}/hook", app(home), NEW))[0] == 409
        await settle(0.4)
        second = {"revisionSuffix": "two", "containers": [{"name": "app", "image": IMAGE}]}
        traffic = [{"revisionName": "hook--one", "weight": 80}, {"revisionName": "hook--two", "weight": 20}]
        change = {"properties": {"template": second, "configuration": {"ingress": {"traffic": traffic}}}}
        assert (await az.arm("PATCH", f"{APPS}/hook", change, NEW))[0] == 200
        await settle(0.4)
        _, body, _ = await az.arm("GET", f"{APPS}/hook", version=NEW)
        host = body["properties"]["configuration"]["ingress"]["fqdn"]
        found: Counter[str] = Counter()
        for _ in range(100):
            found[(await az.call("GET", host, "/"))[1]["revision"]] += 1
        assert found == {"hook--one": 80, "hook--two": 20}
        single = body["properties"]["latestRevisionFqdn"]
        assert (await az.call("GET", single, "/x"))[1]["revision"] == "hook--two"
        status, _, _ = await az.arm("POST", f"{APPS}/hook/revisions/hook--two/deactivate", version=NEW)
        assert status == 400
        _, body, _ = await az.arm("POST", f"{APPS}/hook/listSecrets", version=NEW)
        assert body["value"] == [{"name": "s", "value": "planted"}]
        assert (await az.arm("DELETE", f"{APPS}/hook", version=NEW))[0] == 202
        await settle(0.4)
        assert (await az.arm("GET", f"{APPS}/hook", version=NEW))[0] == 404

    azure(scenario, seconds=0.4)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"colour": "red"}, "InvalidRequestContent"),
        ({"configuration": {"activeRevisionsMode": "Many"}}, "InvalidRequestContent"),
        ({"environmentId": "/none"}, "ContainerAppInvalidEnvironmentId"),
        ({"template": {"containers": []}}, "ContainerAppContainerRequired"),
        ({"container": {"resources": {"cpu": 0.5, "memory": "4Gi"}}}, "ContainerAppInvalidResourceTotal"),
        ({"container": {"env": [{"name": "A", "secretRef": "s"}]}}, "ContainerAppSecretRefNotFound"),
        ({"template": {"revisionSuffix": "Not_Good"}}, "ContainerAppInvalidRevisionSuffix"),
        ({"template": {"scale": {"minReplicas": 3, "maxReplicas": 1}}}, "ContainerAppInvalidScale"),
        (
            {"configuration": {"ingress": {"targetPort": 80, "traffic": [{"latestRevision": True, "weight": 9}]}}},
            "ContainerAppInvalidTraffic",
        ),
        (
            {"configuration": {"ingress": {"targetPort": 80, "traffic": [{"revisionName": "x", "weight": 100}]}}},
            "ContainerAppRevisionNotFound",
        ),
        (
            {"configuration": {"secrets": [{"name": "s", "keyVaultUrl": "https://v/secrets/s", "identity": "i"}]}},
            "ContainerAppIdentityNotFound",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_of_apps(azure: Any, changes: dict[str, Any], code: str) -> None:
    async def scenario(az: Any) -> None:
        home = await environment(az)
        status, body, _ = await az.arm("PUT", f"{APPS}/hook", app(home, **dict(changes)), NEW)
        assert (status, body["error"]["code"]) == (400, code), body

    azure(scenario)


def test_a_revision_suffix_is_used_once(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        home = await environment(az)
        await az.arm("PUT", f"{APPS}/hook", app(home), NEW)
        await settle()
        other = app(home, container={"env": [{"name": "A", "value": "1"}]})
        status, body, _ = await az.arm("PUT", f"{APPS}/hook", other, NEW)
        assert (status, body["error"]["code"]) == (400, "ContainerAppRevisionSuffixExists")

    azure(scenario)


def test_a_request_whose_answer_is_lost_was_carried_out(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        await begin(az)
        fault = {"path": "sites/two$", "method": "PUT", "status": 500, "lost": True, "after": 0}
        await az.call("POST", "127.0.0.1", "/_sandbox/faults", json=fault)
        assert (await az.arm("PUT", f"{SITES}/two", SITE))[0] == 500
        assert (await az.arm("GET", f"{SITES}/two"))[0] == 200

    azure(scenario)
