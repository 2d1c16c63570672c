"""Event source mappings of streams as they behave: they take their time to change, and there is one of each pair.

The function's role must be allowed to read the stream. Queues stay with the emulator's own mappings.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any
from urllib.parse import unquote

from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError
from moto.awslambda.responses import LambdaResponse
from moto.dynamodbstreams.models import dynamodbstreams_backends
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends
from moto.kinesis.models import kinesis_backends
from moto.sqs.models import sqs_backends

from triplane.sandbox.aws_server.accounts import ACCOUNT

WORK_SECONDS = 0.2
DEFAULTS: dict[str, Any] = {
    "BatchSize": 100,
    "MaximumBatchingWindowInSeconds": 0,
    "ParallelizationFactor": 1,
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "BisectBatchOnFunctionError": False,
    "TumblingWindowInSeconds": 0,
    "FunctionResponseTypes": [],
    "DestinationConfig": {"OnFailure": {}},
}
LIMITS = {
    "BatchSize": (1, 10000),
    "MaximumBatchingWindowInSeconds": (0, 300),
    "ParallelizationFactor": (1, 10),
    "MaximumRecordAgeInSeconds": (-1, 604800),
    "MaximumRetryAttempts": (-1, 10000),
    "TumblingWindowInSeconds": (0, 900),
}
STREAMS = ("kinesis", "dynamodb")
MAPPINGS: dict[str, Mapping] = {}
"""By UUID."""


class Mapping:
    """One of them; ``positions`` says up to where each shard was read."""

    def __init__(self, region: str, asked: dict[str, Any], function: str) -> None:
        self.region, self.function = region, function
        self.stream = asked["EventSourceArn"]
        self.id = str(uuid.uuid4())
        self.enabled = asked.pop("Enabled", True)
        self.settings = {**DEFAULTS, **{key: value for key, value in asked.items() if key != "FunctionName"}}
        self.positions: dict[str, int] | None = None
        self.work("Creating")

    def work(self, what: str) -> None:
        self.doing, self.until, self.modified = what, time.monotonic() + WORK_SECONDS, time.time()

    @property
    def state(self) -> str:
        """``Gone`` is one that is deleted."""
        if time.monotonic() < self.until:
            return self.doing
        return "Gone" if self.doing == "Deleting" else "Enabled" if self.enabled else "Disabled"

    def shown(self) -> dict[str, Any]:
        arn = f"arn:aws:lambda:{self.region}:{ACCOUNT}:event-source-mapping:{self.id}"
        known = {key: value for key, value in self.settings.items() if key != "Tags"}
        return {
            **{"UUID": self.id, "EventSourceMappingArn": arn, "FunctionArn": self.function},
            **{"State": self.state, "StateTransitionReason": "User action", "LastModified": self.modified},
            **{"LastProcessingResult": "No records processed", **known},
        }


class Refused(LambdaClientError):
    def __init__(self, status: int, code: str, message: str) -> None:
        self.code = status
        super().__init__(code, message)


def install() -> None:
    """Put it over moto's."""
    for call in ("create", "get", "update", "delete"):
        name = f"{call}_event_source_mapping"
        setattr(LambdaResponse, name, _answering(globals()[f"_{call}"], getattr(LambdaResponse, name)))
    listed = LambdaResponse.list_event_source_mappings

    def list_event_source_mappings(self: Any) -> str:
        asked = {key: values[0] for key, values in self.querystring.items() if values}
        found = json.loads(listed(self))["EventSourceMappings"]
        found += [each.shown() for each in _all(self.region) if _asked_for(each, asked)]
        begin, size = int(asked.get("Marker") or 0), int(asked.get("MaxItems") or 100)
        more = {"NextMarker": str(begin + size)} if len(found) > begin + size else {}
        return json.dumps({"EventSourceMappings": found[begin : begin + size], **more})

    LambdaResponse.list_event_source_mappings = list_event_source_mappings


def _answering(ours: Any, theirs: Any) -> Any:
    def respond(self: Any) -> Any:
        asked = json.loads(self.body or "{}") if self.method in ("POST", "PUT") else {}
        which = unquote(self.path.rstrip("/").rpartition("/")[2])
        if self.method == "POST":
            is_stream = asked["EventSourceArn"].split(":")[2] in STREAMS
        else:
            is_stream = self.backend.get_event_source_mapping(which) is None
        if not is_stream:
            return theirs(self)
        status, mapping = ours(self.region, asked, which)
        return status, {"status": status}, json.dumps(mapping.shown())

    return respond


def _all(region: str) -> list[Mapping]:
    for each in [each for each in list(MAPPINGS.values()) if each.state == "Gone"]:
        MAPPINGS.pop(each.id, None)
    return [each for each in list(MAPPINGS.values()) if each.region == region]


def _asked_for(mapping: Mapping, asked: dict[str, str]) -> bool:
    name = asked.get("FunctionName", mapping.function)
    return mapping.stream == asked.get("EventSourceArn", mapping.stream) and mapping.function.endswith(name)


