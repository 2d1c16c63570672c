"""Brings the sandbox up and down. What runs is written down in its home, so any process can find it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from triplane.core.errors import TriplaneError
from triplane.sandbox import parts as registry
from triplane.sandbox import processes
from triplane.sandbox.ca import Authority, write_private
from triplane.sandbox.processes import Process
from triplane.sandbox.service import Part, Service
from triplane.sandbox.state import State

# Each variable makes some client of the three clouds trust the sandbox's authority and nobody else.
CA_VARIABLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "HTTPLIB2_CA_CERTS", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GIT_SSL_CAINFO",
)  # fmt: skip
POLL_SECONDS = 0.1
LOCAL = "127.0.0.1,localhost"
Progress = Callable[[str], None]


class SandboxError(TriplaneError):
    """The sandbox could not be brought up, or is not there; the message holds the tail of the guilty log."""


@dataclass(frozen=True)
class ServiceStatus:
    """One line of ``triplane sandbox status``."""

    name: str
    pid: int
    alive: bool
    log: Path


def default_home() -> Path:
    """``$TRIPLANE_SANDBOX_HOME``, or a directory of this user under the XDG state directory."""
    if home := os.environ.get("TRIPLANE_SANDBOX_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "triplane/sandbox"


def default_cache() -> Path:
    """``$TRIPLANE_CACHE``, or a directory of this user under the XDG cache directory."""
    if cache := os.environ.get("TRIPLANE_CACHE"):
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triplane"


class Sandbox:
    """A sandbox, running or being started. It is the Context of its parts."""

    def __init__(self, home: Path, cache: Path | None = None) -> None:
        self.home = home.absolute()
        self.cache = cache or default_cache()
        self._state = State(self.home)

    @classmethod
    def up(
        cls,
        home: Path,
        parts: Iterable[str] | None = None,
        on_progress: Progress = lambda line: None,
        cache: Path | None = None,
    ) -> Sandbox:
        """Start ``parts`` (default: all) in ``home`` and wait until everything is ready and seeded.

        A sandbox that runs there already is returned as it is; the rest of one that crashed is removed first.
        Raises SandboxError with the tail of the log when a service dies or does not get ready.
        """
        sandbox = cls(home, cache)
        if sandbox._state.exists:
            if sandbox.running:
                return sandbox
            if sandbox.starting:
                raise SandboxError(
                    f"the sandbox in {home} is being started by process {sandbox._state.starter.pid}"
                )
            on_progress("removing what an earlier sandbox left behind")
            sandbox.down()
        elif sandbox.home.is_dir() and any(sandbox.home.iterdir()):
            raise SandboxError(f"{sandbox.home} is not empty and holds no sandbox; choose another directory")
        loaded = registry.load(parts)
        sandbox.home.mkdir(parents=True, mode=0o700, exist_ok=True)
        sandbox._state.create([part.name for part in loaded])
        try:
            sandbox._start(loaded, on_progress)
        except BaseException:
            sandbox._stop()
            raise
        return sandbox

    @classmethod
    def load(cls, home: Path, cache: Path | None = None) -> Sandbox:
        """The sandbox in ``home``. Raises SandboxError if there is none or it is not up."""
        sandbox = cls(home, cache)
        if not sandbox._state.exists:
            raise SandboxError(f"there is no sandbox in {home}; start one with `triplane sandbox up`")
        if not sandbox.running:
            dead = [each.name for each in sandbox.status() if not each.alive]
            raise SandboxError(
                f"the sandbox in {home} is not running (ended: {', '.join(dead) or 'nothing'}); "
                "start it again with `triplane sandbox up`"
            )
        return sandbox

    @property
    def ca_file(self) -> Path:
        return self.home / "ca" / "ca.pem"

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self.port('gateway')}"

    @property
    def running(self) -> bool:
        """Whether it came up completely and every service still runs."""
        return (
            self._state.exists
            and bool(self._state.read()["ready"])
            and all(each.alive for each in self.status())
        )

    @property
    def starting(self) -> bool:
        """Whether somebody else is bringing it up right now."""
        starter = self._state.starter
        return not self._state.read()["ready"] and starter.alive and starter.pid != os.getpid()

    def port(self, name: str) -> int:
        return self._state.port(name)

    def secret(self, name: str) -> str:
        return self._state.secret(name)

    def log(self, service: str) -> Path:
        return self.home / "logs" / f"{service}.log"

    def status(self) -> list[ServiceStatus]:
        """Every service that was started, in that order; none where there is no sandbox."""
        if not self._state.exists:
            return []
        return [
            ServiceStatus(name, process.pid, process.alive, self.log(name))
            for name, process in self._state.processes().items()
        ]

    def environ(self) -> dict[str, str]:
        """What to add to the environment of whoever uses the sandbox: proxy, trust, PATH, connections."""
        proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), self.proxy_url)
        local = dict.fromkeys(("NO_PROXY", "no_proxy"), LOCAL)
        trust = dict.fromkeys(CA_VARIABLES, str(self.ca_file))
        tools = {"PATH": f"{self.cache / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        environ = {**proxies, **local, **trust, "SSL_CERT_DIR": str(self.home / "ca" / "none"), **tools}
        for part in self._parts():
            environ |= part.environ(self)
        return environ

    def down(self) -> None:
        """Stop exactly what was started here and remove the home directory. Harmless when nothing is up."""
        if self._state.exists:
            self._stop()
            shutil.rmtree(self.home)

    def _parts(self) -> list[Part]:
        return registry.load(self._state.read()["parts"])

    def _stop(self) -> None:
        processes.stop(self._state.read()["id"], list(self._state.processes().values()))

    def _start(self, parts: list[Part], on_progress: Progress) -> None:
        (self.home / "logs").mkdir()
        Authority.create(self.home / "ca")
        for part in parts:
            part.prepare(self)
        services = [*(service for part in parts for service in part.services(self)), self._gateway(parts)]
        started = {service.name: self._launch(service) for service in services}
        self._wait_ready(services, started, on_progress)
        with ThreadPoolExecutor(max_workers=len(parts) or 1) as pool:
            for part, seeding in [(part, pool.submit(part.seed, self)) for part in parts]:
                seeding.result()
                on_progress(f"{part.name}: seeded")
        self._state.set("ready", True)

    def _launch(self, service: Service) -> Process:
        process = processes.start(
            service,
            sandbox_id=self._state.read()["id"],
            directory=self.home / "run" / service.name,
            log=self.log(service.name),
        )
        self._state.add_process(service.name, process)
        return process

    def _gateway(self, parts: list[Part]) -> Service:
        port = self.port("gateway")
        routes = [asdict(route) for part in parts for route in part.routes(self)]
        config = {"port": port, "ca": str(self.home / "ca"), "routes": routes}
        file = write_private(self.home / "routes.json", json.dumps(config, indent=1).encode())
        argv = (sys.executable, "-m", "triplane.sandbox.gateway", str(file))
        return Service(name="gateway", argv=argv, ready=lambda: listens(port))

    def _wait_ready(
        self, services: list[Service], started: dict[str, Process], on_progress: Progress
    ) -> None:
        """Wait for all side by side; the first that dies or is late ends it."""
        begin = time.monotonic()
        with ThreadPoolExecutor(max_workers=len(services)) as pool:
            waiting = {pool.submit(self._poll, each, started[each.name]): each.name for each in services}
            try:
                for poll in as_completed(waiting):
                    poll.result()
                    on_progress(f"{waiting[poll]}: ready after {time.monotonic() - begin:.1f} s")
            except BaseException:
                self._stop()
                raise

    def _poll(self, service: Service, process: Process) -> None:
        deadline = time.monotonic() + service.ready_timeout
        while not _is_ready(service):
            late = time.monotonic() > deadline
            if late or not process.alive:
                what = f"was not ready after {service.ready_timeout:g} s" if late else "ended"
                log = self.log(service.name)
                raise SandboxError(f"{service.name} {what}; the end of {log}:\n{processes.tail(log)}")
            time.sleep(POLL_SECONDS)


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(service: Service) -> bool:
    """A probe that raises OSError (connection refused, HTTP errors of urllib) is a no."""
    try:
        return service.ready()
    except OSError:
        return False
