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
from triplane.core.errors import InputError
from triplane.core.redact import Redactor

ResourceAction = Literal[
    "read", "create", "import", "move", "forget", "update", "invoke", "replace", "destroy"
]

SENSITIVE = "(sensitive)"
UNKNOWN = "(known after apply)"
VALUE_LENGTH = 80
ATTRIBUTES_SHOWN = 8
FORMAT_MAJOR = "1"
SIGNS = {
    "read": "<=",
    "create": "+",
    "import": "&",
    "move": "=>",
    "forget": "x",
    "update": "~",
    "invoke": ">",
    "replace": "-/+",
    "destroy": "-",
}
"""From what hurts least to what hurts most."""
REASONS = {
    "replace_because_tainted": "it is tainted",
    "replace_by_request": "its replacement was asked for",
    "replace_by_triggers": "replace_triggered_by names what changes",
}
"""Why Terraform replaces what no attribute forces it to."""


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
    """What a plan does to one resource instance, or one action that it invokes.

    ``forced_by`` names the attributes that force a replace, ``reason`` is any other ground. ``moved_from`` is
    the address it had before, ``import_id`` the id under which it is taken over from the cloud.
    """

    address: str
    type: str
    action: ResourceAction
    attributes: tuple[AttributeChange, ...] = ()
    forced_by: tuple[str, ...] = ()
    reason: str = ""
    moved_from: str = ""
    import_id: str = ""

    def line(self) -> str:
        """One line for people: ``~ aws_vpc.main: tags.Name "a" -> "b"``."""
        reasons = [f"{name} forces replacement" for name in self.forced_by]
        reasons += [self.reason] if self.reason else []
        reasons += [f"moved from {self.moved_from}"] if self.moved_from else []
        reasons += [f"import {self.import_id}"] if self.import_id else []
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
    """What a saved plan would do. ``drift`` is what changed behind Terraform's back.

    ``no_state``: there is neither a resource nor an output in the state. ``all_gone``: there were resources, and a look
    at them has found none.
    """

    resources: tuple[ResourceChange, ...] = ()
    outputs: tuple[OutputChange, ...] = ()
    drift: tuple[ResourceChange, ...] = ()
    no_state: bool = False
    all_gone: bool = False

    @property
    def action(self) -> change.Action:
        """One word for all of it; a mixture is an update, with a replace in it a replace."""
        actions = {resource.action for resource in self.resources} - {"read"}
        if not actions:
            return "update" if self.outputs else "none"
        if actions <= {"create", "import"}:
            return "create"
        if actions <= {"move", "forget"}:
            return "update"
        if actions == {"destroy"}:
            return "destroy"
        return "replace" if "replace" in actions else "update"

    def summary(self) -> str:
        """``3 to add, 1 to change``; ``no changes``."""
        words = {"create": "add", "update": "change", "destroy": "destroy", "replace": "replace"}
        words |= {name: name for name in ("import", "move", "forget", "invoke")}
        counts = {name: sum(r.action == name for r in self.resources) for name in words}
        parts = [f"{count} to {words[name]}" for name, count in counts.items() if count]
        if not parts and self.outputs:
            names = len(self.outputs)
            parts = [f"{names} output{'s' if names > 1 else ''} to change"]
        return ", ".join(parts) or "no changes"


@dataclass(frozen=True, kw_only=True)
class State:
    """A state's identity and outputs. No state yet: no lineage, serial 0."""

    lineage: str = ""
    serial: int = 0
    addresses: frozenset[str] = frozenset()
    """Of the managed resource instances."""
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sensitive: frozenset[str] = frozenset()
    """Names of the outputs that are sensitive."""

    @property
    def empty(self) -> bool:
        """Whether nothing is deployed."""
        return not self.addresses

    def __str__(self) -> str:
        return f"serial {self.serial} of lineage {self.lineage}" if self.lineage else "no state"


