"""What Terraform says with ``-json``, one event a line, for people and for decisions.

Source: https://developer.hashicorp.com/terraform/internals/machine-readable-ui
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from triplane.terraform.diagnostics import CRASHED

_QUIET = frozenset(
    {
        *("init_output", "outputs", "planned_change", "provision_complete", "provision_start"),
        *("refresh_complete", "refresh_start"),
    }
)
_LOCK_FIELD = re.compile(r"^\s+(ID|Path|Operation|Who|Created):\s+(\S.*?)\s*$", re.MULTILINE)
_TAKEN = re.compile(
    r"ConditionalCheckFailed|PreconditionFailed|conditionNotMet|StatusCode: 412|Error 412|LeaseAlreadyPresent"
    r"|state blob is already locked"
)
_CUT_OFF = '"type":"'
LINES_SHOWN = 5
_UTC = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(?: \+0000 UTC|Z)$")
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Lock:
    """Who holds a state's lock."""

    id: str
    who: str = "somebody"
    operation: str = "an operation"
    created: str = "an unknown time"

    @property
    def since(self) -> datetime | None:
        """When it was taken, by the clock of who holds it; None where that is not said."""
        found = _UTC.match(self.created)
        if found is None:
            return None
        return datetime.fromisoformat(f"{found[1]}T{found[2]}.{(found[3] or '').ljust(6, '0')}+00:00")

    def told(self, now: datetime) -> str:
        """For people: who does what, since when and for how long, and the id that frees it."""
        age = f", for {_duration(now - self.since)}" if self.since else ""
        return f"{self.who} ({self.operation}) since {self.created}{age}, lock id {self.id}"


@dataclass
class Events:
    """What one call of Terraform reported."""

    errors: list[str] = field(default_factory=list)
    """For people: address, what is wrong, file and line."""
    causes: list[str] = field(default_factory=list)
    """``<summary>: <detail>`` of each error."""
    lock: Lock | None = None
    slipped: bool = False
    """The state was locked, and no longer when Terraform looked by whom."""
    stale: bool = False
    on_started: Callable[[datetime], object] | None = None
    """Called once, with the time when the first resource began to change: the state was locked then."""
    started: int = 0
    """Resources whose create, update or destroy began."""
    creating: set[str] = field(default_factory=set)
    """Addresses of resources whose create began and was not seen to end."""
    created: dict[str, str] = field(default_factory=dict)
    """Address -> id at the provider, of resources whose create ended well."""
    nameless: set[str] = field(default_factory=set)
    """Addresses of resources whose create ended well, and of which no id was said."""
    failed: set[str] = field(default_factory=set)
    """Addresses of resources whose create ended with an error."""
    crashed: bool = False
    """A provider died, so that nobody knows what became of what failed."""
    deleted: set[str] = field(default_factory=set)
    """Addresses of resources whose destroy ended well."""
    dumped: str | None = field(default=None, repr=False)
    """The state, with secrets in the clear, which could not be saved anywhere else."""

    @property
    def uncertain(self) -> set[str]:
        """Addresses of resources that may exist without being in the state."""
        return self.creating | (self.failed if self.crashed else set())

    def again(self) -> None:
        """Forget the errors of a command that began nothing and is run once more."""
        self.errors.clear()
        self.causes.clear()
        self.slipped = False

    def journal(self, before: dict[str, Any], *, killed: bool = False) -> dict[str, Any]:
        """What this apply and those before it, cut off as well, have created: ``{"created": {address: id},
        "creating": [address]}``. One that was ``killed`` may not have saved what its failed creates left."""
        uncertain = self.uncertain | self.nameless | (self.failed if killed else set())
        gone = self.deleted | uncertain | set(self.created)
        earlier = {address: found for address, found in before["created"].items() if address not in gone}
        unsure = {address for address in before["creating"] if address not in gone}
        return {"created": earlier | self.created, "creating": sorted(unsure | uncertain)}

    def read(self, line: str) -> str | None:
        """Take one line in; returns what to show for it, if anything."""
        event = _event(line)
        if event is None:
            return " ".join(line.split()) or None
        kind = event.get("type")
        if kind in ("apply_start", "apply_complete", "apply_errored"):
            self._progress(str(kind), event.get("hook") or {}, event.get("@timestamp"))
        if isinstance(event.get("state"), dict):
            self.dumped = json.dumps(event["state"])
        if kind == "diagnostic":
            return self._diagnostic(event["diagnostic"])
        if kind in _QUIET:
            return None
        return " ".join(str(event.get("@message", "")).split()) or None

    def _progress(self, kind: str, hook: dict[str, Any], at: str | None) -> None:
        address = (hook.get("resource") or {}).get("addr", "")
        if kind == "apply_start":
            self.started += 1
            if self.started == 1 and self.on_started:
                self.on_started(datetime.fromisoformat(at) if at else datetime.now(UTC))
        if hook.get("action") == "delete" and kind == "apply_complete":
            self.deleted.add(address)
        if hook.get("action") != "create":
            return
        if kind == "apply_start":
            self.creating.add(address)
            return
        self.creating.discard(address)
        self.deleted.discard(address)
        if kind == "apply_errored":
            self.failed.add(address)
        elif hook.get("id_value"):
            self.created[address] = str(hook["id_value"])
        else:
            self.nameless.add(address)

    def _diagnostic(self, diagnostic: dict[str, Any]) -> str:
        text = _text(diagnostic)
        if diagnostic.get("severity") == "error":
            self.errors.append(text)
            self.causes.append(_cause(diagnostic))
            summary = diagnostic.get("summary", "")
            if "acquiring the state lock" in summary:
                detail = diagnostic.get("detail", "")
                self.lock = self.lock or parse_lock(detail)
                self.slipped = self.lock is None and bool(_TAKEN.search(detail))
            self.stale = self.stale or summary == "Saved plan is stale"
            self.crashed = self.crashed or summary in CRASHED
        return f"{diagnostic.get('severity', 'warning')}: {text}"


