"""Azure in the test's own process: the sandbox's control plane, asked by the unmodified SDKs over plain HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import SansIOHTTPPolicy

from triplane.sandbox.azure.server import application
from triplane.sandbox.azure.world import Settings

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-00000000000a"
CLIENT = "00000000-0000-0000-0000-0000000000c1"
GROUP, LOCATION = "streaming", "westeurope"
SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
MANAGER = "management.azure.com"


class Lab:
    """The server at ``url``; ``client`` makes SDK clients for it, and ``requests`` finds all hosts there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "right"}
        form["scope"] = f"https://{MANAGER}/.default"
        path = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
        self._token = str(self.request("POST", path, data=form).json()["access_token"])

    def token(self) -> str:
        return self._token

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        headers = {**options.pop("headers", {}), "Host": parts.netloc}
        return self._session.request(method, f"{self.url}{parts.path}{query}", headers=headers, **options)

    def arm(self, method: str, path: str, body: Any = None, version: str = "2025-05-01") -> requests.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"https://{MANAGER}{path}?api-version={version}"
        return self.request(method, url, json=body, headers=headers)

    def client(self, kind: type[Any]) -> Any:
        token = self._token

        class Host(SansIOHTTPPolicy):  # type: ignore[misc]
            def on_request(self, request: Any) -> None:
                request.http_request.headers["Host"] = MANAGER
                request.http_request.headers["Authorization"] = f"Bearer {token}"

        class Credential:
            def get_token(self, *scopes: str, **options: Any) -> AccessToken:
                return AccessToken(token, 4_000_000_000)

        return kind(
            Credential(), SUBSCRIPTION, base_url=self.url, authentication_policy=Host(), proxies={},
        )  # fmt: skip

    def fault(self, **fault: Any) -> None:
        self._session.post(f"{self.url}/_sandbox/faults", json=fault, timeout=10).raise_for_status()

    def calm(self) -> None:
        """No faults any more."""
        self._session.delete(f"{self.url}/_sandbox/faults", timeout=10)

    def asked(self) -> list[str]:
        """Every request since the last time, as ``METHOD host/path``."""
        return list(self._session.get(f"{self.url}/_sandbox/asked", timeout=10).json())


@contextmanager
def lab(home: Path, contract: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    settings = Settings(
        port=0, home=str(home), contract=str(contract), subscription=SUBSCRIPTION, tenant=TENANT,
        client_id=CLIENT, client_secret="right", key="key", state_account="state", state_key="c3RhdGU=",
        operation_seconds=0.01,
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    ready: list[int] = []
    began, ends = threading.Event(), asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(application(settings), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.append(runner.addresses[0][1])
        began.set()
        await ends.wait()
        await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as server:
            server.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert began.wait(30)
    try:
        found = Lab(f"http://127.0.0.1:{ready[0]}")
        monkeypatch.setattr("requests.request", found.request)
        monkeypatch.setenv("NO_PROXY", "*")
        group = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}"
        assert found.arm("PUT", group, {"location": LOCATION}, "2025-04-01").ok
        yield found
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join(10)
