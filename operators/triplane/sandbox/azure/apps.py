"""Function apps: deployments of packages, and the functions that they serve."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from triplane.sandbox.azure.world import now

PENDING, DEPLOYING, FAILED, SUCCESS = 0, 2, 3, 4
STATUS_TEXT = {
    PENDING: "Receiving changes.",
    DEPLOYING: "Running deployment command...",
    FAILED: "",
    SUCCESS: "",
}
CALL_SECONDS = 30.0
MAX_UNPACKED = 512 << 20


class PackageError(Exception):
    """Why a package cannot be deployed."""


@dataclass(kw_only=True)
class Deployment:
    """One package that somebody sent to an app. ``digest`` is ``sha256:<hex>`` of the bytes received."""

    id: str
    digest: str
    message: str
    deployer: str
    received: str
    status: int = PENDING
    log: list[str] = field(default_factory=list)
    ended: str | None = None
    active: bool = False

    @property
    def complete(self) -> bool:
        return self.status in (FAILED, SUCCESS)


@dataclass(kw_only=True)
class App:
    """The deployments of one app, oldest first, and what the active one declares."""

    directory: Path
    deployments: list[Deployment] = field(default_factory=list)
    functions: dict[str, Any] = field(default_factory=dict)
    prefix: str = "api"

    @property
    def active(self) -> Deployment | None:
        return next((item for item in self.deployments if item.active), None)

    @property
    def busy(self) -> bool:
        return any(not item.complete for item in self.deployments)

    def package(self, deployment: Deployment) -> Path:
        return self.directory / deployment.id / "package.zip"

    def root(self, deployment: Deployment) -> Path:
        return self.directory / deployment.id / "wwwroot"

    def save(self) -> None:
        deployments = [asdict(item) for item in self.deployments]
        state = {"functions": self.functions, "prefix": self.prefix, "deployments": deployments}
        (self.directory / "app.json").write_text(json.dumps(state))


class Apps:
    """All function apps, each in a directory below ``home``."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._apps: dict[str, App] = {}
        for file in home.glob("*/app.json"):
            state = json.loads(file.read_text())
            deployments = [Deployment(**item) for item in state.pop("deployments")]
            self._apps[file.parent.name] = App(directory=file.parent, deployments=deployments, **state)

    def get(self, name: str) -> App:
        directory = self._home / name.lower()
        directory.mkdir(parents=True, exist_ok=True)
        return self._apps.setdefault(name.lower(), App(directory=directory))

    def forget(self, name: str) -> None:
        """Removes what a deleted site leaves."""
        self._apps.pop(name.lower(), None)
        shutil.rmtree(self._home / name.lower(), ignore_errors=True)

    def swap(self, one: str, other: str) -> None:
        """What is deployed to either, and its history, changes sides."""
        first, second = self.get(one), self.get(other)
        aside = first.directory.with_name(f".{first.directory.name}")
        for source, destination in (
            (first.directory, aside),
            (second.directory, first.directory),
            (aside, second.directory),
        ):
            source.rename(destination)
        first.directory, second.directory = second.directory, first.directory
        self._apps[one.lower()], self._apps[other.lower()] = second, first

    async def deploy(
        self, app: App, data: bytes, settings: Mapping[str, str], message: str, deployer: str
    ) -> Deployment:
        """Unpacks and checks ``data``; it serves once all is well, otherwise the package before stays."""
        deployment = self.begin(app, data, message, deployer)
        await self.finish(app, deployment, settings)
        return deployment

    def begin(self, app: App, data: bytes, message: str, deployer: str) -> Deployment:
        """Receives a package. One deployment of an app runs at a time: look at ``app.busy`` first."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        deployment = Deployment(
            id=str(uuid.uuid4()), digest=digest, message=message, deployer=deployer, received=now()
        )
        package = app.package(deployment)
        package.parent.mkdir(parents=True)
        package.write_bytes(data)
        app.deployments.append(deployment)
        return deployment

    async def finish(self, app: App, deployment: Deployment, settings: Mapping[str, str]) -> None:
        deployment.status = DEPLOYING
        root = app.root(deployment)
        try:
            prefix = await asyncio.to_thread(unpack, app.package(deployment), root)
            deployment.status, app.prefix = SUCCESS, prefix
            for other in app.deployments:
                other.active = other is deployment
            await self.index(app, settings)
        except (PackageError, OSError) as error:
            deployment.status = FAILED
            deployment.log.append(f"Deployment failed: {error}")
        deployment.ended = now()
        app.save()

    async def index(self, app: App, settings: Mapping[str, str]) -> None:
        """Has the host read the active package. One that cannot be imported serves no function at all."""
        deployment = app.active
        if deployment is None:
            return
        try:
            app.functions = await run_worker(app.root(deployment), "index", settings)
            deployment.log.append(f"{len(app.functions)} functions found: {', '.join(app.functions)}")
        except PackageError as error:
            app.functions = {}
            deployment.log.append(f"0 functions found: {error}")
        app.save()

    async def call(
        self, app: App, name: str, settings: Mapping[str, str], message: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Runs one function in a fresh process. Raises PackageError when it fails."""
        assert app.active is not None
        return await run_worker(app.root(app.active), "call", settings, {**message, "function": name})


def route(app: App, method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """The function that serves ``path``, and its route parameters."""
    for name, function in app.functions.items():
        if function["route"] is None or method not in function["methods"]:
            continue
        template = "/".join(part for part in (app.prefix, function["route"]) if part)
        pattern = re.sub(r"\\\{(\w+)(?:\\:\w+)?\\\}", r"(?P<\1>[^/]+)", re.escape(template))
        if match := re.fullmatch(pattern, path.strip("/"), re.IGNORECASE):
            return name, match.groupdict()
    return None


def unpack(package: Path, root: Path) -> str:
    """Unpacks a function app and returns its route prefix. Raises PackageError for what is not one."""
    try:
        with zipfile.ZipFile(package) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
                raise PackageError("the package is too large")
            archive.extractall(root)
    except zipfile.BadZipFile as error:
        raise PackageError(f"the package is not a zip archive: {error}") from error
    if not (root / "host.json").is_file():
        raise PackageError("host.json is missing at the top of the package")
    try:
        host = json.loads((root / "host.json").read_text())
    except ValueError as error:
        raise PackageError(f"host.json is not JSON: {error}") from error
    if not (root / "function_app.py").is_file() and not any(root.glob("*/function.json")):
        raise PackageError("no function: neither function_app.py nor a function.json is in the package")
    return str(host.get("extensions", {}).get("http", {}).get("routePrefix", "api"))


async def run_worker(
    root: Path, verb: str, settings: Mapping[str, str], message: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Runs ``worker.py`` on an unpacked package, with the app's settings as its environment."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONDONTWRITEBYTECODE": "1", **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("worker.py")), verb,
        cwd=root, env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        data = json.dumps(message or {}).encode()
        output, errors = await asyncio.wait_for(process.communicate(data), CALL_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PackageError(f"no answer within {CALL_SECONDS:g} s") from None
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise PackageError(lines[-1] if lines else f"ended with {process.returncode}")
    return dict(json.loads(output))


def encode(body: bytes) -> str:
    return base64.b64encode(body).decode()
