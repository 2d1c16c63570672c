"""Failures of AWS, on demand."""

from __future__ import annotations

import re
from dataclasses import dataclass

from triplane.sandbox.faults import Ordered


@dataclass(kw_only=True)
class Fault(Ordered):
    """Requests whose ``service.Operation`` matches ``action`` (a regular expression) fail.

    ``done``: the request does its work, and only its answer is the failure.
    """

    action: str
    status: int = 400
    code: str = "ThrottlingException"
    message: str = "Rate exceeded"
    done: bool = False

    def concerns(self, action: str) -> bool:
        return bool(re.search(self.action, action))
