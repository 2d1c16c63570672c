"""What any protocol turns a request into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """``host`` tells the API; ``query`` keeps repeated names; ``body`` is parsed JSON or None."""

    host: str
    verb: str
    path: str
    query: list[tuple[str, str]]
    body: Any
    authorization: str | None
