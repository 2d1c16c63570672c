"""Failures of Azure, on demand."""

from __future__ import annotations

import re
from dataclasses import dataclass

from triplane.sandbox import faults
from triplane.sandbox.azure.errors import ArmError


@dataclass(kw_only=True)
class Fault(faults.Ordered):
    """Requests whose path matches ``path`` (a regular expression) fail.

    ``operation``: the request is accepted, and its long-running operation ends in failure. ``lost``: the request is carried
    out, and only its answer is replaced by the failure.
    """

    path: str
    method: str = ""
    status: int = 500
    code: str = "InternalServerError"
    message: str = "Injected failure."
    retry_after: int | None = None
    operation: bool = False
    lost: bool = False

    def error(self) -> ArmError:
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return ArmError(self.status, self.code, self.message, wait)


class Faults(faults.Faults[Fault]):
    """The faults that are still to happen."""

    def request(self, method: str, path: str) -> Fault | None:
        """How a request fails at once."""
        return self._next(method, path, operation=False)

    def operation(self, method: str, path: str) -> ArmError | None:
        """What the long-running operation of a request fails with."""
        fault = self._next(method, path, operation=True)
        return fault.error() if fault else None

    def _next(self, method: str, path: str, *, operation: bool) -> Fault | None:
        return self.take(
            lambda fault: (
                fault.operation == operation
                and fault.method in ("", method)
                and re.search(fault.path, path, re.IGNORECASE)
            )
        )
