"""Kinesis: what is written in the words of AWS, what is read back, and what AWS refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from botocore.exceptions import ClientError

from triplane.core.errors import InputError, StaleError, TerminalError, TransientError
from triplane.serverless.aws.kinesis import Kinesis
from triplane.serverless.events.source import Done, Found, Wanted, differing, plan
from triplane.serverless.target import UNKNOWN, DeployFailed, Waiting

STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
CALLS = "arn:aws:lambda:eu-west-1:123456789012:function:hook:live"
OPTIONS: dict[str, Any] = {"function": "hook", "stream": STREAM}
ANSWER = {
    **{
        "UUID": "u1",
        "EventSourceArn": STREAM,
        "FunctionArn": CALLS,
        "State": "Enabled",
        "LastModified": "now",
    },
    **{"StartingPosition": "LATEST", "BatchSize": 100, "MaximumBatchingWindowInSeconds": 0},
    **{"ParallelizationFactor": 1, "MaximumRecordAgeInSeconds": -1, "MaximumRetryAttempts": -1},
    **{"BisectBatchOnFunctionError": False, "DestinationConfig": {"OnFailure": {}}},
    **{"TumblingWindowInSeconds": 0, "FunctionResponseTypes": [], "LastProcessingResult": "OK"},
}


class Lambda:
    """boto3's client of ``lambda`` with the answers that a test gives it; ``sent`` are the calls that change."""

    def __init__(self, *mappings: dict[str, Any], error: tuple[str, str] | None = None) -> None:
        self.mappings = list(mappings)
        self.error = error
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def get_event_source_mapping(self, UUID: str) -> Any:
        for each in self.mappings:
            if each["UUID"] == UUID:
                return copy.deepcopy(each)
        raise _refusal("ResourceNotFoundException", "not there")

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, EventSourceArn: str) -> Any:
        for each in self.mappings:
            mine = [copy.deepcopy(each)] if each["EventSourceArn"] == EventSourceArn else []
            yield {"EventSourceMappings": mine}

    def _change(self, name: str, asked: dict[str, Any]) -> None:
        self.sent.append((name, asked))
        if self.error:
            raise _refusal(*self.error)

    def create_event_source_mapping(self, **asked: Any) -> None:
        self._change("create", asked)

    def update_event_source_mapping(self, **asked: Any) -> None:
        self._change("update", asked)

    def delete_event_source_mapping(self, **asked: Any) -> None:
        self._change("delete", asked)


def _refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "CreateEventSourceMapping")


def wanted(id: str = "", **options: Any) -> Wanted:
    settings = Kinesis(Lambda()).settings("orders", {**OPTIONS, **options})
    return Wanted(name="orders", settings=settings, id=id, attempt="0" * 16)


def observed(shall: Wanted, *mappings: dict[str, Any]) -> Found | None:
    return Kinesis(Lambda(*mappings)).observe(shall)


def test_what_is_not_written_is_as_aws_has_it() -> None:
    found = observed(wanted(), ANSWER)
    assert found is not None
    assert differing(wanted(), found) == []
    assert (found.id, found.settings["calls"]) == ("u1", CALLS)


@pytest.mark.parametrize(
    ("options", "changed", "lines"),
    [
        ({"batch_size": 5}, {}, ("batch_size: 100 -> 5",)),
        ({"enabled": False}, {"State": "Enabling"}, ("enabled: True -> False",)),
        ({}, {"State": "Disabling"}, ("enabled: False -> True",)),
        ({"dead_letter": "arn:q"}, {}, ("dead_letter: (not set) -> arn:q",)),
        ({"starting_position": "earliest"}, {}, ("starting_position: latest -> earliest",)),
        ({}, {"StartingPosition": "AT_TIMESTAMP"}, ("starting_position: AT_TIMESTAMP -> latest",)),
        ({}, {"TumblingWindowInSeconds": 30}, ("other: {'TumblingWindowInSeconds': '30'} -> (not set)",)),
        ({}, {"FilterCriteria": {"Filters": []}}, ()),
        ({}, {"State": "Updating"}, ()),
        ({"enabled": False}, {"State": "Updating"}, ()),
    ],
)
def test_what_a_plan_shows(options: dict[str, Any], changed: dict[str, Any], lines: tuple[str, ...]) -> None:
    shall = wanted(**options)
    change = plan("aws/stream/orders", shall, observed(shall, {**ANSWER, **changed}), Kinesis.fixed)
    assert change.lines == lines
    replaced = any(line.startswith("starting_position") for line in lines)
    assert change.action == ("replace" if replaced else "update" if lines else "none")


