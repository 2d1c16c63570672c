"""The login of each cloud's registry, in front of registries that have none.

Usage: ``python -m triplane.sandbox.registry_gate SETTINGS_JSON`` with ``{"port": int, "secret": str,
"registries": [{"kind": str, "host": glob, "upstream": url, "cloud": url}, ...]}``; ``cloud`` answers
``/_sandbox/tokeninfo?access_token=`` with 200 or 401.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import hashlib
import hmac
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from aiohttp import BasicAuth, ClientSession, ClientTimeout, web

ACCOUNT = "000000000000"
TOKEN_SECONDS = 3600
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}
REPOSITORY = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)")


class Refused(Exception):
    """An error in the registry protocol's own form."""

    def __init__(self, status: int, code: str, message: str, challenge: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.challenge = challenge

    def response(self) -> web.Response:
        headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
        if self.challenge:
            headers["WWW-Authenticate"] = self.challenge
        body = {"errors": [{"code": self.code, "message": str(self)}]}
        return web.json_response(body, status=self.status, headers=headers)


@dataclass
class Gate:
    """One kind of registry: who may come in, and where to."""

    host: str
    upstream: str
    cloud: str
    secret: str
    session: ClientSession

    token_paths: ClassVar[dict[str, str]] = {}

    async def admit(self, request: web.Request) -> None:
        """Raises Refused unless the request carries a valid login."""
        raise NotImplementedError

    async def pushed(self, request: web.Request, manifest: bytes) -> None:
        """A manifest was accepted by the registry."""

    async def knows(self, token: str) -> bool:
        """Whether the cloud gave out ``token`` and it is still valid."""
        url = f"{self.cloud}/_sandbox/tokeninfo"
        async with self.session.get(url, params={"access_token": token}) as response:
            return response.status == 200

    def mint(self, use: str) -> str:
        """A token of the registry's own for ``use``, bound to this kind of registry."""
        text = f"{use}.{self.host}.{int(time.time()) + TOKEN_SECONDS}"
        return base64.urlsafe_b64encode(f"{text}|{self._sign(text)}".encode()).decode()

    def minted(self, use: str, token: str) -> bool:
        try:
            text, _, signature = base64.urlsafe_b64decode(token).decode().rpartition("|")
        except ValueError:
            return False
        if not hmac.compare_digest(self._sign(text), signature):
            return False
        return text.startswith(f"{use}.{self.host}.") and int(text.rpartition(".")[2]) > time.time()

    def _sign(self, text: str) -> str:
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class Ecr(Gate):
    """``AWS:<password of GetAuthorizationToken>``; only repositories that were created exist."""

    async def admit(self, request: web.Request) -> None:
        account, _, _, region, *_ = request.host.split(".")
        login = basic_login(request)
        if login is None:
            challenge = f'Basic realm="https://{request.host}/",service="ecr.amazonaws.com"'
            raise Refused(401, "UNAUTHORIZED", "not authorized", challenge)
        if account != ACCOUNT or login.login != "AWS" or not await self.knows(login.password):
            raise Refused(403, "DENIED", "Your authorization token is not valid or has expired.")
        if (found := REPOSITORY.fullmatch(request.path)) is None:
            return
        async with self.session.get(self._repository(found["name"]), params={"region": region}) as response:
            if response.status != 200:
                raise Refused(
                    404, "NAME_UNKNOWN",
                    f"The repository with name '{found['name']}' does not exist in the registry with id '{account}'",
                )  # fmt: skip

    async def pushed(self, request: web.Request, manifest: bytes) -> None:
        found = REPOSITORY.fullmatch(request.path)
        if found is None or found["rest"].startswith("sha256:"):
            return
        params = {"region": request.host.split(".")[3], "tag": found["rest"]}
        headers = {"Content-Type": request.content_type}
        url = self._repository(found["name"])
        async with self.session.post(url, params=params, data=manifest, headers=headers) as response:
            response.raise_for_status()

    def _repository(self, name: str) -> str:
        return f"{self.cloud}/_sandbox/ecr/{name}"


class Bearer(Gate):
    """A registry that sends clients to its own token service first."""

    token_paths: ClassVar[dict[str, str]] = {}
    realm: ClassVar[str]

    async def admit(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.minted("access", token):
            return
        challenge = f'Bearer realm="https://{request.host}{self.realm}",service="{request.host}"'
        if found := REPOSITORY.fullmatch(request.path):
            actions = "pull" if request.method in ("GET", "HEAD") else "pull,push"
            challenge += f',scope="repository:{found["name"]}:{actions}"'
        raise Refused(401, "UNAUTHORIZED", "authentication required", challenge)

    def grant(self) -> web.Response:
        token = self.mint("access")
        return web.json_response({"token": token, "access_token": token, "expires_in": TOKEN_SECONDS})


class ArtifactRegistry(Bearer):
    """``oauth2accesstoken:<Google access token>``."""

    realm = "/v2/token"
    token_paths: ClassVar[dict[str, str]] = {"/v2/token": "token"}

    async def token(self, request: web.Request) -> web.Response:
        login = basic_login(request)
        if login is None or login.login != "oauth2accesstoken" or not await self.knows(login.password):
            raise Refused(401, "UNAUTHORIZED", "the access token is not valid or has expired")
        return self.grant()


class Acr(Bearer):
    """A Microsoft Entra access token is exchanged for a refresh token, and that for access tokens."""

    realm = "/oauth2/token"
    token_paths: ClassVar[dict[str, str]] = {"/oauth2/exchange": "exchange", "/oauth2/token": "token"}
    user = "00000000-0000-0000-0000-000000000000"

    async def exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("grant_type") not in ("access_token", "access_token_refresh_token"):
            raise Refused(400, "UNSUPPORTED", "grant_type must be access_token")
        if form.get("service") != request.host:
            raise Refused(400, "UNSUPPORTED", f"service must be {request.host}")
        if not await self.knows(str(form.get("access_token", ""))):
            raise Refused(401, "UNAUTHORIZED", "the access token is not valid or has expired")
        return web.json_response({"refresh_token": self.mint("refresh")})

    async def token(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            refresh = str((await request.post()).get("refresh_token", ""))
        else:
            login = basic_login(request)
            refresh = login.password if login and login.login == self.user else ""
        if not self.minted("refresh", refresh):
            raise Refused(401, "UNAUTHORIZED", "the refresh token is not valid or has expired")
        return self.grant()


class DockerHub(Gate):
    """Anybody may read, nobody may write."""

    async def admit(self, request: web.Request) -> None:
        if request.method not in ("GET", "HEAD"):
            raise Refused(401, "UNAUTHORIZED", "access to the requested resource is not authorized")


GATES: dict[str, type[Gate]] = {
    "ecr": Ecr, "artifact_registry": ArtifactRegistry, "acr": Acr, "docker_hub": DockerHub,
}  # fmt: skip


def basic_login(request: web.Request) -> BasicAuth | None:
    """User and password of the request, None if it has none or a malformed one."""
    try:
        return BasicAuth.decode(request.headers.get("Authorization", ""))
    except ValueError:
        return None


class Server:
    """Finds the gate by host name, and passes on what it admits."""

    def __init__(self, gates: list[Gate], session: ClientSession) -> None:
        self._gates = gates
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        gate = next((gate for gate in self._gates if fnmatch.fnmatchcase(request.host, gate.host)), None)
        try:
            if gate is None:
                raise Refused(404, "NAME_UNKNOWN", f"there is no registry {request.host}")
            if name := gate.token_paths.get(request.path):
                issue: Callable[[web.Request], Awaitable[web.Response]] = getattr(gate, name)
                return await issue(request)
            await gate.admit(request)
            return await self._forward(gate, request)
        except Refused as refused:
            return refused.response()

    async def _forward(self, gate: Gate, request: web.Request) -> web.StreamResponse:
        is_manifest = request.method == "PUT" and "/manifests/" in request.path
        manifest = await request.read() if is_manifest else b""
        dropped = {*HOP_BY_HOP, "authorization"}
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in dropped]
        streamed = request.content if request.body_exists else None
        async with self._session.request(
            request.method, gate.upstream + request.raw_path, headers=headers,
            data=manifest if is_manifest else streamed, allow_redirects=False,
        ) as upstream:  # fmt: skip
            if is_manifest and upstream.status == 201:
                await gate.pushed(request, manifest)
            response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
            for name, value in upstream.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in upstream.content.iter_chunked(1 << 16):
                await response.write(chunk)
            await response.write_eof()
            return response


async def serve(settings: dict[str, object]) -> None:
    entries = settings["registries"]
    assert isinstance(entries, list)
    session = ClientSession(auto_decompress=False, timeout=ClientTimeout(total=None, connect=10))
    gates = [
        GATES[entry["kind"]](
            entry["host"], entry["upstream"], entry["cloud"], str(settings["secret"]), session
        )
        for entry in entries
    ]
    application = web.Application(client_max_size=1 << 26)
    application.router.add_route("*", "/{path:.*}", Server(gates, session).handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(str(settings["port"]))).start()
    await asyncio.Event().wait()


def main(settings_file: str) -> None:
    asyncio.run(serve(json.loads(Path(settings_file).read_text())))


if __name__ == "__main__":
    main(sys.argv[1])
