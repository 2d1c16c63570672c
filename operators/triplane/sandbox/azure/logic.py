"""Logic Apps: workflows whose trigger can be run by hand, which really calls the URL of their HTTP action."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from yarl import URL

from triplane.sandbox.azure.errors import ArmError, not_found
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.world import Resource, World, now

KIND = "Microsoft.Logic/workflows"
STATES = {"enable": "Enabled", "disable": "Disabled"}
SECTIONS = frozenset(
    {"$schema", "contentVersion", "parameters", "triggers", "actions", "outputs", "staticResults",
     "description", "metadata"}
)  # fmt: skip
FREQUENCIES = ("Second", "Minute", "Hour", "Day", "Week", "Month", "Year")
RECURRENCE = frozenset({"frequency", "interval", "startTime", "endTime", "timeZone", "schedule", "count"})
TIMES = frozenset({"hours", "minutes", "weekDays", "monthDays", "monthlyOccurrences"})
HTTP = frozenset({"method", "uri", "headers", "body", "queries", "authentication", "cookie", "retryPolicy"})
POLICIES = ("none", "fixed", "exponential")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
Call = Callable[[str, URL, Mapping[str, str], bytes], Awaitable[int]]
Action = Callable[[World, Target, Mapping[str, Any]], Any]


def fill(world: World, target: Target, resource: Resource, before: Resource | None) -> None:
    """Checks a workflow and its definition."""
    if not re.fullmatch(r"[\w.()-]{1,80}", target.name):
        raise ArmError(400, "InvalidWorkflowName", f"The workflow name '{target.name}' is not valid.")
    if not resource.get("location"):
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    properties = resource["properties"]
    definition = properties.get("definition")
    if not isinstance(definition, dict):
        raise _wrong("InvalidRequestContent", "The workflow definition is missing.")
    state = properties.setdefault("state", "Enabled")
    if state not in STATES.values():
        raise _wrong("InvalidRequestContent", f"Error converting value '{state}' to type 'WorkflowState'.")
    _check(definition)
    properties |= {
        "createdTime": before["properties"]["createdTime"] if before else now(),
        "changedTime": now(),
        "version": world.identity(f"{target.id} {json.dumps(properties, sort_keys=True)}")[:18],
        "accessEndpoint": f"https://prod-00.westeurope.logic.azure.com:443/workflows/{world.identity(target.id)}",
    }
    for old in list(world.below(target.id, f"{KIND}/triggers")):
        world.delete(old["id"])
    for name, trigger in (definition.get("triggers") or {}).items():
        identity = f"{target.id}/triggers/{name}"
        found = {"state": state, "provisioningState": "Succeeded", "recurrence": trigger.get("recurrence")}
        world.put(identity, {"id": identity, "name": name, "type": f"{KIND}/triggers", "properties": found})


def _check(definition: Mapping[str, Any]) -> None:
    _known(definition, SECTIONS, "definition")
    for key in ("$schema", "triggers", "actions"):
        if key not in definition:
            raise _wrong("InvalidTemplate", f"The template has no '{key}'.")
    for name, trigger in definition["triggers"].items():
        if trigger.get("type") not in ("Recurrence", "Request"):
            raise _wrong(
                "InvalidTemplate", f"The type '{trigger.get('type')}' of trigger '{name}' is not valid."
            )
        if trigger["type"] == "Recurrence":
            _check_recurrence(name, trigger.get("recurrence") or {})
    for name, action in definition["actions"].items():
        if action.get("type") != "Http":
            raise _wrong(
                "InvalidTemplate", f"The type '{action.get('type')}' of action '{name}' is not valid."
            )
        _check_http(name, action.get("inputs") or {})


def _check_recurrence(name: str, found: Mapping[str, Any]) -> None:
    _known(found, RECURRENCE, f"recurrence of trigger '{name}'")
    if found.get("frequency") not in FREQUENCIES:
        raise _wrong(
            "InvalidTemplate",
            f"The frequency '{found.get('frequency')}' of trigger '{name}' is not valid. "
            f"It is one of: {', '.join(FREQUENCIES)}.",
        )
    interval = found.get("interval")
    if not isinstance(interval, int) or not 1 <= interval <= 1000:
        raise _wrong("InvalidTemplate", f"The interval '{interval}' of trigger '{name}' is not valid.")
    _known(found.get("schedule") or {}, TIMES, f"schedule of trigger '{name}'")
    if found.get("schedule") and found["frequency"] not in ("Day", "Week", "Month"):
        raise _wrong("InvalidTemplate", f"Trigger '{name}': a schedule needs a frequency of Day or more.")


def _check_http(name: str, inputs: Mapping[str, Any]) -> None:
    _known(inputs, HTTP, f"inputs of action '{name}'")
    url = URL(str(inputs.get("uri") or ""))
    if url.scheme not in ("http", "https") or not url.host:
        raise _wrong("InvalidTemplate", f"The uri '{url}' of action '{name}' is not valid.")
    if inputs.get("method") not in METHODS:
        raise _wrong(
            "InvalidTemplate", f"The method '{inputs.get('method')}' of action '{name}' is not valid."
        )
    policy = inputs.get("retryPolicy") or {"type": "none"}
    count = policy.get("count", 1)
    if policy.get("type") not in POLICIES or not isinstance(count, int) or not 1 <= count <= 90:
        raise _wrong("InvalidTemplate", f"The retry policy of action '{name}' is not valid.")


def _known(found: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    for key in found:
        if key not in known:
            raise _wrong("InvalidTemplate", f"The property '{key}' of the {what} is not known.")


def _wrong(code: str, message: str) -> ArmError:
    return ArmError(400, code, message)


def switch(verb: str) -> Action:
    """What ``enable`` and ``disable`` do."""

    def act(world: World, target: Target, body: Mapping[str, Any]) -> None:
        workflow = world.get(target.id)
        assert workflow is not None
        workflow["properties"] |= {"state": STATES[verb], "changedTime": now()}
        world.put(target.id, workflow)

    return act


def _evaluated(value: Any) -> Any:
    """What the workflow language makes of a text without expressions: doubled ``@`` are single ones."""
    if isinstance(value, dict):
        return {key: _evaluated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_evaluated(item) for item in value]
    if not isinstance(value, str):
        return value
    text = value.replace("@@{", "@{")
    return text[1:] if text.startswith("@@") else text


def actions(call: Call) -> dict[tuple[str, str], Action]:
    """``call`` reaches the function apps of the sandbox."""

    async def run(world: World, target: Target, body: Mapping[str, Any]) -> None:
        owner = target.id.rpartition("/triggers/")[0]
        workflow = world.get(owner)
        if workflow is None:
            raise not_found(KIND, owner.rpartition("/")[2], target.group or "")
        if workflow["properties"]["state"] != "Enabled":
            raise ArmError(409, "WorkflowIsDisabled", f"The workflow '{workflow['name']}' is disabled.")
        begun, statuses = now(), []
        for action in workflow["properties"]["definition"]["actions"].values():
            inputs = action["inputs"]
            given = _evaluated(inputs.get("body", ""))
            data = given if isinstance(given, str) else json.dumps(given)
            headers = {str(key): str(value) for key, value in (inputs.get("headers") or {}).items()}
            statuses.append(await call(inputs["method"], URL(inputs["uri"]), headers, data.encode()))
        name = world.identity(f"{owner} {begun} {len(list(world.below(owner, f'{KIND}/runs')))}")
        done = all(200 <= status < 400 for status in statuses)
        found = {
            "status": "Succeeded" if done else "Failed",
            "startTime": begun,
            "endTime": now(),
            "trigger": {"name": target.name},
            "outputs": {"status": {"type": "Array", "value": statuses}},
        }
        record: Resource = {
            "id": f"{owner}/runs/{name}",
            "name": name,
            "type": f"{KIND}/runs",
            "properties": found,
        }
        world.put(record["id"], record)

    return {(f"{KIND}/triggers".lower(), "run"): run}
