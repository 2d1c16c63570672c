"""Logic Apps: a workflow whose trigger is a recurrence and whose only action posts to a URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from triplane.core.cron import parse_zone
from triplane.core.errors import InputError
from triplane.serverless.events.schedules import COMMON, expression, one_target, retries
from triplane.serverless.events.source import Done, Found, Options, Progress, Wanted, text_of
from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN, DeployFailed, Log, Unknown, Waiting

VERSION = "2019-05-01"
SCHEMA = (
    "https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/"
    "workflowdefinition.json#"
)
MOST_RETRIES = 90
INTERVAL = "PT1M"
TRIGGER, ACTION = "schedule", "call"
HEADERS = {"Content-Type": "application/json"}
_ANSWER_ONLY: Final = frozenset(
    {
        *("provisioningState", "createdTime", "changedTime", "version", "accessEndpoint", "sku"),
        *("endpointsConfiguration", "endpointConfiguration"),
    }
)


class LogicApps:
    """Workflows of one resource group. ``manager`` is Azure Resource Manager."""

    options = COMMON | {"path"}
    fixed: frozenset[str] = frozenset()

    def __init__(self, manager: Api, *, subscription: str, resource_group: str, location: str) -> None:
        self._api = manager
        self._base = f"subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.Logic/workflows"
        self._location = location

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        one_target(name, options)
        if options.get("dead_letter"):
            raise InputError(f"{name}: a Logic App has no dead letters; its run history keeps what failed")
        zone = options.get("timezone") or "UTC"
        if not isinstance(zone, Unknown):
            parse_zone(zone)
        return {
            "schedule": expression("logic_apps", options),
            "calls": _url(options),
            "method": "POST",
            "payload": text_of(_parsed(text_of(options.get("payload")))),
            "retries": retries(name, options, MOST_RETRIES, None),
            "enabled": options.get("enabled", True),
            "other": {},
        }

    def observe(self, wanted: Wanted) -> Found | None:
        workflow = self._read(wanted)
        if workflow is None:
            return None
        return Found(settings=_settings(workflow), id=str(workflow["id"]), raw=_raw(workflow))

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        """One call makes all settings."""
        settings = wanted.known()
        if found is not None and dict(found.settings) == settings:
            return self._settled(wanted)
        log(f"{wanted.name}: {'updating' if found else 'creating'} the workflow")
        kept = {key: found.raw[key] for key in ("tags", "identity") if found and key in found.raw}
        self._put(wanted, {"location": self._location, **kept, "properties": _properties(settings)})
        return self._settled(wanted)

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        if previous is None:
            return self.delete(wanted)
        now = self.observe(wanted)
        if now is None or now.settings != previous.settings:
            log(f"{wanted.name}: putting back the workflow of before")
            self._put(wanted, dict(previous.raw))
        return self._settled(wanted)

    def delete(self, wanted: Wanted) -> Progress:
        self._api.call("DELETE", self._path(wanted), query={"api-version": VERSION}, missing_ok=True)
        return Done()

    def _settled(self, wanted: Wanted) -> Progress:
        state = ((self._read(wanted) or {}).get("properties") or {}).get("provisioningState", "Succeeded")
        if state in ("Failed", "Canceled"):
            raise DeployFailed(f"{wanted.name}: the workflow's provisioning {state.lower()}")
        return Done() if state == "Succeeded" else Waiting(why=f"the workflow is {state}", seconds=2.0)

    def _read(self, wanted: Wanted) -> dict[str, Any] | None:
        return self._api.get(self._path(wanted), **{"api-version": VERSION})

    def _put(self, wanted: Wanted, body: Mapping[str, Any]) -> None:
        self._api.call("PUT", self._path(wanted), body, query={"api-version": VERSION})

    def _path(self, wanted: Wanted) -> str:
        return f"{self._base}/{wanted.name}"


def _url(options: Options) -> Any:
    if options.get("url"):
        return options["url"]
    function = options["function"]
    if isinstance(function, Unknown):
        return UNKNOWN
    return f"https://{function}.azurewebsites.net{options.get('path') or ''}"


def _properties(settings: Mapping[str, Any]) -> dict[str, Any]:
    inputs: dict[str, Any] = {"method": settings["method"], "uri": settings["calls"]}
    if settings["payload"]:
        inputs |= {"headers": HEADERS, "body": _escaped(_parsed(settings["payload"]))}
    count = settings["retries"]
    if count is not None:
        policy = {"type": "fixed", "count": count, "interval": INTERVAL} if count else {"type": "none"}
        inputs["retryPolicy"] = policy
    return {
        "state": "Enabled" if settings["enabled"] else "Disabled",
        "definition": {
            "$schema": SCHEMA,
            "contentVersion": "1.0.0.0",
            "triggers": {TRIGGER: {"type": "Recurrence", "recurrence": settings["schedule"]}},
            "actions": {ACTION: {"type": "Http", "runAfter": {}, "inputs": inputs}},
            "outputs": {},
        },
    }


def _settings(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """``other`` holds what a deployment never sets."""
    properties = {k: v for k, v in workflow["properties"].items() if k not in _ANSWER_ONLY}
    definition = dict(properties.pop("definition", None) or {})
    triggers, actions = (dict(definition.pop(key, None) or {}) for key in ("triggers", "actions"))
    trigger, action = dict(triggers.pop(TRIGGER, {})), dict(actions.pop(ACTION, {}))
    inputs = dict(action.pop("inputs", None) or {})
    policy = inputs.pop("retryPolicy", None)
    body = inputs.pop("body", None)
    settings = {
        "schedule": trigger.pop("recurrence", None),
        "calls": inputs.pop("uri", ""),
        "method": inputs.pop("method", ""),
        "payload": text_of(_unescaped(body)),
        "retries": None if policy is None else policy.get("count", 0),
        "enabled": properties.pop("state", "Enabled") == "Enabled",
    }
    expected = {"type": "Recurrence"}, {"type": "Http", "runAfter": {}}
    other = {key: value for key, value in properties.items() if value}
    other |= {f"triggers.{key}": value for key, value in triggers.items()}
    other |= {f"actions.{key}": value for key, value in actions.items()}
    if (trigger, action) != expected:
        other["definition"] = [trigger, action]
    if inputs and inputs != {"headers": HEADERS}:
        other["inputs"] = inputs
    return {**settings, "other": {key: json.dumps(value, sort_keys=True) for key, value in other.items()}}


def _raw(workflow: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: workflow[key] for key in ("location", "tags", "identity") if workflow.get(key)}
    properties = {k: v for k, v in workflow["properties"].items() if k not in _ANSWER_ONLY}
    return {**kept, "properties": properties}


def _parsed(payload: str) -> Any:
    try:
        found = json.loads(payload)
    except ValueError:
        return payload
    return found if isinstance(found, dict | list) else payload


def _escaped(value: Any) -> Any:
    """The workflow language takes text that begins with ``@``, or holds ``@{``, for an expression."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, str):
        text = value.replace("@{", "@@{")
        return f"@{text}" if text.startswith("@") and not text.startswith("@@{") else text
    return value


def _unescaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unescaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    if isinstance(value, str):
        text = value.replace("@@{", "@{")
        return text[1:] if text.startswith("@@") else text
    return value
