"""Failures on demand: what a test asks for through ``POST /_sandbox/faults`` (loopback only)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from triplane.sandbox.azure.errors import ArmError


@dataclass(kw_only=True)
class Fault:
    """The next ``times`` requests whose path matches ``path`` (a regular expression) fail.

    The first ``skip`` of them are let through. ``operation``: the request is accepted, and its long-running operation
    ends in failure. ``lost``: the request is carried out, and only its answer is replaced by the failure.
    """

    path: str
    method: str = ""
    status: int = 500
    code: str = "InternalServerError"
    message: str = "Injected failure."
    retry_after: int | None = None
    times: int = 1
    skip: int = 0
    operation: bool = False
    lost: bool = False

    def error(self) -> ArmError:
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return ArmError(self.status, self.code, self.message, wait)


class Faults:
    """The faults that are still to happen, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def request(self, method: str, path: str) -> Fault | None:
        """How a request fails at once."""
        return self._take(method, path, operation=False)

    def operation(self, method: str, path: str) -> ArmError | None:
        """What the long-running operation of a request fails with."""
        fault = self._take(method, path, operation=True)
        return fault.error() if fault else None

    def _take(self, method: str, path: str, *, operation: bool) -> Fault | None:
        for fault in self._faults:
            same = fault.operation == operation and fault.method in ("", method)
            if same and re.search(fault.path, path, re.IGNORECASE):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None
