"""What every drift check answers, whatever it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Any

from triplane.core.digest import digest

Finding = dict[str, Any]
IN_SYNC, PENDING, UNKNOWN = "in_sync", "pending", "unknown"
DRIFTED, MISSING, UNMANAGED = "drifted", "missing", "unmanaged_change"
STATES = (MISSING, DRIFTED, UNMANAGED, UNKNOWN, PENDING, IN_SYNC)
"""The worst first."""


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
    """One component's answer. ``error`` says why it could not be checked, ``last_good`` when it last was.

    ``images`` are those that it runs: ``image``, the digest ``deployed``, and ``serving``, the digests that are there.
    """

    address: str
    state: str
    resources: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    cured: list[str] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
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


def memory(check: Check, run: str = "") -> dict[str, Any]:
    """What the next check has to know of this one; ``run`` is the id of the run that made it."""
    findings = {
        item["fingerprint"]: {
            "resource": item["address"],
            "first_seen": item["first_seen"],
            "checks": item["checks"],
        }
        for item in check.resources
    }
    return {"checked_at": check.checked_at, "run": run, "findings": findings}


def judge(
    address: str,
    findings: Iterable[Finding],
    *,
    noise: Sequence[str] = (),
    pending: str = "",
    missing: bool = False,
    ignores: Sequence[Ignore] = (),
    before: Mapping[str, Any] | None = None,
    run: str = "",
    now: datetime | None = None,
) -> Check:
    """One component's answer. ``before`` is what :func:`memory` kept of the last check.

    ``missing``: the findings say that all of it is gone. A check that is done again in the same ``run`` is one check.
    """
    now = now or datetime.now(UTC)
    valid = [rule for rule in ignores if rule.until >= now.date()]
    check = Check(address=address, state=IN_SYNC, checked_at=now.isoformat(), last_good=now.isoformat())
    check.noise, check.pending = list(noise), pending
    past = Past(before, run)
    for item in findings:
        left = _not_ignored(item, valid, check)
        if left is None:
            continue
        print_ = fingerprint(address, left["address"], left["action"], left["print"], left["attributes"])
        shown = {key: value for key, value in left.items() if key != "print"}
        check.resources.append(shown | past.seen(print_, check.checked_at))
    check.cured = past.cured(check)
    check.expired = [str(rule) for rule in ignores if rule not in valid]
    check.state = state_of(check, missing=missing)
    return check


class Past:
    """What the last check of a component knew: since when, and in how many checks one after the other."""

    def __init__(self, before: Mapping[str, Any] | None, run: str = "") -> None:
        self.known: dict[str, Any] = dict((before or {}).get("findings") or {})
        self.more = 0 if run and run == (before or {}).get("run") else 1

    def seen(self, print_: str, at: str) -> dict[str, Any]:
        """What is known of a finding that is there at ``at``."""
        found = self.known.get(print_, {})
        checks = found.get("checks", 1) + self.more if found else 1
        return {
            "fingerprint": print_,
            "first_seen": found.get("first_seen", at),
            "last_seen": at,
            "checks": checks,
        }

    def cured(self, check: Check) -> list[str]:
        """The resources of what was there the last time and is no longer."""
        current = {item["fingerprint"] for item in check.resources}
        return sorted(item["resource"] for key, item in self.known.items() if key not in current)


def state_of(check: Check, *, missing: bool) -> str:
    """The state that the findings of ``check`` make."""
    if check.resources:
        if missing:
            return MISSING
        return UNMANAGED if all(item.get("unmanaged") for item in check.resources) else DRIFTED
    return PENDING if check.pending else IN_SYNC


def finding(
    address: str,
    action: str,
    attributes: Sequence[Mapping[str, str]] = (),
    print_: str = "",
    *,
    unmanaged: bool = False,
) -> Finding:
    """One thing that drifted. ``print_`` tells apart what ``attributes`` (name, before, after) hide.

    ``unmanaged``: a deployment would not put it back.
    """
    found = {"address": address, "action": action, "attributes": list(attributes), "print": print_}
    return found | ({"unmanaged": True} if unmanaged else {})


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
