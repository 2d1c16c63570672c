"""A request, an answer, and failures on demand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from triplane.sandbox.faults import Ordered


@dataclass(frozen=True)
class Asked:
    """What came. ``path`` is as it was sent, without the query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body. Raises ValueError."""
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Answer:
    """What goes back: JSON, a text, or bytes."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Fault(Ordered):
    """Requests whose host and path match ``path`` (a regular expression) get this answer.

    ``done``: the request does its work, and only its answer is another.
    """

    path: str
    method: str = ""
    status: int = 503
    message: str = "unavailable"
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False

    def concerns(self, method: str, place: str) -> bool:
        return self.method in ("", method) and bool(re.search(self.path, place))

    def answer(self) -> Answer:
        return Answer(self.status, {"message": self.message}, self.headers)


def stamp(moment: float) -> str:
    """As the forges write it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
