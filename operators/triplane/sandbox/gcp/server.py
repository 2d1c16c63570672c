"""Google Cloud's control plane on loopback: REST on one port, gRPC on another.

Usage: ``python -m triplane.sandbox.gcp.server CONFIG_JSON`` with ``{"rest": port, "grpc": port, "home": path,
"email": str, "public_key": pem, "registry": url, "storage": url, "proxy": url, "ca": path}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

from triplane.sandbox import builds, faults
from triplane.sandbox.gcp import grpc_front
from triplane.sandbox.gcp.cloudbuild import CloudBuilds
from triplane.sandbox.gcp.contract import Contract, api_of
from triplane.sandbox.gcp.core import Core, Request
from triplane.sandbox.gcp.errors import ApiError
from triplane.sandbox.gcp.faults import Fault
from triplane.sandbox.gcp.functions import UPLOADS
from triplane.sandbox.gcp.oauth import OAuthError, Tokens
from triplane.sandbox.gcp.os_login import OsLogin
from triplane.sandbox.gcp.state import State
from triplane.sandbox.gcp.storage import Storage, parse

MAX_BODY = 1 << 30


class Server:
    """Sends each request to the host's API."""

    def __init__(self, core: Core, storage: Storage) -> None:
        self._core = core
        self._storage = storage

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return web.json_response(error.body(), status=error.code)
        except OAuthError as error:
            return web.json_response(error.body(), status=400)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        host = request.host.split(":")[0]
        if host in {"127.0.0.1", "localhost"}:
            return await self._own(request)
        if host == "oauth2.googleapis.com":
            return await self._token(request)
        if host == "storage.googleapis.com" and request.path.startswith(UPLOADS) and request.method == "PUT":
            return await self._upload(request)
        if host.endswith(".a.run.app"):
            return await self._serve(host, request)
        if api_of(host) == "storage":
            return await self._storage.handle(request)
        authorization = request.headers.get("Authorization")
        self._core.tokens.check(authorization)
        body = parse(await request.read())
        query = list(request.query.items())
        asked = Request(host, request.method, request.raw_path.split("?")[0], query, body, authorization)
        return web.json_response(await asyncio.to_thread(self._core.handle, asked))

    async def _token(self, request: web.Request) -> web.Response:
        if (request.method, request.path) != ("POST", "/token"):
            raise ApiError(404, f"The requested URL {request.path} was not found on this server.")
        form = {key: str(value) for key, value in (await request.post()).items()}
        return web.json_response(self._core.tokens.grant(form))

    async def _upload(self, request: web.Request) -> web.Response:
        """A function's package, to the URL that was signed for it."""
        signature = request.query.get("X-Goog-Signature", "")
        content, data = request.headers.get("Content-Type", ""), await request.read()
        self._core.functions.upload(request.path, signature, content, data)
        return web.Response(status=200)

    async def _serve(self, host: str, request: web.Request) -> web.Response:
        """What a service or a function answers at its own URL."""
        payload = await request.read()
        asked = Request(host, request.method, request.path, list(request.query.items()), None, None)
        found = await asyncio.to_thread(self._core.answer, asked, payload, dict(request.headers))
        return web.Response(status=found.status, body=found.body, headers=dict(found.headers))

    async def _own(self, request: web.Request) -> web.Response:
        """What only the rest of the sandbox asks, past the gateway."""
        if request.path == "/_sandbox/ready":
            return web.json_response({})
        if request.path == faults.PATH:
            return await faults.order(request, self._core.faults, Fault)
        if (request.method, request.path) == ("POST", "/_sandbox/series"):
            self._core.monitoring.write(await request.json())
            return web.json_response({})
        if (request.method, request.path) == ("POST", "/_sandbox/alerts"):
            self._core.monitoring.fire(await request.json())
            return web.json_response({})
        if request.path != "/_sandbox/tokeninfo":
            raise ApiError(404, f"{request.path} was not found")
        info = self._core.tokens.info(request.query.get("access_token", ""))
        if info is None:
            raise ApiError(401, "Invalid Value")
        return web.json_response(info)


async def serve(config: dict[str, Any]) -> None:
    """Serve until cancelled."""
    tokens = Tokens.from_pem(config["email"], config["public_key"].encode())
    contract = Contract(grpc_front.enum_numbers())
    core = Core(State(Path(config["home"])), tokens, contract, config["registry"])
    runner = builds.Builds(
        Path(config["home"]) / "builds" / "gcp", builds.environment(config["proxy"], config["ca"])
    )
    core.add(OsLogin(Path(config["home"]) / "os-login").handlers())
    core.add(CloudBuilds(runner, tokens, config["storage"]).handlers())
    grpc_server = grpc_front.serve(core, config["grpc"])
    async with ClientSession(timeout=ClientTimeout(total=300), auto_decompress=False) as session:
        server = Server(core, Storage(core, config["storage"], session))
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", server.handle)
        site = web.AppRunner(app, access_log=None)
        await site.setup()
        await web.TCPSite(site, "127.0.0.1", config["rest"]).start()
        try:
            await asyncio.Event().wait()
        finally:
            grpc_server.stop(None)
            await site.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