def _create(region: str, asked: dict[str, Any], _: str) -> tuple[int, Mapping]:
    if not asked.get("StartingPosition"):
        raise InvalidParameterValueException(
            "1 validation error detected: Value null at 'startingPosition' failed"
        )
    function = _function_arn(region, asked["FunctionName"])
    _check(region, asked, function, asked["EventSourceArn"])
    for there in _all(region):
        if (there.stream, there.function) == (asked["EventSourceArn"], function):
            _conflict(there)
    mapping = Mapping(region, asked, function)
    MAPPINGS[mapping.id] = mapping
    return 202, mapping


def _get(region: str, _: Any, which: str) -> tuple[int, Mapping]:
    return 200, _there(region, which)


def _update(region: str, asked: dict[str, Any], which: str) -> tuple[int, Mapping]:
    mapping = _idle(region, which)
    function = mapping.function
    if "FunctionName" in asked:
        function = _function_arn(region, asked.pop("FunctionName"))
    _check(region, asked, function, mapping.stream)
    for there in _all(region):
        if there is not mapping and (there.stream, there.function) == (mapping.stream, function):
            _conflict(there)
    enabled = asked.pop("Enabled", mapping.enabled)
    mapping.work("Updating" if enabled == mapping.enabled else "Enabling" if enabled else "Disabling")
    mapping.function, mapping.enabled = function, enabled
    mapping.settings |= {key: value for key, value in asked.items() if key != "UUID"}
    return 202, mapping


def _delete(region: str, _: Any, which: str) -> tuple[int, Mapping]:
    mapping = _idle(region, which)
    mapping.enabled = False
    mapping.work("Deleting")
    return 202, mapping


def _there(region: str, which: str) -> Mapping:
    for each in _all(region):
        if each.id == which:
            return each
    raise Refused(404, "ResourceNotFoundException", "The resource you requested does not exist.")


def _idle(region: str, which: str) -> Mapping:
    mapping = _there(region, which)
    if mapping.state not in ("Enabled", "Disabled"):
        message = "Cannot update the event source mapping because it is in use."
        raise Refused(400, "ResourceInUseException", message)
    return mapping


def _conflict(there: Mapping) -> None:
    raise Refused(
        409,
        "ResourceConflictException",
        f'The event source arn (" {there.stream} ") and function (" {there.function.split(":")[6]} ") '
        f"provided mapping already exists. Please update or delete the existing mapping with UUID {there.id}",
    )


def _function_arn(region: str, name: str) -> str:
    """With the qualifier that was given. The function, and its alias, must be there."""
    from moto.awslambda.models import lambda_backends

    plain = re.sub(r"^(arn:[\w-]+:lambda:[\w-]+:)?(\d{12}:)?(function:)?", "", name)
    function, _, qualifier = plain.partition(":")
    arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{plain}"
    try:
        lambda_backends[ACCOUNT][region].get_function(function, qualifier or None)
    except LambdaClientError as error:
        raise Refused(404, "ResourceNotFoundException", f"Function not found: {arn}") from error
    return arn


def _check(region: str, asked: dict[str, Any], function: str, stream: str) -> None:
    for key, (least, most) in LIMITS.items():
        if key in asked and not least <= asked[key] <= most:
            message = (
                f"1 validation error detected: Value '{asked[key]}' at '{key}' failed to satisfy constraint"
            )
            raise Refused(400, "ValidationException", f"{message}: between {least} and {most}")
    if -1 < asked.get("MaximumRecordAgeInSeconds", -1) < 60:
        raise InvalidParameterValueException("Invalid MaximumRecordAgeInSeconds: -1, or 60 and more.")
    if not _stream_exists(region, stream):
        raise InvalidParameterValueException(f"Stream not found: {stream}")
    role = _role(region, function)
    kind = stream.split(":")[2]
    if not allowed(role, f"{kind}:GetRecords", stream):
        raise InvalidParameterValueException(
            f"Cannot access stream {stream}. Please ensure the role can perform the GetRecords, "
            "GetShardIterator, DescribeStream, and ListStreams Actions on your stream in IAM."
        )
    destination = ((asked.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination")
    if destination and ":sqs:" in destination:
        queues = sqs_backends[ACCOUNT][region].queues.values()
        if not any(queue.queue_arn == destination for queue in queues):
            raise InvalidParameterValueException(f"The destination does not exist: {destination}")
        if not allowed(role, "sqs:SendMessage", destination):
            raise InvalidParameterValueException(
                "The provided execution role does not have permissions to call SendMessage on SQS"
            )


def _stream_exists(region: str, stream: str) -> bool:
    if stream.split(":")[2] == "dynamodb":
        there = dynamodbstreams_backends[ACCOUNT][region].list_streams()
        return any(each["StreamArn"] == stream for each in there)
    return any(each.arn == stream for each in list(kinesis_backends[ACCOUNT][region].streams.values()))


def _role(region: str, function: str) -> Any:
    from moto.awslambda.models import lambda_backends

    name = function.split(":")[6]
    return iam_backends[ACCOUNT]["aws"].get_role_by_arn(
        lambda_backends[ACCOUNT][region].get_function(name).role
    )


def allowed(role: Any, action: str, resource: str) -> bool:
    """What the role's own policies say, and those that are attached to it."""
    policies = [*role.policies.values(), *role.managed_policies.values()]
    said = [IAMPolicy(policy).is_action_permitted(action, resource) for policy in policies]
    return PermissionResult.PERMITTED in said and PermissionResult.DENIED not in said