def test_which_mapping_it_is() -> None:
    other = {**ANSWER, "UUID": "u2", "FunctionArn": f"{CALLS}2"}
    found = observed(wanted(), other, {**ANSWER, "UUID": "u3", "State": "Deleting"}, ANSWER)
    assert found is not None
    assert found.id == "u1"
    kept = observed(wanted(id="u2"), ANSWER, other)
    assert kept is not None
    assert kept.id == "u2"
    gone = observed(wanted(id="u9"), ANSWER)
    assert gone is not None
    assert gone.id == "u1"
    assert observed(wanted(), other) is None
    assert observed(wanted(stream=UNKNOWN), ANSWER) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream": None}, "needs 'stream'"),
        ({"stream": "orders"}, "give 'stream' as an ARN"),
        ({"starting_position": "middle"}, "neither 'latest' nor 'earliest'"),
        ({"batch_size": 0}, "between 1 and 10000"),
        ({"batch_size": 10001}, "between 1 and 10000"),
        ({"batch_window": 301}, "between 0 and 300"),
        ({"parallelization": 11}, "between 1 and 10"),
        ({"retries": -2}, "between -1 and 10000"),
        ({"max_record_age": 59}, "between 60 and 604800"),
        ({"max_record_age": 604801}, "between -1 and 604800"),
        ({"bisect": "yes"}, "neither true nor false"),
        ({"dead_letter": "queue"}, "as the ARN"),
    ],
)
def test_what_aws_does_not_take(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wanted(**options)


def test_what_is_known_only_later() -> None:
    assert wanted(stream=UNKNOWN).settings["calls"] is UNKNOWN
    assert wanted(function=UNKNOWN).settings["calls"] is UNKNOWN
    assert wanted(stream=UNKNOWN, function=CALLS).settings["calls"] == CALLS
    assert wanted(batch_size=UNKNOWN).settings["batch_size"] is UNKNOWN
    assert wanted(stream=TABLE).settings["calls"] == CALLS


def test_one_call_makes_all_of_it() -> None:
    client = Lambda()
    progress = Kinesis(client).apply(wanted(retries=2, dead_letter="arn:q", enabled=False), None, print)
    assert isinstance(progress, Waiting)
    ((name, asked),) = client.sent
    assert (name, asked["MaximumRetryAttempts"], asked["Enabled"]) == ("create", 2, False)
    assert asked["DestinationConfig"] == {"OnFailure": {"Destination": "arn:q"}}


def test_what_hands_have_set_is_taken_away() -> None:
    client = Lambda({**ANSWER, "FunctionResponseTypes": ["ReportBatchItemFailures"]})
    target = Kinesis(client)
    target.apply(wanted(), target.observe(wanted()), print)
    ((name, asked),) = client.sent
    assert (name, asked["UUID"], asked["FunctionResponseTypes"]) == ("update", "u1", [])
    assert not {"EventSourceArn", "StartingPosition"} & set(asked)


@pytest.mark.parametrize("state", ["Creating", "Enabling", "Disabling", "Updating"])
def test_while_aws_is_at_work_nothing_is_sent(state: str) -> None:
    client = Lambda({**ANSWER, "State": state})
    target, shall = Kinesis(client), wanted(batch_size=5)
    before = target.observe(shall)
    assert isinstance(target.apply(shall, before, print), Waiting)
    assert isinstance(target.restore(shall, before, print), Waiting)
    assert isinstance(target.delete(shall), Waiting)
    assert client.sent == []


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("ResourceInUseException", "in use", Waiting),
        ("ResourceConflictException", "an operation is in progress", Waiting),
        ("ResourceConflictException", "mapping already exists", DeployFailed),
        ("InvalidParameterValueException", "Cannot access stream arn. Please ensure the role", Waiting),
        ("InvalidParameterValueException", "The role cannot be assumed by Lambda", Waiting),
        ("InvalidParameterValueException", "Stream not found", InputError),
        ("TooManyRequestsException", "slow down", TransientError),
        ("ExpiredTokenException", "expired", TransientError),
        ("UnrecognizedClientException", "who?", TerminalError),
        ("ResourceNotFoundException", "Function not found", TerminalError),
    ],
)
def test_what_aws_refuses(code: str, message: str, expected: Any) -> None:
    target = Kinesis(Lambda(ANSWER, error=(code, message)))
    shall = wanted(batch_size=5)
    before = target.observe(shall)
    if expected is Waiting:
        progress = target.apply(shall, before, print)
        assert isinstance(progress, Waiting)
        assert message in progress.why
        return
    with pytest.raises(expected, match=message):
        target.apply(shall, before, print)


def test_one_that_appears_between_the_look_and_the_call() -> None:
    conflict = ("ResourceConflictException", "provided mapping already exists")
    ours = Kinesis(Lambda(ANSWER, error=conflict))
    assert isinstance(ours.apply(wanted(), None, print), Waiting)
    theirs = Kinesis(Lambda(ANSWER, error=conflict))
    with pytest.raises(StaleError, match="somebody else has made u1"):
        theirs.apply(wanted(batch_size=5), None, print)


def test_deleting_what_is_gone() -> None:
    assert isinstance(Kinesis(Lambda()).delete(wanted(id="u1")), Done)
    assert isinstance(Kinesis(Lambda({**ANSWER, "State": "Deleting"})).delete(wanted(id="u1")), Done)
