"""Serves Azure's control plane on one loopback port, told apart by the host that the client asked for.

Usage: ``python -m triplane.sandbox.azure.server SETTINGS_JSON``.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from yarl import URL

from triplane.sandbox import builds, faults
from triplane.sandbox.azure import logic
from triplane.sandbox.azure.apps import Apps
from triplane.sandbox.azure.arm import ResourceManager
from triplane.sandbox.azure.container_apps import ContainerApps
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.faults import Fault, Faults
from triplane.sandbox.azure.metrics import Metrics
from triplane.sandbox.azure.schema import Contract
from triplane.sandbox.azure.scm import Sites
from triplane.sandbox.azure.tasks import Tasks
from triplane.sandbox.azure.tokens import AuthError, Directory, instances
from triplane.sandbox.azure.vaults import SUFFIX as VAULTS
from triplane.sandbox.azure.vaults import Vaults
from triplane.sandbox.azure.world import Settings, World

log = logging.getLogger("azure")
LOGIN = ("login.microsoftonline.com", "login.windows.net", "sts.windows.net")
MAX_BODY = 256 << 20
MAX_ASKED = 5000
SITES, SCM, CONTAINERS = ".azurewebsites.net", ".scm.azurewebsites.net", ".azurecontainerapps.io"


class Server:
    """All hosts of the control plane."""

    def __init__(self, settings: Settings) -> None:
        world = World(settings)
        contract = Contract(json.loads(Path(settings.contract).read_text()))
        self._directory = Directory(settings.tenant, settings.client_id, settings.client_secret)
        self._faults = Faults()
        self._asked: deque[str] = deque(maxlen=MAX_ASKED)
        self._sites = Sites(world, self._directory, Apps(Path(settings.home) / "sites"))
        runner = builds.Builds(
            Path(settings.home).parent / "builds" / "azure", builds.environment(settings.proxy, settings.ca)
        )
        tasks = Tasks(world, self._directory, runner, gate=settings.gate, blobs=settings.blobs)
        world.settlers.append(tasks.settle)
        self._containers = ContainerApps(world)
        self._vaults = Vaults(self._directory)
        self._metrics = Metrics(world, self._directory)
        listers = {
            "microsoft.web/sites/functions": self._sites.functions,
            "microsoft.web/sites/slots/functions": self._sites.functions,
        }
        actions = {**tasks.actions(), **self._sites.actions(), **logic.actions(self._called)}
        self._arm = ResourceManager(world, contract, self._directory, self._faults, listers, actions)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        host = request.host.partition(":")[0].lower()
        try:
            if host in ("127.0.0.1", "localhost"):
                return await self._sandbox(request)
            self._asked.append(f"{request.method} {host}{request.path}")
            fault = self._faults.request(request.method, request.path)
            if fault and not fault.lost:
                raise fault.error()
            answer = await self._dispatch(host, request)
            if fault:
                raise fault.error()
        except ArmError as error:
            answer = web.json_response(error.body(), status=error.status, headers=error.headers)
        except AuthError as error:
            answer = web.json_response(error.body(), status=error.status)
        log.info("%s %s%s %s", request.method, host, request.path, answer.status)
        return answer

    async def _dispatch(self, host: str, request: web.Request) -> web.Response:
        if host == "management.azure.com":
            return await self._metrics.answer(request) or await self._arm.handle(request)
        if host in LOGIN:
            return await self._login(request)
        if host.endswith(SCM):
            return await self._sites.scm(host.removesuffix(SCM), request)
        if host.endswith(SITES):
            return await self._sites.serve(host.removesuffix(SITES), request)
        if host.endswith(VAULTS):
            return await self._vaults.handle(host.removesuffix(VAULTS), request)
        if host.endswith(CONTAINERS):
            return self._containers.serve(host, request)
        raise ArmError(404, "NotFound", f"The sandbox does not serve {host}.")

    async def _called(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> int:
        """The status that a function app of the sandbox answers with, 0 where there is none."""
        if not (url.host or "").endswith(SITES):
            return 0
        try:
            answer = await self._sites.call((url.host or "").removesuffix(SITES), method, url, headers, body)
        except ArmError as error:
            return error.status
        return answer.status

    async def _login(self, request: web.Request) -> web.Response:
        path = request.path.strip("/")
        tenant, _, rest = path.partition("/")
        if rest == "discovery/instance":
            return web.json_response(instances())
        if rest in ("v2.0/.well-known/openid-configuration", ".well-known/openid-configuration"):
            return web.json_response(self._directory.configuration(tenant, v2=rest.startswith("v2.0")))
        if rest in ("discovery/v2.0/keys", "discovery/keys"):
            return web.json_response(self._directory.keys())
        if rest in ("oauth2/v2.0/token", "oauth2/token") and request.method == "POST":
            form = {key: str(value) for key, value in (await request.post()).items()}
            return web.json_response(self._directory.token(tenant, form))
        raise AuthError(404, "not_found", 900023, f"Nothing is served at '{request.path}'.")

    async def _sandbox(self, request: web.Request) -> web.Response:
        """For the sandbox's own parts and tests, on the loopback address only."""
        if request.path == "/_sandbox/ready":
            return web.Response(text="ready")
        if request.path == "/_sandbox/tokeninfo":
            try:
                return web.json_response(self._directory.claims(request.query.get("access_token", "")))
            except jwt.InvalidTokenError as error:
                return web.json_response(
                    {"error": "invalid_token", "error_description": str(error)}, status=401
                )
        if request.path == "/_sandbox/series" and request.method == "POST":
            self._metrics.write(await request.json())
            return web.Response(status=204)
        if request.path == "/_sandbox/alerts" and request.method == "POST":
            self._metrics.fire(await request.json())
            return web.Response(status=204)
        if request.path.startswith("/_sandbox/sites/"):
            return web.json_response(self._sites.summary(request.path.rpartition("/")[2]))
        if request.path == "/_sandbox/asked":
            asked, self._asked = list(self._asked), deque(maxlen=MAX_ASKED)
            return web.json_response(asked)
        if request.path == faults.PATH:
            return await faults.order(request, self._faults, Fault)
        return web.Response(status=404)


def application(settings: Settings) -> web.Application:
    """The server as an aiohttp application."""
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", Server(settings).handle)
    return app


def main(argv: list[str]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    settings = Settings.read(Path(argv[0]))
    options: dict[str, Any] = {"host": "127.0.0.1", "port": settings.port, "print": None, "access_log": None}
    web.run_app(application(settings), **options)


if __name__ == "__main__":
    main(sys.argv[1:])
