"""What a run would change, and what it did: the values that tasks hand to each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

from triplane.core.digest import digest

Action = Literal["none", "create", "update", "replace", "destroy", "deferred"]
Intent = Literal["deploy", "rollback", "destroy"]
State = Literal["unchanged", "deployed", "destroyed", "held", "failed", "rolled_back"]


class Risk(IntEnum):
    """How much a change can hurt; ordered."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @classmethod
    def parse(cls, name: str) -> Risk:
        """The risk called ``name`` (``"low"``)."""
        return cls[name.upper()]

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class ComponentChange:
    """What would change in one component.

    ``binds`` names everything an approval of this change must cover: digests, versions, serials.
    ``lines`` is for people, one line a change, redacted already. ``denied`` says why a policy forbids it.
    ``left_behind``: it has left the spec, and nothing is done about it.
    """

    address: str
    action: Action
    risk: Risk
    summary: str
    lines: tuple[str, ...] = ()
    binds: Mapping[str, str | int] = field(default_factory=dict)
    denied: tuple[str, ...] = ()
    left_behind: bool = False

    @property
    def changed(self) -> bool:
        """Whether applying this would do anything."""
        return self.action != "none"

    def to_json(self) -> dict[str, Any]:
        """Plain values for XCom and the artifact store."""
        return {
            "address": self.address,
            "action": self.action,
            "risk": str(self.risk),
            "summary": self.summary,
            "lines": list(self.lines),
            "binds": dict(self.binds),
            "denied": list(self.denied),
            **({"left_behind": True} if self.left_behind else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ComponentChange:
        """The inverse of :meth:`to_json`."""
        return cls(
            address=value["address"],
            action=value["action"],
            risk=Risk.parse(value["risk"]),
            summary=value["summary"],
            lines=tuple(value.get("lines", ())),
            binds=dict(value["binds"]),
            denied=tuple(value.get("denied", ())),
            left_behind=value.get("left_behind", False),
        )


@dataclass(frozen=True, kw_only=True)
class ChangeSet:
    """What one run would change in one cloud and environment.

    ``asked`` is the revision as somebody asked for it (a branch, a tag, ``HEAD``), ``revision`` the commit that
    this was then. ``tests`` is what the tests of this source said, by name and text. ``source`` is the digest of the frozen source, ``spec`` that of ``platform.yaml``, ``policy``
    the environment's approval policy as plain values. ``planned_at`` is ISO 8601 with a zone. ``emergency`` is why this
    does not wait until the environment may be changed, empty for what waits. ``secrets`` says which versions of the clouds'
    secrets each component was planned with: address -> name -> version.
    """

    platform: str
    environment: str
    cloud: str
    asked: str
    revision: str
    source: str
    spec: str
    policy: Mapping[str, Any]
    planned_at: str
    changes: tuple[ComponentChange, ...]
    intent: Intent = "deploy"
    tests: tuple[Mapping[str, Any], ...] = ()
    release: Mapping[str, Any] = field(default_factory=dict)
    undoes: Mapping[str, str] = field(default_factory=dict)
    emergency: str = ""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def risk(self) -> Risk:
        """The highest risk of any change; what changes anything is never without risk."""
        return max((max(c.risk, Risk.LOW) if c.changed else c.risk for c in self.changes), default=Risk.NONE)

    @property
    def changed(self) -> tuple[ComponentChange, ...]:
        """The components that would change."""
        return tuple(change for change in self.changes if change.changed)

    @property
    def digest(self) -> str:
        """What an approval is bound to: any difference in content is another digest."""
        return digest(self.to_json())

    @property
    def denied(self) -> tuple[str, ...]:
        """Why policies forbid it, with the component's address; nobody can approve it then."""
        return tuple(f"{change.address}: {text}" for change in self.changes for text in change.denied)

    @property
    def images(self) -> dict[str, str]:
        """Image name, without registry, -> digest, of the platform's images in this change set."""
        bound = (str(value) for change in self.changes for value in change.binds.values())
        found = (
            re.search(rf"/({re.escape(self.platform)}/[^/@]+)@(sha256:[0-9a-f]{{64}})$", text)
            for text in bound
        )
        return {match[1]: match[2] for match in found if match}

    def change(self, address: str) -> ComponentChange | None:
        """The change of one component, None if this change set does not hold it."""
        return next((change for change in self.changes if change.address == address), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values; their canonical JSON is what :attr:`digest` covers."""
        return {
            "platform": self.platform,
            "environment": self.environment,
            "cloud": self.cloud,
            "intent": self.intent,
            "asked": self.asked,
            "revision": self.revision,
            "source": self.source,
            "spec": self.spec,
            "policy": dict(self.policy),
            "planned_at": self.planned_at,
            "changes": [change.to_json() for change in self.changes],
            **({"tests": [dict(test) for test in self.tests]} if self.tests else {}),
            **({"release": dict(self.release)} if self.release else {}),
            **({"undoes": dict(self.undoes)} if self.undoes else {}),
            **({"emergency": self.emergency} if self.emergency else {}),
            **(
                {"secrets": {key: dict(value) for key, value in self.secrets.items()}} if self.secrets else {}
            ),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ChangeSet:
        """The inverse of :meth:`to_json`."""
        changes = tuple(ComponentChange.from_json(item) for item in value["changes"])
        return cls(**{**value, "changes": changes, "tests": tuple(value.get("tests", ()))})


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one component. ``version`` is a digest, revision, version or serial."""

    address: str
    version: str
    state: State
    seconds: float = 0.0
    details: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for XCom and reports."""
        return {
            "address": self.address,
            "version": self.version,
            "state": self.state,
            "seconds": round(self.seconds, 1),
            "details": dict(self.details),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Result:
        """The inverse of :meth:`to_json`."""
        return cls(**value)
