"""What the sandbox is made of: parts that declare services, routes and environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Service:
    """One long-running process of the sandbox. ``ready`` is polled until it returns true."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_timeout: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Route:
    """Sends TLS connections for ``host`` (a glob such as ``*.amazonaws.com``) to a loopback HTTP port.

    Connections that offer only HTTP/2 (gRPC) go to ``grpc_port``. The first matching route wins.
    """

    host: str
    port: int
    grpc_port: int | None = None


class Context(Protocol):
    """The running sandbox as its parts see it."""

    @property
    def home(self) -> Path:
        """Private state directory (0700), removed by ``down``."""

    @property
    def cache(self) -> Path:
        """Tools and emulators, shared by all sandboxes of this user."""

    @property
    def ca_file(self) -> Path:
        """PEM of the sandbox's own certificate authority."""

    @property
    def proxy_url(self) -> str:
        """URL of the CONNECT proxy that reaches every route."""

    def port(self, name: str) -> int:
        """A free loopback port, the same for the same name as long as the sandbox lives."""

    def secret(self, name: str) -> str:
        """A random hex secret, the same for the same name as long as the sandbox lives."""


class Part(Protocol):
    """One cloud or one shared facility. All services of all parts start side by side."""

    name: str

    def prepare(self, ctx: Context) -> None:
        """Write configuration files under ``ctx.home``; runs before any service starts."""

    def services(self, ctx: Context) -> list[Service]: ...

    def routes(self, ctx: Context) -> list[Route]: ...

    def environ(self, ctx: Context) -> dict[str, str]:
        """Environment variables (Airflow connections among them) for whoever uses the sandbox."""

    def seed(self, ctx: Context) -> None:
        """Create what a customer's account would hold already; runs once all services are ready."""
