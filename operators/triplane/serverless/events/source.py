"""What is configured rather than versioned, such as schedules: observe, plan field by field, apply, put back.

A :class:`EventSource` takes SDK clients that are built already and knows nothing of Airflow. Deciding is pure.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from triplane.core.change import ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.drift import Finding, finding
from triplane.core.errors import InputError, RefusedError, StaleError
from triplane.core.redact import MASK
from triplane.serverless.target import IDENTITY, Log, Unknown, Waiting

HIDDEN = ("payload",)
"""Settings that may hold secrets, and are never shown."""
Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How it shall be. ``settings`` are in the words of the cloud; one that is not known yet is ``UNKNOWN``.

    ``config`` is the digest of what was written, with its references. ``id`` is what the cloud called it when it was
    last deployed, ``attempt`` names this deployment, the same in each of its tries.
    """

    name: str
    settings: Mapping[str, Any] = field(repr=False)
    config: str = ""
    id: str = ""
    attempt: str = ""

    def known(self) -> dict[str, Any]:
        """All settings. :raises InputError: one is not known yet"""
        unknown = sorted(key for key, value in self.settings.items() if isinstance(value, Unknown))
        if unknown:
            raise InputError(f"{self.name}: {', '.join(unknown)} is not known yet; apply what it comes from")
        return dict(self.settings)


@dataclass(frozen=True, kw_only=True)
class Found:
    """How it is. ``raw`` is what putting it back needs, ``etag`` what the cloud guards changes with."""

    settings: Mapping[str, Any] = field(repr=False)
    id: str = ""
    etag: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def version(self) -> str:
        """Another one for any other settings."""
        return digest(dict(self.settings))[:23]


@dataclass(frozen=True, kw_only=True)
class Done:
    """It is as it shall be; ``details`` are for people."""

    details: Mapping[str, str] = field(default_factory=dict)


Progress = Waiting | Done


class EventSource(Protocol):
    """One cloud's way to configure a thing.

    ``options`` names what it knows, ``fixed`` the settings that only a new one can have. ``apply``, ``restore`` and
    ``delete`` are called again, by any process, until they say ``Done``; each call looks at what is there.
    """

    options: frozenset[str]
    fixed: frozenset[str]

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        """What was written, in the words of the cloud. :raises InputError: the cloud cannot do that"""

    def observe(self, wanted: Wanted) -> Found | None:
        """How it is, None if it is not there."""

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        """Make it so.

        :raises DeployFailed: the cloud refuses
        :raises StaleError: somebody else changed it meanwhile
        """

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        """Make it as it was before, which may be: not there."""

    def delete(self, wanted: Wanted) -> Progress:
        """Remove it. What is gone already is fine."""


def differing(wanted: Wanted, found: Found) -> list[str]:
    """The settings that are not as they shall be."""
    return [key for key in sorted({*wanted.settings, *found.settings}) if _differs(key, wanted, found)]


def _differs(key: str, wanted: Wanted, found: Found) -> bool:
    shall = wanted.settings.get(key)
    return isinstance(shall, Unknown) or shall != found.settings.get(key)


def plan(
    address: str, wanted: Wanted, found: Found | None, fixed: frozenset[str] = frozenset()
) -> ComponentChange:
    """What applying it would change, and everything that an approval must cover."""
    action: Literal["none", "create", "update", "replace"] = "create"
    risk = Risk.LOW
    keys = [key for key, value in sorted(wanted.settings.items()) if value not in (None, "", {})]
    if found is not None:
        keys = differing(wanted, found)
        action = "none" if not keys else "replace" if fixed.intersection(keys) else "update"
        risk = {"none": Risk.NONE, "update": Risk.MEDIUM, "replace": Risk.HIGH}[action]
        if any(key in IDENTITY for key in keys):
            risk = Risk.CRITICAL
    before = found.settings if found else {}
    summary = {"create": "new", "none": "no changes", "replace": "delete it and make it anew"}
    return ComponentChange(
        address=address,
        action=action,
        risk=risk,
        summary=summary.get(action, f"{len(keys)} to change"),
        lines=tuple(line(key, before.get(key), wanted.settings.get(key), new=found is None) for key in keys),
        binds=binds(wanted) | {"observed": found.version if found else ""},
    )


