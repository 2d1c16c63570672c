"""Kinesis event source mappings through the operators, against the sandbox; functions really get the records."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests import event_sources
from tests.e2e import aws_event_steps as steps
from tests.e2e.aws_event_steps import ACCOUNT, BREAKS, FAULTS, REGION, client_of, persist, until
from tests.event_sources import Tasks

CODE = """
import base64
def handler(event, context):
    texts = [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]
    for text in texts:
        if text.endswith("bad"):
            raise ValueError(text)
    for text in texts:
        print(f"got {text} as version {context.function_version}")
"""
READER = "stream-reader"
MAY = ["kinesis:*", "sqs:SendMessage"]


@pytest.fixture
def tasks(cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Tasks:
    event_sources.store(monkeypatch, tmp_path)
    steps.quickly(monkeypatch)
    name = f"orders-{uuid.uuid4().hex[:8]}"
    steps.function(READER, CODE, steps.role(READER, "lambda", MAY))
    options = {"function": READER, "stream": stream(name)}
    return Tasks("kinesis", name, options, {"region": REGION})


def stream(name: str) -> str:
    client_of("kinesis").create_stream(StreamName=name, ShardCount=1)
    return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"


def queue(name: str) -> str:
    client_of("sqs").create_queue(QueueName=name)
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def put(name: str, *texts: str) -> None:
    records = [{"Data": f"{name} {text}".encode(), "PartitionKey": "k"} for text in texts]
    client_of("kinesis").put_records(StreamName=name, Records=records)


def mappings(name: str, *, all_of_them: bool = False) -> list[dict[str, Any]]:
    """Those of a test's streams; without those that are being deleted."""
    pages = client_of("lambda").get_paginator("list_event_source_mappings").paginate()
    mine = [each for page in pages for each in page["EventSourceMappings"] if name in each["EventSourceArn"]]
    return [each for each in mine if all_of_them or each["State"] != "Deleting"]


def settled(name: str) -> dict[str, Any]:
    """The only mapping of a test, once AWS is not at work on it."""
    until(lambda: all(each["State"] in ("Enabled", "Disabled") for each in mappings(name, all_of_them=True)))
    (found,) = mappings(name)
    return found


def test_life(tasks: Tasks) -> None:
    def by_hand() -> None:
        there = settled(tasks.name)
        changes = {"BatchSize": 3, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
        client_of("lambda").update_event_source_mapping(UUID=there["UUID"], **changes)
        settled(tasks.name)

    update = {
        **{"batch_size": 7, "batch_window": 2, "retries": 4, "max_record_age": 600, "bisect": True},
        **{"parallelization": 2, "dead_letter": queue(tasks.name)},
    }
    event_sources.life(tasks, update=update, by_hand=by_hand, seen=["batch_size", "other"])
    assert mappings(tasks.name) == []


def test_records_reach_the_function(tasks: Tasks) -> None:
    name = tasks.name

    def got(text: str) -> bool:
        return f"got {name} {text} as version 1" in steps.said(READER)

    dead = queue(name)
    put(name, "before")
    how = {"starting_position": "earliest", "retries": 0, "bisect": True, "dead_letter": dead}
    assert tasks.deploy(**how)["state"] == "deployed"
    until(lambda: got("before"))

    assert tasks.deploy(**how, enabled=False)["state"] == "deployed"
    put(name, "meanwhile")
    steps.pause(0.5)
    assert not got("meanwhile")
    assert tasks.deploy(**how)["state"] == "deployed"
    until(lambda: got("meanwhile"))

    put(name, "good", "bad", "last")
    until(lambda: got("good") and got("last"))
    sqs = client_of("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    (letter,) = until(lambda: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"))
    body = json.loads(letter["Body"])
    assert body["requestContext"]["condition"] == "RetryAttemptsExhausted"
    batch = body["KinesisBatchInfo"]
    assert (batch["startSequenceNumber"], batch["batchSize"]) == ("4", 1)


