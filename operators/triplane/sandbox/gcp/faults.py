"""Failures on demand: what a test asks for through ``POST /_sandbox/faults`` (loopback only)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from triplane.sandbox.gcp.errors import ApiError

QUOTA = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "RATE_LIMIT_EXCEEDED",
    "domain": "googleapis.com",
}


@dataclass(kw_only=True)
class Fault:
    """The next ``times`` requests whose host and path match ``path`` (a regular expression) fail.

    ``operation``: the request is accepted, and its long-running operation ends in failure. ``after``: so many
    matching requests pass before. ``done``: the request does its work, but its answer is the failure.
    """

    path: str
    method: str = ""
    status: int = 503
    message: str = "The service is currently unavailable."
    times: int = 1
    after: int = 0
    operation: bool = False
    done: bool = False

    def error(self) -> ApiError:
        details: tuple[dict[str, Any], ...] = (QUOTA,) if self.status == 429 else ()
        return ApiError(self.status, self.message, details=details)


class Faults:
    """The faults that are still to happen, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def request(self, method: str, path: str, *, done: bool) -> ApiError | None:
        """What a request fails with before, or after (``done``), it did its work."""
        return self._take(method, path, operation=False, done=done)

    def operation(self, method: str, path: str) -> ApiError | None:
        """What the long-running operation of a request fails with."""
        return self._take(method, path, operation=True, done=False)

    def _take(self, method: str, path: str, *, operation: bool, done: bool) -> ApiError | None:
        for fault in self._faults:
            same = (fault.operation, fault.done) == (operation, done) and fault.method in ("", method)
            if not same or not re.search(fault.path, path):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
            return fault.error()
        return None
