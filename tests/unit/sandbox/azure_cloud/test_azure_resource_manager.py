"""Requests that Azure Resource Manager takes and refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

GROUP = "/resourceGroups/g"
NETWORKS = f"{GROUP}/providers/Microsoft.Network/virtualNetworks"
CLUSTERS = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters"
SITES = f"{GROUP}/providers/Microsoft.Web/sites"
SPACE = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}


async def make_group(az: Any) -> None:
    await az.login()
    status, _, _ = await az.arm("PUT", GROUP, {"location": "westeurope"}, "2025-04-01")
    assert status == 201


def versions(contract_file: Any, kind: str) -> str:
    import json

    for operation in json.loads(contract_file.read_text())["operations"]:
        if operation["method"] == "PUT" and f"/{kind}/".lower() in operation["template"].lower():
            return str(operation["api_versions"][-1])
    raise AssertionError(kind)


@pytest.fixture
def network(contract_file: Any) -> str:
    return versions(contract_file, "Microsoft.Network/virtualNetworks")


async def finished(az: Any, headers: Any) -> dict[str, Any]:
    path = headers["Azure-AsyncOperation"].removeprefix("https://management.azure.com").partition("?")[0]
    for _ in range(100):
        _, body, _ = await az.arm("GET", path)
        if body["status"] != "InProgress":
            return dict(body)
        await asyncio.sleep(0.02)
    raise AssertionError("the operation does not end")


def test_a_long_running_operation_succeeds(azure: Any, network: str) -> None:
    async def scenario(az: Any) -> None:
        await make_group(az)
        status, body, headers = await az.arm("PUT", f"{NETWORKS}/n", SPACE, network)
        assert (status, body["properties"]["provisioningState"]) == (201, "Creating")
        assert headers["Retry-After"] == "1"
        assert (await finished(az, headers))["status"] == "Succeeded"
        status, body, _ = await az.arm("GET", f"{NETWORKS}/n", version=network)
        assert (status, body["properties"]["provisioningState"]) == (200, "Succeeded")
        assert body["type"] == "Microsoft.Network/virtualNetworks"

    azure(scenario)


def test_a_long_running_operation_fails(azure: Any, network: str) -> None:
    async def scenario(az: Any) -> None:
        await make_group(az)
        fault = {"path": "virtualNetworks/n$", "operation": True, "code": "Broken", "message": "it broke"}
        assert (await az.call("POST", "127.0.0.1", "/_sandbox/faults", json=fault))[0] == 204
        _, _, headers = await az.arm("PUT", f"{NETWORKS}/n", SPACE, network)
        body = await finished(az, headers)
        assert body["status"] == "Failed"
        assert body["error"] == {"code": "Broken", "message": "it broke"}
        _, body, _ = await az.arm("GET", f"{NETWORKS}/n", version=network)
        assert body["properties"]["provisioningState"] == "Failed"

    azure(scenario)


def test_a_result_by_location(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        await make_group(az)
        path = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/account1"
        body = {"location": "westeurope", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
        status, _, headers = await az.arm("PUT", path, body, "2023-01-01")
        assert status == 202
        location = headers["Location"].removeprefix("https://management.azure.com").partition("?")[0]
        assert (await az.arm("GET", location))[0] == 202
        await asyncio.sleep(1.1)
        status, body, _ = await az.arm("GET", location)
        assert (status, body["properties"]["primaryEndpoints"]["blob"]) == (
            200,
            "https://account1.blob.core.windows.net/",
        )
        status, keys, _ = await az.arm("POST", f"{path}/listKeys", version="2023-01-01")
        assert (status, len(keys["keys"])) == (200, 2)

    azure(scenario, seconds=1.0)


@pytest.mark.parametrize(
    ("method", "path", "body", "version", "status", "code"),
    [
        ("GET", f"{NETWORKS}/none", None, "new", 404, "ResourceNotFound"),
        ("GET", f"{NETWORKS}/none", None, None, 400, "MissingApiVersionParameter"),
        ("GET", f"{NETWORKS}/none", None, "1999-01-01", 400, "NoRegisteredProviderFound"),
        ("GET", f"{GROUP}/providers/Microsoft.Nothing/x/y", None, "new", 404, "InvalidResourceNamespace"),
        ("GET", f"{GROUP}/providers/Microsoft.Network/x/y", None, "new", 404, "InvalidResourceType"),
        ("PUT", f"{NETWORKS}/n", {**SPACE, "colour": "red"}, "new", 400, "InvalidRequestContent"),
        ("PUT", f"{NETWORKS}/n", {**SPACE, "tags": {"a": 1}}, "new", 400, "InvalidRequestContent"),
        ("PUT", f"{NETWORKS}/n", {**SPACE, "tags": ["a"]}, "new", 400, "InvalidRequestContent"),
        ("PUT", f"{NETWORKS}/n/subnets/s", {"properties": {}}, "new", 404, "ParentResourceNotFound"),
        ("PUT", "/resourceGroups/none/providers/Microsoft.Network/virtualNetworks/n", SPACE, "new", 404,
         "ResourceGroupNotFound"),
        ("GET", "/subscriptions/00000000-0000-0000-0000-000000000002/resourcegroups", None, "2025-04-01", 404,
         "SubscriptionNotFound"),
        ("PUT", "/resourceGroups/other", {}, "2025-04-01", 400, "LocationRequired"),
    ],
)  # fmt: skip
def test_what_is_refused(
    azure: Any, network: str, method: str, path: str, body: Any, version: str | None, status: int, code: str
) -> None:
    async def scenario(az: Any) -> None:
        await make_group(az)
        answer = await az.arm(method, path, body, network if version == "new" else version)
        assert (answer[0], answer[1]["error"]["code"]) == (status, code)

    azure(scenario)


def test_a_subnet_must_lie_in_its_network(azure: Any, network: str) -> None:
    async def scenario(az: Any) -> None:
        await make_group(az)
        _, _, headers = await az.arm("PUT", f"{NETWORKS}/n", SPACE, network)
        await finished(az, headers)
        outside = {"properties": {"addressPrefix": "192.168.0.0/24"}}
        status, body, _ = await az.arm("PUT", f"{NETWORKS}/n/subnets/s", outside, network)
        assert (status, body["error"]["code"]) == (400, "NetcfgInvalidSubnet")
        inside = {"properties": {"addressPrefix": "10.0.3.0/24"}}
        assert (await az.arm("PUT", f"{NETWORKS}/n/subnets/s", inside, network))[0] == 201
        _, body, _ = await az.arm("GET", f"{NETWORKS}/n", version=network)
        assert [item["name"] for item in body["properties"]["subnets"]] == ["s"]

    azure(scenario)


def test_deleting_a_group_deletes_what_is_in_it(azure: Any, network: str) -> None:
    async def scenario(az: Any) -> None:
        await make_group(az)
        _, _, headers = await az.arm("PUT", f"{NETWORKS}/n", SPACE, network)
        await finished(az, headers)
        assert (await az.arm("DELETE", GROUP, version="2025-04-01"))[0] == 202
        await asyncio.sleep(0.1)
        assert (await az.arm("HEAD", GROUP, version="2025-04-01"))[0] == 404
        await az.arm("PUT", GROUP, {"location": "westeurope"}, "2025-04-01")
        assert (await az.arm("GET", NETWORKS, version=network))[1] == {"value": []}

    azure(scenario)


def test_tokens_are_checked(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        status, body = await az.login("wrong")
        assert (status, body["error"], body["error_codes"]) == (401, "invalid_client", [7000215])
        status, body, headers = await az.arm("GET", GROUP, version="2025-04-01")
        assert (status, body["error"]["code"]) == (401, "AuthenticationFailed")
        assert headers["WWW-Authenticate"].startswith("Bearer")
        await az.login()
        good = az.token
        az.token = good[:-4] + "AAAA"
        assert (await az.arm("GET", GROUP, version="2025-04-01"))[0] == 401
        for token, status in ((good, 200), (az.token, 401)):
            answer = await az.call("GET", "localhost", "/_sandbox/tokeninfo", params={"access_token": token})
            assert answer[0] == status

    azure(scenario)


def test_an_injected_fault_happens_once(azure: Any) -> None:
    async def scenario(az: Any) -> None:
        await make_group(az)
        fault = {"path": "resourcegroups/g", "status": 429, "code": "TooManyRequests", "retry_after": 2}
        await az.call("POST", "127.0.0.1", "/_sandbox/faults", json=fault)
        status, _, headers = await az.arm("GET", GROUP, version="2025-04-01")
        assert (status, headers["Retry-After"]) == (429, "2")
        assert (await az.arm("GET", GROUP, version="2025-04-01"))[0] == 200

    azure(scenario)


def test_application_settings_are_not_shown_with_the_site(azure: Any, contract_file: Any) -> None:
    async def scenario(az: Any) -> None:
        version = versions(contract_file, "Microsoft.Web/sites")
        await make_group(az)
        settings = [{"name": "TOKEN", "value": "planted"}]
        site = {"location": "westeurope", "properties": {"siteConfig": {"appSettings": settings}}}
        status, body, _ = await az.arm("PUT", f"{SITES}/app", site, version)
        assert status == 200
        assert "planted" not in str(body)
        _, body, _ = await az.arm("POST", f"{SITES}/app/config/appsettings/list", version=version)
        assert body["properties"] == {"TOKEN": "planted"}

    azure(scenario)