def parse_lock(said: str) -> Lock | None:
    """The lock that Terraform describes under ``Lock Info:``, None if it describes none."""
    found = dict(_LOCK_FIELD.findall(said.partition("Lock Info:")[2]))
    if "ID" not in found:
        return None
    names = {"who": "Who", "operation": "Operation", "created": "Created"}
    known = {name: found[key] for name, key in names.items() if key in found}
    return Lock(found["ID"], **known)


def plain(said: str) -> str:
    """What Terraform said, for people: of events only the last few messages. The first line may be cut off."""
    lines = said.splitlines()
    if not any(_event(line) for line in lines):
        return said
    shown = [text for line in lines if _CUT_OFF not in line or _event(line) if (text := Events().read(line))]
    return "; ".join(shown[-LINES_SHOWN:])


def _duration(time: timedelta) -> str:
    """In its largest unit, rounded down: ``3 minutes``."""
    seconds = max(0, int(time.total_seconds()))
    name, unit = next(((name, unit) for name, unit in _UNITS if seconds >= unit), _UNITS[-1])
    return f"{seconds // unit} {name}{'' if seconds // unit == 1 else 's'}"


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "@message" in event else None


def _cause(diagnostic: dict[str, Any]) -> str:
    said = (" ".join(str(diagnostic.get(name) or "").split()) for name in ("summary", "detail"))
    return ": ".join(text for text in said if text)


def _text(diagnostic: dict[str, Any]) -> str:
    place = diagnostic.get("range") or {}
    where = f" ({place['filename']}:{place['start']['line']})" if place.get("filename") else ""
    address = f"{diagnostic['address']}: " if diagnostic.get("address") else ""
    return f"{address}{_cause(diagnostic)}{where}"
