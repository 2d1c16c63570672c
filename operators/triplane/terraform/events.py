"""What Terraform says with ``-json``, one event a line, for people and for decisions.

Source: https://developer.hashicorp.com/terraform/internals/machine-readable-ui
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_QUIET = frozenset(
    {
        *("init_output", "outputs", "planned_change", "provision_complete", "provision_start"),
        *("refresh_complete", "refresh_start"),
    }
)
_LOCK_FIELD = re.compile(r"^\s+(ID|Path|Operation|Who|Created):\s+(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Lock:
    """Who holds a state's lock."""

    id: str
    who: str = "somebody"
    operation: str = "an operation"
    created: str = "an unknown time"

    def __str__(self) -> str:
        return f"{self.who} ({self.operation}) since {self.created}, lock id {self.id}"


@dataclass
class Events:
    """What one call of Terraform reported."""

    errors: list[str] = field(default_factory=list)
    lock: Lock | None = None
    stale: bool = False
    started: int = 0
    """Resources whose create, update or destroy began."""

    def read(self, line: str) -> str | None:
        """Take one line in; returns what to show for it, if anything."""
        event = _event(line)
        if event is None:
            return " ".join(line.split()) or None
        kind = event.get("type")
        if kind == "apply_start":
            self.started += 1
        if kind == "diagnostic":
            return self._diagnostic(event["diagnostic"])
        if kind in _QUIET:
            return None
        return " ".join(str(event.get("@message", "")).split()) or None

    def _diagnostic(self, diagnostic: dict[str, Any]) -> str:
        text = _text(diagnostic)
        if diagnostic.get("severity") == "error":
            self.errors.append(text)
            detail = diagnostic.get("detail", "")
            self.lock = self.lock or parse_lock(diagnostic.get("summary", ""), detail)
            self.stale = self.stale or diagnostic.get("summary") == "Saved plan is stale"
        return f"{diagnostic.get('severity', 'warning')}: {text}"


def parse_lock(summary: str, detail: str) -> Lock | None:
    """The holder that a failed attempt to lock the state names, None if it was another failure."""
    if "acquiring the state lock" not in summary:
        return None
    found = dict(_LOCK_FIELD.findall(detail))
    if "ID" not in found:
        return None
    names = {"who": "Who", "operation": "Operation", "created": "Created"}
    known = {name: found[key] for name, key in names.items() if key in found}
    return Lock(found["ID"], **known)


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "@message" in event else None


def _text(diagnostic: dict[str, Any]) -> str:
    place = diagnostic.get("range") or {}
    where = f" ({place['filename']}:{place['start']['line']})" if place.get("filename") else ""
    address = f"{diagnostic['address']}: " if diagnostic.get("address") else ""
    detail = " ".join(str(diagnostic.get("detail") or "").split())
    return f"{address}{diagnostic.get('summary', '')}{f': {detail}' if detail else ''}{where}"