def line(key: str, before: Any, after: Any, *, new: bool = False) -> str:
    """One line for people; what may be a secret is not shown."""
    if key in HIDDEN:
        return f"{key}: {'set' if new else 'changed'}"
    return f"{key}: {after}" if new else f"{key}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    return "(not set)" if value in (None, "", {}) else str(value)


def binds(wanted: Wanted) -> dict[str, str | int]:
    """What the approved digest covers, apart from what was there."""
    return {"name": wanted.name, "config": wanted.config}


def check(approved: ComponentChange, wanted: Wanted) -> None:
    """:raises RefusedError: what would be applied is not what was approved"""
    names = [name for name, value in binds(wanted).items() if approved.binds.get(name) != value]
    if names or "observed" not in approved.binds:
        raise RefusedError(f"{wanted.name}: {' and '.join(names) or 'this'} not as approved; plan again")


def check_observed(
    approved: ComponentChange, wanted: Wanted, found: Found | None, begun: Mapping[str, Any] | None
) -> None:
    """Whether it is still as it was when the change was approved.

    ``begun`` are the settings from which an earlier try of this deployment set out, if there was one: then each
    setting may be as it was or as it shall be.

    :raises StaleError: somebody changed it since
    """
    version = found.version if found else ""
    if version == approved.binds["observed"]:
        return
    # What is made new may be on until a second call switches it off.
    if begun is not None and (
        found is None or _between(found.settings, begun or {"enabled": True}, wanted.settings)
    ):
        return
    raise StaleError(
        f"{wanted.name}: it is {'as somebody has changed it' if found else 'gone'} since the plan; plan again"
    )


def _between(now: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return all(now.get(key) in (before.get(key), after.get(key)) for key in {*now, *after})


def plan_to_destroy(address: str, name: str, found: Found | None) -> ComponentChange:
    """What deleting it changes."""
    return ComponentChange(
        address=address,
        action="destroy" if found else "none",
        risk=Risk.HIGH if found else Risk.NONE,
        summary=f"delete {name}" if found else f"{name} is not there",
        lines=(f"- {name}",) if found else (),
        binds={"name": name, "destroys": found.version if found else ""},
    )


def check_destroys(approved: ComponentChange, name: str, found: Found | None) -> None:
    """:raises RefusedError: this was not approved
    :raises StaleError: it is another one by now
    """
    if approved.binds.get("name") != name or "destroys" not in approved.binds:
        raise RefusedError(f"to delete {name} was not approved; plan again")
    if found is not None and found.version != approved.binds["destroys"]:
        raise StaleError(f"{name} was changed since it was approved to be deleted; plan again")


def keep(wanted: Wanted, found: Found, salt: str | None = None) -> dict[str, Any]:
    """What a drift check and a later deployment have to know; of what may be secret only a digest."""
    salt = salt or secrets.token_hex(16)
    settings = {
        key: digest([salt, value]) if key in HIDDEN else value for key, value in found.settings.items()
    }
    return {
        "name": wanted.name,
        "config": wanted.config,
        "id": found.id,
        "settings": settings,
        "salt": salt,
    }


def findings(kept: Mapping[str, Any], what: str, wanted: Wanted, found: Found | None) -> list[Finding]:
    """What somebody else has changed since it was deployed. ``what`` is ``schedule`` or ``stream``."""
    address = f"{what} {kept['name']}"
    if found is None:
        return [finding(address, "delete")]
    now = keep(wanted, found, kept["salt"])["settings"]
    attributes = list(_attributes(kept["settings"], now))
    hidden = digest([now.get(key) for key in HIDDEN])
    return [finding(address, "update", attributes, hidden)] if attributes else []


def _attributes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            sides = (before.get(key), now.get(key))
            texts = [MASK if key in HIDDEN and side else _shown(side) for side in sides]
            yield {"name": key, "before": texts[0], "after": texts[1]}


def check_options(target: EventSource, name: str, options: Options) -> None:
    """:raises InputError: the target does not know one of them"""
    strange = sorted(set(options) - target.options)
    if strange:
        known = ", ".join(sorted(target.options))
        raise InputError(f"{name}: {', '.join(strange)} cannot be had here; known are {known}")


def text_of(payload: Any) -> str:
    """A payload as it is sent: text as it is, all else as JSON."""
    import json

    if payload is None:
        return ""
    return payload if isinstance(payload, str) else json.dumps(payload, sort_keys=True)
