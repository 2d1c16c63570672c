"""Failures of Google Cloud, on demand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from triplane.sandbox import faults
from triplane.sandbox.gcp.errors import ApiError

QUOTA = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "RATE_LIMIT_EXCEEDED",
    "domain": "googleapis.com",
}


@dataclass(kw_only=True)
class Fault(faults.Ordered):
    """Requests whose host and path match ``path`` (a regular expression) fail.

    ``operation``: the request is accepted, and its long-running operation ends in failure. ``done``: the request does its
    work, but its answer is the failure.
    """

    path: str
    method: str = ""
    status: int = 503
    message: str = "The service is currently unavailable."
    operation: bool = False
    done: bool = False

    def error(self) -> ApiError:
        details: tuple[dict[str, Any], ...] = (QUOTA,) if self.status == 429 else ()
        return ApiError(self.status, self.message, details=details)


class Faults(faults.Faults[Fault]):
    """The faults that are still to happen."""

    def request(self, method: str, path: str, *, done: bool) -> ApiError | None:
        """What a request fails with before, or after (``done``), it did its work."""
        return self._error(method, path, operation=False, done=done)

    def operation(self, method: str, path: str) -> ApiError | None:
        """What the long-running operation of a request fails with."""
        return self._error(method, path, operation=True, done=False)

    def _error(self, method: str, path: str, *, operation: bool, done: bool) -> ApiError | None:
        found = self.take(
            lambda fault: (
                (fault.operation, fault.done) == (operation, done)
                and fault.method in ("", method)
                and re.search(fault.path, path)
            )
        )
        return found.error() if found else None