def test_what_only_a_new_one_can_have(tasks: Tasks) -> None:
    tasks.deploy()
    first = settled(tasks.name)
    change = tasks.plan(starting_position="earliest")
    assert (change["action"], change["risk"]) == ("replace", "high")
    assert tasks.deploy(starting_position="earliest")["state"] == "deployed"
    second = settled(tasks.name)
    assert second["UUID"] != first["UUID"]
    assert second["StartingPosition"] == "TRIM_HORIZON"

    other = {"stream": stream(f"{tasks.name}-b"), "starting_position": "earliest"}
    assert tasks.plan(**other)["action"] == "replace"
    assert tasks.deploy(**other)["state"] == "deployed"
    assert settled(tasks.name)["EventSourceArn"] == other["stream"]
    assert tasks.plan(**other)["action"] == "none"
    assert tasks.drift(**other)["state"] == "in_sync"


REFUSED = {
    "no such queue": {"dead_letter": f"arn:aws:sqs:{REGION}:{ACCOUNT}:missing", "batch_size": 5},
    "no such stream": {"stream": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/missing", "batch_size": 5},
    "no such function": {"function": "missing", "batch_size": 5},
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_update_that_is_refused(tasks: Tasks, what: str) -> None:
    tasks.deploy(batch_size=9, retries=3)
    before = settled(tasks.name)
    with pytest.raises(AirflowFailException, match=r"not exist|not found"):
        tasks.deploy(**REFUSED[what])
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert settled(tasks.name) == before
    assert tasks.plan(batch_size=9, retries=3)["action"] == "none"


def test_an_update_that_does_not_work_out_is_put_back(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mapping took the change, and only then it is seen that it is another one."""
    from triplane.serverless.aws.kinesis import Kinesis

    tasks.deploy(batch_size=9)
    there = settled(tasks.name)
    filters = {"Filters": [{"Pattern": '{"data": {"a": [1]}}'}]}
    client_of("lambda").update_event_source_mapping(UUID=there["UUID"], FilterCriteria=filters)
    before = settled(tasks.name)
    change, apply = tasks.plan(batch_size=5), Kinesis.apply

    def interfering(self: Any, wanted: Any, found: Any, log: Any) -> Any:
        done = apply(self, wanted, found, log)
        if found.settings["batch_size"] == 5 and found.raw["State"] == "Enabled":
            client_of("lambda").update_event_source_mapping(UUID=found.id, TumblingWindowInSeconds=30)
            settled(tasks.name)
        return done

    monkeypatch.setattr(Kinesis, "apply", interfering)
    with pytest.raises(AirflowFailException, match="other not as applied"):
        tasks.apply(change, batch_size=5)
    assert tasks.pushed[-1]["state"] == "rolled_back"
    again = settled(tasks.name)
    for each in (before, again):
        each.pop("LastModified")
    assert again == before
    assert again["FilterCriteria"] == filters


@pytest.mark.parametrize("lost", ["stream", "starting_position"])
def test_a_replacement_that_is_refused_half_way(
    tasks: Tasks, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triplane.core.errors import TerminalError
    from triplane.serverless.aws.kinesis import Kinesis

    tasks.deploy(batch_size=9)
    settled(tasks.name)
    create, refused = Kinesis._create, "the account may make no more of them"

    def fails(*args: Any) -> Any:
        monkeypatch.setattr(Kinesis, "_create", create)
        raise TerminalError(refused)

    monkeypatch.setattr(Kinesis, "_create", fails)
    options = {"stream": stream(f"{tasks.name}-b")} if lost == "stream" else {lost: "earliest"}
    with pytest.raises(AirflowFailException, match=refused):
        tasks.deploy(**options)
    assert tasks.pushed[-1]["state"] == "rolled_back"
    now = settled(tasks.name)
    assert (now["BatchSize"], now["StartingPosition"]) == (9, "LATEST")
    assert now["EventSourceArn"] == tasks.options["stream"]


def test_a_role_that_may_not_read_yet(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = f"bare-{uuid.uuid4().hex[:8]}"
    steps.function(bare, CODE, steps.role(bare, "lambda", []))
    never = Tasks("kinesis", bare, {**tasks.options, "function": bare}, {"region": REGION, "limit": 0.1})
    with pytest.raises(AirflowFailException, match="GetRecords"):
        never.deploy()
    assert never.pushed[-1]["state"] == "failed"
    assert mappings(tasks.name) == []

    later = Tasks("kinesis", bare, never.options, {"region": REGION})
    monkeypatch.setattr(time, "sleep", lambda seconds: steps.allow(bare, MAY))
    assert later.deploy()["state"] == "deployed"


def _one_that_is_right(tasks: Tasks, **options: Any) -> None:
    found = settled(tasks.name)
    assert found["EventSourceArn"] == options.get("stream", tasks.options["stream"])
    assert found["BatchSize"] == options.get("batch_size", 100)
    assert persist(lambda: tasks.plan(**options))["action"] == "none"


@pytest.mark.parametrize("how", BREAKS)
def test_cut_off_at_each_call(tasks: Tasks, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = stream(f"{tasks.name}-b")
    for options in ({}, {"batch_size": 5}, {"starting_position": "earliest"}, {"stream": other}):
        breaking = steps.broken(monkeypatch, how)
        tasks.run_id = uuid.uuid4().hex
        change = persist(lambda given=options: tasks.plan(**given))
        done = persist(lambda given=options, change=change: tasks.apply(change, **given))
        assert done["state"] == "deployed"
        assert any(name.startswith(("Create", "Update", "Delete")) for name in breaking.broken)
        _one_that_is_right(tasks, **options)
    tasks.options = {**tasks.options, **options}
    steps.broken(monkeypatch, how)
    gone = persist(lambda: tasks.plan(intent="destroy"))
    assert persist(lambda: tasks.delete(gone))["state"] == "destroyed"
    assert mappings(tasks.name) == []


@pytest.mark.parametrize("code", FAULTS)
def test_a_cloud_that_is_busy(tasks: Tasks, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({}, {"batch_size": 5}):
        breaking = steps.broken(monkeypatch, code, FAULTS[code])
        change = persist(lambda given=options: tasks.plan(**given))
        done = persist(lambda given=options, change=change: tasks.apply(change, **given))
        assert done["state"] == "deployed"
        assert breaking.calls["CreateEventSourceMapping"] + breaking.calls["UpdateEventSourceMapping"] == 1
        _one_that_is_right(tasks, **options)
    steps.broken(monkeypatch, code, FAULTS[code])
    gone = persist(lambda: tasks.plan(intent="destroy"))
    assert persist(lambda: tasks.delete(gone))["state"] == "destroyed"


def test_credentials_that_nobody_knows(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    change = tasks.plan()
    steps.broken(monkeypatch, "UnrecognizedClientException", 403)
    with pytest.raises(AirflowFailException, match="UnrecognizedClientException"):
        tasks.apply(change)
    assert mappings(tasks.name) == []


def test_somebody_else_was_faster(tasks: Tasks) -> None:
    change = tasks.plan()
    client_of("lambda").create_event_source_mapping(
        FunctionName=f"{READER}:live",
        EventSourceArn=tasks.options["stream"],
        StartingPosition="LATEST",
        BatchSize=7,
    )
    with pytest.raises(AirflowFailException, match="somebody has changed it"):
        tasks.apply(change)
    theirs = settled(tasks.name)
    assert tasks.plan()["lines"] == ["batch_size: 7 -> 100"]
    assert tasks.deploy()["state"] == "deployed"
    assert settled(tasks.name)["UUID"] == theirs["UUID"]

    other = stream(f"{tasks.name}-b")
    client_of("lambda").create_event_source_mapping(
        FunctionName=f"{READER}:live", EventSourceArn=other, StartingPosition="LATEST", BatchSize=1
    )
    until(lambda: all(each["State"] == "Enabled" for each in mappings(tasks.name)))
    with pytest.raises(AirflowFailException, match="to this function already"):
        tasks.deploy(stream=other)
    assert len(mappings(tasks.name)) == 2
