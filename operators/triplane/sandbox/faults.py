"""Failures on demand: tests order them by ``POST /_sandbox/faults`` (loopback only), and call theirs off by ``DELETE``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from aiohttp import web

PATH = "/_sandbox/faults"


@dataclass(kw_only=True)
class Ordered:
    """A failure to come: ``after`` so many requests that it concerns, the next ``times`` of them. ``owner`` ordered it."""

    times: int = 1
    after: int = 0
    owner: str = ""


F = TypeVar("F", bound=Ordered)


class Faults(Generic[F]):
    """The faults that are still to happen, oldest first."""

    def __init__(self) -> None:
        self._faults: list[F] = []

    def add(self, fault: F) -> None:
        self._faults.append(fault)

    def clear(self, owner: str = "") -> None:
        """Call off what ``owner`` has ordered, or all."""
        self._faults = [fault for fault in self._faults if owner and fault.owner != owner]

    def take(self, concerns: Callable[[F], object]) -> F | None:
        """The fault of a request."""
        for fault in self._faults:
            if not concerns(fault):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
            return fault
        return None


async def order(request: web.Request, faults: Faults[F], kind: type[F]) -> web.Response:
    """Answer a test's request to :data:`PATH`; ``DELETE`` may name an ``owner`` in its query."""
    from aiohttp import web

    match request.method:
        case "POST":
            faults.add(kind(**await request.json()))
        case "DELETE":
            faults.clear(request.query.get("owner", ""))
        case _:
            return web.Response(status=405)
    return web.Response(status=204)
