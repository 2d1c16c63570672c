"""Failures on demand: what a test asks for through ``POST /_sandbox/faults`` (loopback only)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(kw_only=True)
class Fault:
    """The next ``times`` requests whose ``service.Operation`` matches ``action`` (a regular expression) fail.

    ``done``: the request does its work, and only its answer is the failure.
    """

    action: str
    status: int = 400
    code: str = "ThrottlingException"
    message: str = "Rate exceeded"
    times: int = 1
    done: bool = False


class Faults:
    """The faults that are still to happen, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def take(self, action: str) -> Fault | None:
        """What happens to a request."""
        for fault in self._faults:
            if re.search(fault.action, action):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None
