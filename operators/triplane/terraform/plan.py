"""A saved plan and a state, as values for people and for decisions.

Source: ``terraform show -json PLAN`` (https://developer.hashicorp.com/terraform/internals/json-format),
state files of version 4. Values that the configuration or a provider marks sensitive never get here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from triplane.core import change
from triplane.core.redact import Redactor

ResourceAction = Literal["create", "update", "replace", "destroy", "read", "import", "forget"]

SENSITIVE = "(sensitive)"
UNKNOWN = "(known after apply)"
VALUE_LENGTH = 80
ATTRIBUTES_SHOWN = 8
SIGNS = {
    "create": "+",
    "update": "~",
    "replace": "-/+",
    "destroy": "-",
    "read": "<=",
    "import": "&",
    "forget": "x",
}


@dataclass(frozen=True)
class AttributeChange:
    """One leaf attribute (``tags.Name``); values are rendered and redacted."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} -> {self.after}"


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """What a plan does to one resource instance. ``forced_by`` names the attributes that force a replace."""

    address: str
    type: str
    action: ResourceAction
    attributes: tuple[AttributeChange, ...] = ()
    forced_by: tuple[str, ...] = ()

    def line(self) -> str:
        """One line for people: ``~ aws_vpc.main: tags.Name "a" -> "b"``."""
        reasons = [f"{name} forces replacement" for name in self.forced_by]
        shown = [str(attribute) for attribute in self.attributes[:ATTRIBUTES_SHOWN]]
        if more := len(self.attributes) - len(shown):
            shown.append(f"{more} more attributes")
        details = "; ".join(reasons + shown)
        return f"{SIGNS[self.action]} {self.address}" + (f": {details}" if details else "")


@dataclass(frozen=True, kw_only=True)
class OutputChange:
    """A root output that gets another value. Its values are not kept: other stacks read the real one."""

    name: str
    action: ResourceAction

    def line(self) -> str:
        """One line for people: ``~ output vpc_id``."""
        return f"{SIGNS[self.action]} output {self.name}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a saved plan would do. ``drift`` is what changed behind Terraform's back."""

    resources: tuple[ResourceChange, ...] = ()
    outputs: tuple[OutputChange, ...] = ()
    drift: tuple[ResourceChange, ...] = ()

    @property
    def action(self) -> change.Action:
        """One word for all of it; a mixture is an update, with a replace in it a replace."""
        actions = {resource.action for resource in self.resources} - {"read"}
        if not actions:
            return "update" if self.outputs else "none"
        if actions <= {"create", "import"}:
            return "create"
        if actions == {"destroy"}:
            return "destroy"
        return "replace" if "replace" in actions else "update"

    def summary(self) -> str:
        """``3 to add, 1 to change``; ``no changes``."""
        words = {"create": "add", "update": "change", "destroy": "destroy", "forget": "forget"}
        words |= {"replace": "replace", "import": "import"}
        counts = {name: sum(r.action == name for r in self.resources) for name in words}
        parts = [f"{count} to {words[name]}" for name, count in counts.items() if count]
        if not parts and self.outputs:
            names = len(self.outputs)
            parts = [f"{names} output{'s' if names > 1 else ''} to change"]
        return ", ".join(parts) or "no changes"

    def lines(self) -> tuple[str, ...]:
        """One line per change."""
        return (*(item.line() for item in self.resources), *(item.line() for item in self.outputs))


@dataclass(frozen=True, kw_only=True)
class State:
    """A state's identity and outputs. No state yet: no lineage, serial 0."""

    lineage: str = ""
    serial: int = 0
    resources: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sensitive: frozenset[str] = frozenset()
    """Names of the outputs that are sensitive."""

    @property
    def empty(self) -> bool:
        """Whether nothing is deployed."""
        return self.resources == 0

    def __str__(self) -> str:
        return f"serial {self.serial} of lineage {self.lineage}" if self.lineage else "no state"


def parse_plan(document: Mapping[str, Any], redact: Redactor | None = None) -> Plan:
    """The plan that ``terraform show -json`` describes."""
    redact = redact or Redactor()
    return Plan(
        resources=_resources(document.get("resource_changes") or [], redact),
        outputs=tuple(
            OutputChange(name=name, action=action)
            for name, item in sorted((document.get("output_changes") or {}).items())
            if (action := _action(item))
        ),
        drift=_resources(document.get("resource_drift") or [], redact),
    )


def sensitive_values(document: Mapping[str, Any]) -> set[str]:
    """Every text that ``terraform show -json`` shows in the clear although something marks it sensitive.

    A provider may copy such a text to an attribute that is not marked, so knowing them is the only way to
    keep them out of sight.
    """
    found: set[str] = set()
    for item in [*(document.get("resource_changes") or []), *(document.get("resource_drift") or [])]:
        for side in ("before", "after"):
            found |= _strings(item["change"].get(side), item["change"].get(f"{side}_sensitive"))
    for item in (document.get("output_changes") or {}).values():
        for side in ("before", "after"):
            found |= _strings(item.get(side), item.get(f"{side}_sensitive"))
    declared = document.get("configuration", {}).get("root_module", {}).get("variables") or {}
    for name, item in (document.get("variables") or {}).items():
        found |= _strings(item.get("value"), declared.get(name, {}).get("sensitive"))
    return found


