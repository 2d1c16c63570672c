"""Kinesis, and streams of DynamoDB: an event source mapping that gives records to the alias ``live`` of a function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from triplane.core.errors import InputError, StaleError
from triplane.serverless.aws.errors import code_of, errors, found
from triplane.serverless.aws.lambda_settings import ALIAS
from triplane.serverless.events import streams
from triplane.serverless.events.source import Done, Found, Options, Progress, Wanted
from triplane.serverless.target import UNKNOWN, DeployFailed, Log, Unknown, Waiting

FOREVER = -1
LEAST_AGE = 60
POSITIONS: Final = {"LATEST": "latest", "TRIM_HORIZON": "earliest"}
_AT_WORK: Final = frozenset({"Creating", "Enabling", "Disabling", "Updating", "Deleting"})
_STREAM = re.compile(
    r"arn:(?P<partition>[\w-]+):(?:kinesis|dynamodb):(?P<region>[\w-]+):(?P<account>\d{12}):"
    r"(?:stream/.+|table/.+/stream/.+)"
)
_NOT_YET = re.compile(r"cannot be assumed|does not have permissions|cannot access stream", re.IGNORECASE)
_NUMBERS: Final = {
    "batch_size": ("BatchSize", 100),
    "batch_window": ("MaximumBatchingWindowInSeconds", 0),
    "parallelization": ("ParallelizationFactor", 1),
    "max_record_age": ("MaximumRecordAgeInSeconds", FOREVER),
    "retries": ("MaximumRetryAttempts", FOREVER),
}
_ANSWER_ONLY: Final = frozenset(
    {
        *("UUID", "EventSourceMappingArn", "LastModified", "LastProcessingResult", "StateTransitionReason"),
        *("FilterCriteriaError", "ResponseMetadata"),
    }
)
_KNOWN: Final = frozenset(
    {
        *("EventSourceArn", "FunctionArn", "StartingPosition", "State", "BisectBatchOnFunctionError"),
        *(wire for wire, _ in _NUMBERS.values()),
    }
)
_NOTHING: Final[Mapping[str, Any]] = {
    "FilterCriteria": {},
    "FunctionResponseTypes": [],
    "KMSKeyArn": "",
    "MetricsConfig": {"Metrics": []},
    "TumblingWindowInSeconds": 0,
}
"""What takes away a setting that somebody made by hand."""


class Kinesis:
    """Event source mappings of one region; ``client`` is boto3's of ``lambda``.

    A mapping has no name at AWS: it is known by the UUID of its last deployment, or by function and stream.
    """

    options = streams.COMMON | {"batch_window", "max_record_age", "bisect", "parallelization"}
    fixed = frozenset({"stream", "starting_position"})

    def __init__(self, client: Any) -> None:
        self._client = client
        self._restored: dict[str, str] = {}

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        """A function that is no ARN is in the account and region of the stream."""
        streams.check(name, options)
        age = _number(name, options, "max_record_age", FOREVER, 604800)
        if isinstance(age, int) and FOREVER < age < LEAST_AGE:
            raise InputError(f"{name}: max_record_age is -1 (for ever), or between 60 and 604800")
        dead_letter = options.get("dead_letter") or ""
        if not isinstance(dead_letter, Unknown) and dead_letter and not str(dead_letter).startswith("arn:"):
            raise InputError(f"{name}: give 'dead_letter' as the ARN of an SQS queue or SNS topic")
        bisect = options.get("bisect", False)
        if not isinstance(bisect, (bool, Unknown)):
            raise InputError(f"{name}: bisect {bisect!r} is neither true nor false")
        return {
            "stream": options["stream"],
            "calls": _function(name, options["function"], options["stream"]),
            "starting_position": _position(name, options),
            "batch_size": _number(name, options, "batch_size", 1, 10000),
            "batch_window": _number(name, options, "batch_window", 0, 300),
            "parallelization": _number(name, options, "parallelization", 1, 10),
            "max_record_age": age,
            "retries": _number(name, options, "retries", FOREVER, 10000),
            "bisect": bisect,
            "dead_letter": dead_letter,
            "enabled": options.get("enabled", True),
            "other": {},
        }

    def observe(self, wanted: Wanted) -> Found | None:
        """One that is being deleted is not there any more."""
        with errors(f"reading the event source mapping {wanted.name}"):
            there = self._mapping(wanted)
            return None if there is None else _found(there, wanted)

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        """One of another stream is made before the old one is deleted; another position needs the deletion first."""
        settings = wanted.known()
        with errors(f"configuring the event source mapping {wanted.name}"):
            if found is None:
                log(f"{wanted.name}: creating the event source mapping")
                return self._create(_body(settings), wanted)
            if waiting := _at_work(found.raw):
                return waiting
            if dict(found.settings) == settings:
                return Done(details={"mapping": found.id})
            if settings["stream"] != found.settings["stream"]:
                return self._replace(wanted, found, log)
            if settings["starting_position"] != found.settings["starting_position"]:
                log(f"{wanted.name}: deleting the event source mapping, to make it anew")
                return self._delete(found.id)
            log(f"{wanted.name}: updating the event source mapping")
            cleared = {key: _NOTHING[key] for key in found.settings["other"] if key in _NOTHING}
            return self._update(found.id, _body(settings) | cleared)

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        if previous is None:
            return self.delete(wanted)
        before, name = previous.settings, wanted.name
        with errors(f"putting back the event source mapping {name}"):
            there = self._by_id(previous.id) or self._of(before["calls"], before["stream"])
            if wanted.settings["stream"] != before["stream"]:
                made = self._of(wanted.settings["calls"], wanted.settings["stream"])
                if made is not None and _found(made, wanted).settings == wanted.settings:
                    log(f"{name}: deleting the new event source mapping")
                    return _at_work(made) or self._delete(made["UUID"])
            if there is None:
                log(f"{name}: making the event source mapping of before anew")
                return self._create(_raw_body(previous.raw))
            self._restored[name] = there["UUID"]
            if waiting := _at_work(there):
                return waiting
            now = _found(there, wanted)
            if now.settings == before:
                return Done(details={"mapping": now.id})
            if now.settings["starting_position"] != before["starting_position"]:
                return self._delete(now.id)
            log(f"{name}: putting back the event source mapping of before")
            cleared = {key: _NOTHING[key] for key in now.settings["other"] if key in _NOTHING}
            return self._update(now.id, cleared | _raw_body(previous.raw))

    def delete(self, wanted: Wanted) -> Progress:
        with errors(f"deleting the event source mapping {wanted.name}"):
            there = self._mapping(wanted)
            if there is None:
                return Done()
            return _at_work(there) or self._delete(there["UUID"])

    def _replace(self, wanted: Wanted, old: Found, log: Log) -> Progress:
        new = self._of(wanted.settings["calls"], wanted.settings["stream"])
        if new is None:
            log(f"{wanted.name}: creating the event source mapping of the new stream")
            return self._create(_body(wanted.settings), wanted)
        if waiting := _at_work(new):
            return waiting
        if _found(new, wanted).settings != wanted.settings:
            raise StaleError(
                f"{wanted.name}: {new['UUID']} gives this stream to this function already; delete it, or let it be"
            )
        log(f"{wanted.name}: deleting the event source mapping of the old stream")
        return self._delete(old.id)

    def _create(self, body: Mapping[str, Any], wanted: Wanted | None = None) -> Progress:
        """There is no token that makes it once: one that is there already and as ``wanted`` is taken for ours."""
        progress = self._send(self._client.create_event_source_mapping, body, new=True)
        if wanted is not None:
            there = self._of(wanted.settings["calls"], wanted.settings["stream"])
            if there is not None and _found(there, wanted).settings != wanted.settings:
                raise StaleError(
                    f"{wanted.name}: somebody else has made {there['UUID']} meanwhile; plan again"
                )
        return progress

    def _update(self, uuid: str, body: Mapping[str, Any]) -> Progress:
        fixed = ("EventSourceArn", "StartingPosition", "StartingPositionTimestamp")
        changes = {key: value for key, value in body.items() if key not in fixed}
        return self._send(self._client.update_event_source_mapping, {"UUID": uuid, **changes}, new=False)

    def _send(self, call: Any, body: Mapping[str, Any], *, new: bool) -> Progress:
        from botocore.exceptions import ClientError

        try:
            call(**body)
        except ClientError as error:
            code, said = code_of(error), str(error)
            if code == "InvalidParameterValueException" and _NOT_YET.search(said):
                return Waiting(why=f"the function's role may not do its work yet: {said}", seconds=2.0)
            if code == "ResourceConflictException" and not new and "exist" in said:
                raise DeployFailed(said) from error
            if code not in ("ResourceConflictException", "ResourceInUseException"):
                raise
            return Waiting(why=f"AWS is at work on it: {said}", seconds=1.0)
        return Waiting(
            why=f"the event source mapping is being {'created' if new else 'updated'}", seconds=1.0
        )

    def _delete(self, uuid: str) -> Progress:
        in_use = ("ResourceNotFoundException", "ResourceInUseException")
        found(self._client.delete_event_source_mapping, *in_use, UUID=uuid)
        return Waiting(why="the event source mapping is being deleted", seconds=1.0)

    def _mapping(self, wanted: Wanted) -> Any:
        there = self._by_id(self._restored.get(wanted.name) or wanted.id)
        calls, stream = wanted.settings.get("calls"), wanted.settings.get("stream")
        if there is not None or not isinstance(calls, str) or not isinstance(stream, str):
            return there
        return self._of(calls, stream)

    def _by_id(self, uuid: str) -> Any:
        there = found(self._client.get_event_source_mapping, UUID=uuid) if uuid else None
        return there if there and there["State"] != "Deleting" else None

    def _of(self, calls: Any, stream: Any) -> Any:
        """The mapping of a function and a stream: AWS allows one."""
        pages = self._client.get_paginator("list_event_source_mappings").paginate(EventSourceArn=stream)
        for page in pages:
            for each in page["EventSourceMappings"]:
                if each["FunctionArn"] == calls and each["State"] != "Deleting":
                    return each
        return None


def _number(name: str, options: Options, key: str, least: int, most: int) -> Any:
    if isinstance(options.get(key), Unknown):
        return UNKNOWN
    return streams.number(name, options, key, _NUMBERS[key][1], least, most)


def _position(name: str, options: Options) -> Any:
    unknown = isinstance(options.get("starting_position"), Unknown)
    return UNKNOWN if unknown else streams.position(name, options)


def _function(name: str, function: Any, stream: Any) -> Any:
    match = None if isinstance(stream, Unknown) else _STREAM.fullmatch(str(stream))
    if match is None and not isinstance(stream, Unknown):
        raise InputError(
            f"{name}: give 'stream' as an ARN (arn:aws:kinesis:<region>:<account>:stream/<name>)"
        )
    if not isinstance(function, Unknown) and str(function).startswith("arn:"):
        return function
    if match is None or isinstance(function, Unknown):
        return UNKNOWN
    where = f"{match['partition']}:lambda:{match['region']}:{match['account']}"
    return f"arn:{where}:function:{function}:{ALIAS}"


def _at_work(there: Mapping[str, Any]) -> Waiting | None:
    if there["State"] in _AT_WORK:
        return Waiting(why=f"the event source mapping is {there['State']}", seconds=1.0)
    return None


def _found(there: Mapping[str, Any], wanted: Wanted) -> Found:
    raw = {key: value for key, value in there.items() if key not in _ANSWER_ONLY and value is not None}
    return Found(settings=_settings(raw, wanted), id=there["UUID"], raw=raw)


def _settings(raw: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """``other`` holds what a deployment never sets. While AWS is at work on it, it is not said whether it is enabled."""
    position = str(raw.get("StartingPosition", ""))
    enabled: Any = raw["State"] in ("Enabled", "Enabling")
    if raw["State"] in ("Creating", "Updating"):
        enabled = wanted.settings.get("enabled", True)
    destinations = dict(raw.get("DestinationConfig") or {})
    on_failure = dict(destinations.pop("OnFailure", None) or {})
    numbers = {key: raw.get(wire, default) for key, (wire, default) in _NUMBERS.items()}
    settings = {
        **numbers,
        "stream": raw["EventSourceArn"],
        "calls": raw["FunctionArn"],
        "starting_position": POSITIONS.get(position, position),
        "bisect": raw.get("BisectBatchOnFunctionError", False),
        "dead_letter": on_failure.pop("Destination", "") or "",
        "enabled": enabled,
    }
    rest = {key: value for key, value in raw.items() if key not in {*_KNOWN, "DestinationConfig"}}
    other = {key: str(value) for key, value in {**rest, **destinations}.items() if not _empty(value)}
    return {**settings, "other": other}


def _empty(value: Any) -> bool:
    return not value or (isinstance(value, Mapping) and all(_empty(each) for each in value.values()))


def _body(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "EventSourceArn": settings["stream"],
        "FunctionName": settings["calls"],
        "StartingPosition": "LATEST" if settings["starting_position"] == "latest" else "TRIM_HORIZON",
        "Enabled": settings["enabled"],
        "BisectBatchOnFunctionError": settings["bisect"],
        "DestinationConfig": {"OnFailure": {"Destination": settings["dead_letter"]}},
        **{wire: settings[key] for key, (wire, _) in _NUMBERS.items()},
    }


def _raw_body(raw: Mapping[str, Any]) -> dict[str, Any]:
    """As AWS told it, for AWS to take it again."""
    body = {key: value for key, value in raw.items() if key not in ("FunctionArn", "State")}
    body["DestinationConfig"] = raw.get("DestinationConfig") or {"OnFailure": {"Destination": ""}}
    return {**body, "FunctionName": raw["FunctionArn"], "Enabled": raw["State"] in ("Enabled", "Enabling")}
