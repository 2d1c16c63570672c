"""Event Hubs: a function app's trigger reads an event hub, by a consumer group of its own.

The trigger is declared in the function's code, which names settings for what is configured here::

    @app.event_hub_message_trigger(
        arg_name="event", connection="ORDERS",
        event_hub_name="%ORDERS__eventHubName%", consumer_group="%ORDERS__consumerGroup%",
    )
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from triplane.core.errors import InputError, StaleError
from triplane.serverless.azure import stream_settings as streams
from triplane.serverless.azure.app_settings import AppSettings
from triplane.serverless.events.source import Done, Found, Options, Progress, Wanted
from triplane.serverless.events.streams import COMMON, check, number, position
from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN, DeployFailed, Log, Unknown, Waiting

VERSION = "2024-01-01"
MOST_EVENTS = 10_000
STEP_SECONDS = 3.0
OFF = "disabled"
_TRIGGER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,126}")
_SETTING = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CLIENT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Spot(NamedTuple):
    """Where a stream is configured; ``group`` is the resource id of its consumer group."""

    app: str
    setting: str
    trigger: str
    group: str

    def is_at(self, other: Spot) -> bool:
        return (self.app.lower(), self.setting) == (other.app.lower(), other.setting)


class EventHubs:
    """Event hubs that function apps of one resource group read. ``manager`` is Azure Resource Manager.

    Options: ``trigger`` (name of the function within the app, needed), ``stream`` (resource id of the event hub, or its
    name with ``namespace``), ``setting`` (prefix of the application settings, what the code calls ``connection``),
    ``consumer_group`` (one that is there already; without it the stream has one of its own, which goes with it),
    ``identity`` (``system``, or client id or resource id of a managed identity of the app).
    """

    options = COMMON | {"trigger", "setting", "namespace", "consumer_group", "identity"}
    fixed = frozenset({"function", "setting"})

    def __init__(self, manager: Api, *, subscription: str, resource_group: str) -> None:
        self._api = manager
        self._scope = f"/subscriptions/{subscription}/resourceGroups/{resource_group}/providers"
        self._apps = AppSettings(manager, self._scope)

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        check(name, options)
        if not options.get("trigger"):
            raise InputError(
                f"{name}: a stream needs 'trigger', the name of the function in the app that reads it"
            )
        if options.get("dead_letter"):
            raise InputError(
                f"{name}: Event Hubs has no dead letters; catch what fails in the function, and send it to a queue"
            )
        if options.get("retries") is not None:
            raise InputError(
                f"{name}: retries are in the function's code here; write @app.retry(...) at the trigger"
            )
        setting = options.get("setting") or re.sub(r"\W", "_", name).upper()
        for key, value, form in (("setting", setting, _SETTING), ("trigger", options["trigger"], _TRIGGER)):
            if not isinstance(value, Unknown) and not form.fullmatch(str(value)):
                raise InputError(f"{name}: {key} {value!r} is none; use letters, digits and underscores")
        return {
            "function": options["function"],
            "trigger": options["trigger"],
            "setting": setting,
            "stream": self._stream(name, options),
            "consumer_group": options.get("consumer_group") or name,
            "own_consumer_group": not options.get("consumer_group"),
            "identity": _identity(name, options.get("identity") or streams.SYSTEM),
            "batch_size": None
            if options.get("batch_size") is None
            else number(name, options, "batch_size", 1, 1, MOST_EVENTS),
            "starting_position": position(name, options),
            "enabled": options.get("enabled", True),
            "slots": OFF,
        }

    def _stream(self, name: str, options: Options) -> Any:
        stream, namespace = options["stream"], options.get("namespace")
        if isinstance(stream, Unknown) or isinstance(namespace, Unknown):
            return UNKNOWN
        if namespace and "/" not in stream:
            stream = f"{self._scope}/Microsoft.EventHub/namespaces/{namespace}/eventhubs/{stream}"
        if not streams.where(stream)[0]:
            raise InputError(
                f"{name}: give `stream` as the resource id of an event hub, or as its name with `namespace`"
            )
        return stream

    def observe(self, wanted: Wanted) -> Found | None:
        for spot in self._spots(wanted):
            values = self._apps.read(spot.app)
            read = None if values is None else streams.read(values, spot.setting)
            if values is not None:
                self._check(wanted, spot.app, values)
            if values is not None and read is not None:
                return self._found(spot, values, read)
        return None

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        """What it had elsewhere goes first, then its consumer group comes, last the app's settings."""
        settings = wanted.known()
        spot, old = _shall(wanted), _was(wanted)
        assert spot is not None
        values = self._apps.read(spot.app)
        if values is None:
            raise InputError(f"{wanted.name}: there is no function app {spot.app}; deploy it first")
        self._check(wanted, spot.app, values)
        if old is not None and not old.is_at(spot):
            log(f"{wanted.name}: removing it from {old.app}")
            self._remove(wanted, old)
        self._give_group(wanted, spot, own=settings["own_consumer_group"], log=log)
        if not self._apps.write(
            spot.app, spot.setting, spot.trigger, streams.written(wanted.name, settings), log
        ):
            return Waiting(why=f"{spot.app}: somebody else changes its settings", seconds=STEP_SECONDS)
        if old is not None and old.is_at(spot) and old.group.lower() != spot.group.lower():
            self._drop_group(wanted, old)
        return Done(details={"consumer group": settings["consumer_group"]})

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        new = _shall(wanted)
        if previous is None:
            if new is not None:
                self._remove(wanted, new)
            return Done()
        old = Spot(*previous.raw["spot"])
        if new is not None and not new.is_at(old):
            self._remove(wanted, new)
        if previous.settings["own_consumer_group"] and previous.settings["consumer_group"]:
            self._give_group(wanted, old, own=True, log=log)
        if not self._apps.write(old.app, old.setting, old.trigger, previous.raw["values"], log):
            return Waiting(why=f"{old.app}: somebody else changes its settings", seconds=STEP_SECONDS)
        if new is not None and new.is_at(old) and new.group.lower() != old.group.lower():
            self._drop_group(wanted, new)
        return Done()

    def delete(self, wanted: Wanted) -> Progress:
        """First the app stops to read, last its consumer group goes."""
        for spot in self._spots(wanted):
            self._remove(wanted, spot)
        return Done()

    def _spots(self, wanted: Wanted) -> Iterator[Spot]:
        """Where it was deployed last, and where it shall be."""
        old, new = _was(wanted), _shall(wanted)
        if old is not None:
            yield old
        if new is not None and (old is None or not new.is_at(old)):
            yield new

    def _found(self, spot: Spot, values: Mapping[str, str], read: Mapping[str, Any]) -> Found:
        group = f"{read['stream']}/consumergroups/{read['consumer_group']}"
        known = bool(streams.where(read["stream"])[0])
        there = known and self._group(group) is not None
        spot = Spot(spot.app, spot.setting, read["trigger"], group if known else spot.group)
        own = streams.keys(spot.setting, spot.trigger) | {streams.BATCH, streams.OFFSET}
        if read["batch_size"] is None:
            own -= {streams.BATCH}
        kept = {key: value for key, value in values.items() if key in own}
        settings = {
            "function": spot.app,
            **read,
            "consumer_group": read["consumer_group"] if there else "",
            "slots": OFF if self._apps.apart(spot.app, kept, spot.trigger) else "read too",
        }
        return Found(settings=settings, id=" ".join(spot), raw={"spot": list(spot), "values": kept})

    def _check(self, wanted: Wanted, app: str, values: Mapping[str, str]) -> None:
        """:raises InputError: the app has other streams that this one cannot be beside"""
        if app == wanted.settings["function"] and not any(
            isinstance(value, Unknown) for value in wanted.settings.values()
        ):
            reason = streams.conflict(wanted.name, values, wanted.settings)
            if reason:
                raise InputError(reason)

    def _remove(self, wanted: Wanted, spot: Spot) -> None:
        self._apps.remove(spot.app, spot.setting, spot.trigger)
        self._drop_group(wanted, spot)

    def _group(self, path: str) -> dict[str, Any] | None:
        return self._api.get(path, **{"api-version": VERSION})

    def _give_group(self, wanted: Wanted, spot: Spot, *, own: bool, log: Log) -> None:
        name = spot.group.rpartition("/")[2]
        group = self._group(spot.group)
        if group is None and not own:
            raise DeployFailed(
                f"{wanted.name}: there is no consumer group {name}; make it, or leave out `consumer_group`"
            )
        if group is None:
            log(f"{wanted.name}: making the consumer group {name}")
            body = {"properties": {"userMetadata": _ours(wanted, spot)}}
            self._api.call("PUT", spot.group, body, query={"api-version": VERSION})
        elif own and not _is_ours(group, wanted, spot):
            raise StaleError(
                f"{wanted.name}: somebody else made a consumer group {name}; give it as `consumer_group` to use it"
            )

    def _drop_group(self, wanted: Wanted, spot: Spot) -> None:
        """One that somebody else made stays."""
        group = self._group(spot.group) if spot.group.startswith("/") else None
        if group is not None and _is_ours(group, wanted, spot):
            self._api.call("DELETE", spot.group, query={"api-version": VERSION}, missing_ok=True)


def _identity(name: str, identity: Any) -> Any:
    if isinstance(identity, Unknown) or identity == streams.SYSTEM:
        return identity
    if not _CLIENT.fullmatch(identity) and not identity.startswith("/subscriptions/"):
        raise InputError(
            f"{name}: `identity` is 'system', or the client id or resource id of a managed identity"
        )
    return identity


def _shall(wanted: Wanted) -> Spot | None:
    """None while a part is not known yet."""
    found = wanted.settings
    parts = [found[key] for key in ("function", "setting", "trigger", "stream", "consumer_group")]
    if any(isinstance(part, Unknown) for part in parts):
        return None
    function, setting, trigger, stream, group = (str(part) for part in parts)
    return Spot(function, setting, trigger, f"{stream}/consumergroups/{group}")


def _was(wanted: Wanted) -> Spot | None:
    parts = wanted.id.split(" ")
    return Spot(*parts) if len(parts) == len(Spot._fields) else None


def _ours(wanted: Wanted, spot: Spot) -> str:
    return f"triplane {spot.app.lower()}/{wanted.name}"


def _is_ours(group: Mapping[str, Any], wanted: Wanted, spot: Spot) -> bool:
    return (group.get("properties") or {}).get("userMetadata") == _ours(wanted, spot)