def parse_state(text: str) -> State:
    """The state that ``terraform state pull`` prints: nothing at all where there is none."""
    if not text.strip():
        return State()
    document = json.loads(text)
    outputs = document.get("outputs") or {}
    resources = [item for item in document.get("resources") or [] if item.get("mode") == "managed"]
    return State(
        lineage=document.get("lineage", ""),
        serial=document.get("serial", 0),
        resources=len(resources),
        outputs={name: output["value"] for name, output in outputs.items()},
        sensitive=frozenset(name for name, output in outputs.items() if output.get("sensitive")),
    )


def planned_state(path: Path) -> State | None:
    """The state that the saved plan at ``path`` starts from: Terraform keeps a copy of it in the plan.

    It is the state that the plan was made on, exactly, and costs no further call of Terraform. None where
    the file cannot be read that way (OpenTofu can encrypt plans): ask Terraform instead.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return parse_state(archive.read("tfstate").decode())
    except (zipfile.BadZipFile, KeyError, ValueError):
        return None


def _resources(items: list[Mapping[str, Any]], redact: Redactor) -> tuple[ResourceChange, ...]:
    changes = []
    for item in items:
        if not (action := _action(item["change"])):
            continue
        changed = item["change"]
        differs = tuple(_attributes(changed, redact)) if action in ("update", "replace") else ()
        address = item["address"] + (f" (deposed {item['deposed']})" if item.get("deposed") else "")
        forced = tuple(_path(path) for path in changed.get("replace_paths") or [])
        changes.append(
            ResourceChange(
                address=address, type=item["type"], action=action, attributes=differs, forced_by=forced
            )
        )
    return tuple(changes)


def _action(changed: Mapping[str, Any]) -> ResourceAction | None:
    actions = changed["actions"]
    if len(actions) == 2:
        return "replace"
    if actions == ["no-op"]:
        return "import" if changed.get("importing") else None
    names: dict[str, ResourceAction] = {"create": "create", "update": "update", "delete": "destroy"}
    names |= {"read": "read", "forget": "forget"}
    return names[actions[0]]


def _path(path: list[Any]) -> str:
    return ".".join(str(step) for step in path)


def _attributes(changed: Mapping[str, Any], redact: Redactor) -> Iterator[AttributeChange]:
    before = _Side(changed.get("before"), changed.get("before_sensitive"))
    after = _Side(changed.get("after"), changed.get("after_sensitive"), changed.get("after_unknown"))
    yield from _differences("", before, after, redact)


@dataclass(frozen=True)
class _Side:
    """One side of a change: its value, and where it is sensitive or unknown. All three have one shape."""

    value: Any
    sensitive: Any
    unknown: Any = None

    def __getitem__(self, key: Any) -> _Side:
        return _Side(
            _get(self.value, key),
            self.sensitive is True or _get(self.sensitive, key),
            self.unknown is True or _get(self.unknown, key),
        )

    @property
    def leaf(self) -> bool:
        return self.sensitive is True or self.unknown is True or not isinstance(self.value, dict | list)

    def keys(self) -> list[Any]:
        found: list[Any] = []
        for part in (self.value, self.unknown):
            keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
            found += [key for key in keys if key not in found]
        return found

    def render(self, name: str, redact: Redactor) -> str:
        if self.unknown is True:
            return UNKNOWN
        text = json.dumps(redact.value(self.value, name), ensure_ascii=False)
        return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 1] + "…"


def _differences(name: str, before: _Side, after: _Side, redact: Redactor) -> Iterator[AttributeChange]:
    if before.leaf or after.leaf:
        same = before.value == after.value and after.unknown is not True
        hidden = (before.sensitive is True) != (after.sensitive is True)
        if not same or hidden:
            yield _leaf(name, before, after, redact)
        return
    for key in dict.fromkeys([*before.keys(), *after.keys()]):
        yield from _differences(f"{name}.{key}" if name else str(key), before[key], after[key], redact)


def _leaf(name: str, before: _Side, after: _Side, redact: Redactor) -> AttributeChange:
    """A value of a collection may be secret in part: where either side holds one, neither is shown."""
    if _marked(before.sensitive) or _marked(after.sensitive):
        return AttributeChange(name, SENSITIVE, UNKNOWN if after.unknown is True else SENSITIVE)
    return AttributeChange(name, before.render(name, redact), after.render(name, redact))


def _strings(value: Any, sensitive: Any) -> set[str]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            text for key, item in items for text in _strings(item, sensitive is True or _get(sensitive, key))
        }
    return {value} if sensitive is True and isinstance(value, str) else set()


def _marked(sensitive: Any) -> bool:
    if isinstance(sensitive, dict | list):
        return any(
            _marked(item) for item in (sensitive.values() if isinstance(sensitive, dict) else sensitive)
        )
    return sensitive is True


def _get(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None
