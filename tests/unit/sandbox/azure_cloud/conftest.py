"""A server in the test's own process, with the contract of the installed SDKs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from triplane.sandbox.azure import contract
from triplane.sandbox.azure.server import application
from triplane.sandbox.azure.world import Settings

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-00000000000a"
CLIENT = "00000000-0000-0000-0000-0000000000c1"


class Azure:
    """Speaks to the server as to Azure: by host name, with a token."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.token = ""

    async def login(self, secret: str = "right") -> tuple[int, dict[str, Any]]:
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "client_secret": secret,
            "scope": "https://management.azure.com/.default",
        }
        host = "login.microsoftonline.com"
        status, body, _ = await self.call("POST", host, f"/{TENANT}/oauth2/v2.0/token", data=form)
        self.token = body.get("access_token", "")
        return status, body

    async def arm(
        self, method: str, path: str, body: Any = None, version: str | None = "2025-05-01"
    ) -> tuple[int, Any, Any]:
        params = {"api-version": version} if version else {}
        path = path if path.startswith("/subscriptions") else f"/subscriptions/{SUBSCRIPTION}{path}"
        return await self.call(method, "management.azure.com", path, json=body, params=params)

    async def call(self, method: str, host: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        headers = {"Host": host, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        async with self._client.request(method, path, headers=headers, **options) as answer:
            text = await answer.text()
            body = json.loads(text) if text and answer.content_type == "application/json" else text
            return answer.status, body, answer.headers


Scenario = Callable[[Azure], Awaitable[None]]


@pytest.fixture(scope="session")
def contract_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("azure") / "contract.json"
    file.write_text(json.dumps(contract.build()))
    return file


@pytest.fixture
def azure(tmp_path: Path, contract_file: Path) -> Callable[..., None]:
    """Runs a scenario against a fresh server, whose operations take ``seconds``."""
    settings = Settings(
        port=0,
        home=str(tmp_path),
        contract=str(contract_file),
        subscription=SUBSCRIPTION,
        tenant=TENANT,
        client_id=CLIENT,
        client_secret="right",
        key="key",
        state_account="streamingtfstate",
        state_key="c3RhdGU=",
    )

    async def run(scenario: Scenario, seconds: float) -> None:
        server = TestServer(application(replace(settings, operation_seconds=seconds)))
        async with TestClient(server) as client:
            await scenario(Azure(client))

    return lambda scenario, seconds=0.05: asyncio.run(run(scenario, seconds))
