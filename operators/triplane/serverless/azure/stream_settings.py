"""The application settings by which a function app reads Event Hubs. Pure.

Each stream has settings below its own prefix, a switch for its trigger, and a mark that says whose they are. Batch size
and first position are host-wide: all Event Hubs triggers of an app share them. All are slot settings: a swap leaves them
where they are, and in a slot the switch is off, so that only production reads events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "TRIPLANE_STREAM_"
_HOST = "AzureFunctionsJobHost__extensions__eventHubs__"
BATCH: Final = f"{_HOST}maxEventBatchSize"
OFFSET: Final = f"{_HOST}initialOffsetOptions__type"
POSITIONS: Final = {"earliest": "fromStart", "latest": "fromEnd"}
DOMAIN: Final = ".servicebus.windows.net"
SYSTEM: Final = "system"
_PARTS = (
    *("fullyQualifiedNamespace", "eventHubName", "consumerGroup"),
    *("credential", "clientId", "managedIdentityResourceId"),
)
_STREAM = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.EventHub/namespaces/([^/]+)/eventhubs/([^/]+)",
    re.IGNORECASE,
)
Values = Mapping[str, str]


def switch(trigger: str) -> str:
    """The setting that switches a trigger off."""
    return f"AzureWebJobs.{trigger}.Disabled"


def where(stream: str) -> tuple[str, str]:
    """Host of the namespace, and event hub, of a resource id; empty for anything else."""
    match = _STREAM.fullmatch(stream)
    return (f"{match[1].lower()}{DOMAIN}", match[2]) if match else ("", "")


def marks(values: Values) -> dict[str, dict[str, Any]]:
    """What is known of each stream of an app, by its prefix."""
    found = {}
    for key, value in values.items():
        if key.startswith(MARK):
            try:
                mark = json.loads(value)
            except ValueError:
                continue
            if isinstance(mark, dict):
                found[key.removeprefix(MARK)] = mark
    return found


def keys(prefix: str, trigger: str) -> frozenset[str]:
    """The settings of one stream that no other one shares."""
    own = {f"{MARK}{prefix}", *(f"{prefix}__{part}" for part in _PARTS)}
    return frozenset(own | ({switch(trigger)} if trigger else set()))


def names(values: Values) -> frozenset[str]:
    """All settings of an app that are its streams'."""
    found: set[str] = set()
    for prefix, mark in marks(values).items():
        found |= keys(prefix, str(mark.get("trigger") or ""))
        found |= {OFFSET} | ({BATCH} if mark.get("batch_size") else set())
    return frozenset(found & values.keys())


def of(values: Values) -> dict[str, str]:
    """The settings of all streams."""
    return {key: values[key] for key in names(values)}


def off(values: Values) -> dict[str, str]:
    """The settings of all streams as a slot has them: no trigger reads."""
    switches = {switch(str(mark.get("trigger"))) for mark in marks(values).values()}
    return {key: "true" if key in switches else value for key, value in of(values).items()}


def replaced(values: Values, streams: Values) -> dict[str, str]:
    """``values`` with ``streams`` for the settings of its own streams."""
    own = names(values)
    return {**{key: value for key, value in values.items() if key not in own}, **streams}


def written(name: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings of one stream."""
    prefix, identity = settings["setting"], settings["identity"]
    host, hub = where(settings["stream"])
    kept = ("trigger", "stream", "consumer_group", "own_consumer_group", "batch_size", "starting_position")
    found = {
        f"{MARK}{prefix}": json.dumps({"name": name, **{key: settings[key] for key in kept}}, sort_keys=True),
        f"{prefix}__fullyQualifiedNamespace": host,
        f"{prefix}__eventHubName": hub,
        f"{prefix}__consumerGroup": settings["consumer_group"],
        f"{prefix}__credential": "managedidentity",
        switch(settings["trigger"]): "false" if settings["enabled"] else "true",
        OFFSET: POSITIONS[settings["starting_position"]],
    }
    if identity != SYSTEM:
        part = "managedIdentityResourceId" if identity.startswith("/") else "clientId"
        found[f"{prefix}__{part}"] = identity
    if settings["batch_size"] is not None:
        found[BATCH] = str(settings["batch_size"])
    return found


def read(values: Values, prefix: str) -> dict[str, Any] | None:
    """What :func:`written` was given, None if there is no such stream. What was changed by hand shows."""
    mark = marks(values).get(prefix)
    if mark is None and f"{prefix}__fullyQualifiedNamespace" not in values:
        return None
    mark = mark or {}
    host, hub, group, credential, client, resource = (values.get(f"{prefix}__{part}", "") for part in _PARTS)
    stream = str(mark.get("stream") or "")
    trigger = str(mark.get("trigger") or "")
    position = values.get(OFFSET, "")
    managed = client or resource or SYSTEM
    return {
        "trigger": trigger,
        "setting": prefix,
        "stream": stream if where(stream) == (host.lower(), hub) else f"{host}/{hub}",
        "consumer_group": group,
        "own_consumer_group": bool(mark.get("own_consumer_group")),
        "identity": managed if credential.lower() == "managedidentity" else credential or "connection",
        "batch_size": _batch(values, prefix, mark),
        "starting_position": {value: key for key, value in POSITIONS.items()}.get(position, position),
        "enabled": values.get(switch(trigger), "false").lower() not in ("true", "1"),
    }


def _batch(values: Values, prefix: str, mark: Mapping[str, Any]) -> int | str | None:
    """A batch size that only another stream of the app asked for is not this one's."""
    if not mark.get("batch_size") and others(values, prefix, "batch_size"):
        return None
    found = values.get(BATCH)
    return int(found) if found and found.isdecimal() else found


def others(values: Values, prefix: str, key: str) -> dict[str, Any]:
    """What the other streams of the app say for ``key``, by their name."""
    found = marks(values).items()
    return {str(mark.get("name")): mark[key] for other, mark in found if other != prefix and mark.get(key)}


def merged(values: Values, prefix: str, trigger: str, streams: Values) -> dict[str, str]:
    """``values`` with ``streams`` as the settings of one stream; none remove it. ``trigger`` is its trigger if there is
    no mark any more."""
    mark = marks(values).get(prefix) or {}
    gone = keys(prefix, str(mark.get("trigger") or trigger))
    shared = {BATCH: "batch_size", OFFSET: "starting_position"}
    if mark or streams:
        gone |= {name for name, key in shared.items() if not others(values, prefix, key)}
    return {**{key: value for key, value in values.items() if key not in gone}, **streams}


def conflict(name: str, values: Values, settings: Mapping[str, Any]) -> str:
    """Why an app cannot have this stream beside those that it has; "" if it can."""
    prefix = settings["setting"]
    holder = (marks(values).get(prefix) or {}).get("name", name)
    if holder != name:
        return f"{name}: stream {holder} has the setting {prefix}; give another `setting`, and use it in the code"
    for key in ("batch_size", "starting_position"):
        wanted = settings[key]
        for other, value in others(values, prefix, key).items():
            if other != name and wanted not in (None, value):
                return (
                    f"{name}: {key} {wanted} here and {value} for stream {other}, but it holds for all Event Hubs "
                    "triggers of a function app; give both the same, or use two apps"
                )
    for other, trigger in others(values, prefix, "trigger").items():
        if other != name and trigger == settings["trigger"]:
            return f"{name}: trigger {trigger} is that of stream {other}; each stream needs one of its own"
    return ""