def parse_plan(document: Mapping[str, Any], redact: Redactor | None = None) -> Plan:
    """The plan that ``terraform show -json`` describes.

    :raises InputError: it ended with an error, or is written in a format that is not known here
    """
    redact = redact or Redactor()
    version = str(document.get("format_version") or "none")
    if version.partition(".")[0] != FORMAT_MAJOR:
        raise InputError(
            f"the plan is in format {version}, known is {FORMAT_MAJOR}.x: use a Terraform or OpenTofu that "
            "writes it, or an airflow-provider-triplane that reads this one"
        )
    if document.get("errored"):
        raise InputError(
            "the plan ended with an error and is not complete: mend what Terraform said, plan again"
        )
    invoked = tuple(_invoked(item) for item in document.get("action_invocations") or [])
    drift = _resources(document.get("resource_drift") or [], redact)
    state = (document.get("prior_state") or {}).get("values") or {}
    left = any(item.get("mode") == "managed" for item in _instances(state.get("root_module") or {}))
    return Plan(
        resources=(*_resources(document.get("resource_changes") or [], redact), *invoked),
        outputs=tuple(
            OutputChange(name=name, action=action)
            for name, item in sorted((document.get("output_changes") or {}).items())
            if (action := _action(item, f"output {name}"))
        ),
        drift=drift,
        no_state=not drift and not left and not state.get("outputs"),
        all_gone=not left and any(change.action == "destroy" for change in drift),
    )


def _instances(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from module.get("resources") or ()
    for child in module.get("child_modules") or ():
        yield from _instances(child)


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
    for item in document.get("action_invocations") or []:
        found |= _strings(item.get("config_values"), item.get("config_sensitive"))
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
        addresses=frozenset(address for item in resources for address in _addresses(item)),
        outputs={name: output["value"] for name, output in outputs.items()},
        sensitive=frozenset(name for name, output in outputs.items() if output.get("sensitive")),
    )


def _addresses(resource: Mapping[str, Any]) -> Iterator[str]:
    module = f"{resource['module']}." if resource.get("module") else ""
    base = f"{module}{resource['type']}.{resource['name']}"
    for instance in resource.get("instances") or []:
        key = instance.get("index_key")
        if not instance.get("deposed"):
            yield base if key is None else f"{base}[{json.dumps(key, ensure_ascii=False)}]"


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
        changed = item["change"]
        moved = item.get("previous_address") or ""
        address = item["address"] + (f" (deposed {item['deposed']})" if item.get("deposed") else "")
        if not (action := _action(changed, address) or ("move" if moved else None)):
            continue
        differs = tuple(_attributes(changed, redact)) if action in ("update", "replace") else ()
        forced = tuple(_path(path) for path in changed.get("replace_paths") or [])
        changes.append(
            ResourceChange(
                address=address,
                type=item["type"],
                action=action,
                attributes=differs,
                forced_by=forced,
                reason=REASONS.get(item.get("action_reason", ""), ""),
                moved_from=moved,
                import_id=redact(_import_id(changed.get("importing"))),
            )
        )
    return tuple(changes)


def _invoked(item: Mapping[str, Any]) -> ResourceChange:
    """An action of a provider (Terraform 1.14 on): what it does is in no plan."""
    trigger = item.get("lifecycle_action_trigger") or {}
    reason = (
        f"{trigger.get('action_trigger_event')} of {trigger.get('triggering_resource_address')}"
        if trigger
        else ""
    )
    return ResourceChange(address=item["address"], type=item["type"], action="invoke", reason=reason)


def _import_id(importing: Mapping[str, Any] | None) -> str:
    """An id, or the attributes that identify a resource; what is imported need not name any."""
    if importing is None:
        return ""
    identity = ", ".join(f"{name}={value}" for name, value in (importing.get("identity") or {}).items())
    return str(importing.get("id") or identity or UNKNOWN)


def _action(changed: Mapping[str, Any], address: str) -> ResourceAction | None:
    actions = changed["actions"]
    if actions == ["no-op"]:
        return None if changed.get("importing") is None else "import"
    names: dict[str, ResourceAction] = {"create": "create", "update": "update", "delete": "destroy"}
    names |= {"read": "read", "forget": "forget"}
    if not actions or not set(actions) <= set(names):
        raise InputError(
            f"{address}: the plan would {' and '.join(actions) or 'do nothing known'}, and what that does is not "
            "known here; use an airflow-provider-triplane that reads plans of this Terraform"
        )
    return "replace" if len(actions) > 1 else names[actions[0]]


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
