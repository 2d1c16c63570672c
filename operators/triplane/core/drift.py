"""What every drift check answers, whatever it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Any

from triplane.core.digest import digest

Finding = dict[str, Any]
IN_SYNC, DRIFTED, PENDING, UNKNOWN = "in_sync", "drifted", "pending", "unknown"


@dataclass(frozen=True, kw_only=True)
class Ignore:
    """A drift that is known and accepted until a date. ``resource`` and ``attribute`` are globs."""

    resource: str
    attribute: str = "*"
    reason: str
    until: date

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ignore:
        """``until`` as a date or ISO 8601 text."""
        until = value["until"]
        return cls(**{**value, "until": until if isinstance(until, date) else date.fromisoformat(until)})

    def covers(self, resource: str, attribute: str) -> bool:
        """Whether it is about this attribute (``""``: the resource as a whole)."""
        return _matches(resource, self.resource) and (
            self.attribute == "*" or _matches(attribute, self.attribute)
        )

    def __str__(self) -> str:
        what = self.resource if self.attribute == "*" else f"{self.resource} {self.attribute}"
        return f"{what} until {self.until.isoformat()}: {self.reason}"


@dataclass(kw_only=True)
class Check:
    """One component's answer. ``error`` says why it could not be checked, ``last_good`` when it last was."""

    address: str
    state: str
    resources: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    cured: list[str] = field(default_factory=list)
    pending: str = ""
    error: str = ""
    checked_at: str = ""
    last_good: str = ""

    def to_json(self) -> dict[str, Any]:
        """One entry of the drift report; nothing empty beside ``resources``."""
        kept = {"address": self.address, "state": self.state, "resources": self.resources}
        return kept | {name: value for name, value in vars(self).items() if value and name not in kept}


def unknown(address: str, error: str, before: Mapping[str, Any] | None) -> Check:
    """A component that could not be checked: never in sync."""
    last = str((before or {}).get("checked_at") or "")
    now = datetime.now(UTC).isoformat()
    return Check(address=address, state=UNKNOWN, error=error, checked_at=now, last_good=last)


def memory(check: Check) -> dict[str, Any]:
    """What the next check has to know of this one."""
    findings = {
        item["fingerprint"]: {"resource": item["address"], "first_seen": item["first_seen"]}
        for item in check.resources
    }
    return {"checked_at": check.checked_at, "findings": findings}


def judge(
    address: str,
    findings: Iterable[Finding],
    *,
    noise: Sequence[str] = (),
    pending: str = "",
    ignores: Sequence[Ignore] = (),
    before: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Check:
    """One component's answer. ``before`` is what :func:`memory` kept of the last check."""
    now = now or datetime.now(UTC)
    valid = [rule for rule in ignores if rule.until >= now.date()]
    known = dict((before or {}).get("findings") or {})
    check = Check(address=address, state=IN_SYNC, checked_at=now.isoformat(), last_good=now.isoformat())
    check.noise, check.pending = list(noise), pending
    for item in findings:
        left = _not_ignored(item, valid, check)
        if left is None:
            continue
        print_ = fingerprint(address, left["address"], left["action"], left["print"], left["attributes"])
        first = known.get(print_, {}).get("first_seen", check.checked_at)
        shown = {key: value for key, value in left.items() if key != "print"}
        seen = {"fingerprint": print_, "first_seen": first, "last_seen": check.checked_at}
        check.resources.append(shown | seen)
    current = {item["fingerprint"] for item in check.resources}
    check.cured = sorted(item["resource"] for key, item in known.items() if key not in current)
    check.expired = [str(rule) for rule in ignores if rule not in valid]
    check.state = DRIFTED if check.resources else PENDING if pending else IN_SYNC
    return check


def finding(
    address: str, action: str, attributes: Sequence[Mapping[str, str]] = (), print_: str = ""
) -> Finding:
    """One thing that drifted. ``print_`` tells apart what ``attributes`` (name, before, after) hide."""
    return {"address": address, "action": action, "attributes": list(attributes), "print": print_}


def fingerprint(*what: Any) -> str:
    """The same for the same finding, from one check to the next."""
    return digest(list(what)).removeprefix("sha256:")[:16]


def _matches(text: str, glob: str) -> bool:
    """``*`` and ``?`` as in file names; brackets are part of an address."""
    return fnmatchcase(text, glob.replace("[", "[[]"))


def _not_ignored(item: Finding, rules: Sequence[Ignore], check: Check) -> Finding | None:
    address = item["address"]
    if not item["attributes"]:
        rule = next((rule for rule in rules if rule.covers(address, "")), None)
        if rule:
            check.ignored.append(f"{address}: {item['action']} ({rule})")
        return None if rule else item
    kept = []
    for attribute in item["attributes"]:
        rule = next((rule for rule in rules if rule.covers(address, attribute["name"])), None)
        if rule:
            check.ignored.append(f"{address}: {attribute['name']} ({rule})")
        else:
            kept.append(attribute)
    return item | {"attributes": kept} if kept else None
