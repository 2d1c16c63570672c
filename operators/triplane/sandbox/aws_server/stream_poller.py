"""Gives the records of Kinesis streams to functions, as the enabled event source mappings say.

Batches of one shard go one after the other. A batch that fails is tried again, halved where the mapping says so, and
goes to the queue of the mapping when its tries or its age are at an end. Streams of DynamoDB are not read.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
import uuid
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.kinesis.models import kinesis_backends
from moto.sqs.models import sqs_backends

from triplane.sandbox.aws_server.accounts import ACCOUNT
from triplane.sandbox.aws_server.event_source_mappings import MAPPINGS, Mapping

PAUSE = 0.1


def install() -> None:
    """Reads as long as the server runs."""
    threading.Thread(target=_read_for_ever, name="streams", daemon=True).start()


def _read_for_ever() -> None:
    busy: dict[str, threading.Thread] = {}
    while True:
        for mapping in list(MAPPINGS.values()):
            if mapping.id in busy and busy[mapping.id].is_alive():
                continue
            busy[mapping.id] = threading.Thread(target=_read, args=(mapping,), daemon=True)
            busy[mapping.id].start()
        time.sleep(PAUSE)


def _read(mapping: Mapping) -> None:
    try:
        shards = _shards(mapping)
        if mapping.positions is None:
            latest = mapping.settings["StartingPosition"] == "LATEST"
            mapping.positions = {
                shard.shard_id: shard.get_max_sequence_number() if latest else 0 for shard in shards
            }
        for shard in shards:
            _read_shard(mapping, shard)
    except Exception:  # a function or stream that is gone must not end the reading of the others
        traceback.print_exc()


def _shards(mapping: Mapping) -> list[Any]:
    for stream in list(kinesis_backends[ACCOUNT][mapping.region].streams.values()):
        if stream.arn == mapping.stream:
            return list(stream.shards.values())
    return []


def _read_shard(mapping: Mapping, shard: Any) -> None:
    positions = mapping.positions or {}
    position = positions.get(shard.shard_id, 0)
    records, last, _ = shard.get_records(str(position), mapping.settings["BatchSize"])
    window = mapping.settings["MaximumBatchingWindowInSeconds"]
    full = len(records) >= mapping.settings["BatchSize"]
    if not records or mapping.state != "Enabled":
        return
    if not full and time.time() - records[0].created_at < window:
        return
    if _deliver(mapping, shard.shard_id, records):
        positions[shard.shard_id] = last


def _deliver(mapping: Mapping, shard: str, records: list[Any]) -> bool:
    """False: it was disabled, or deleted, before they were done."""
    tries = 0
    while mapping.state in ("Enabled", "Updating"):
        condition = _too_old(mapping, records)
        if not condition:
            tries += 1
            failure = _invoke(mapping, shard, records)
            if failure is None:
                return True
            if mapping.settings["BisectBatchOnFunctionError"] and len(records) > 1:
                half = len(records) // 2
                return all(_deliver(mapping, shard, part) for part in (records[:half], records[half:]))
            if 0 <= mapping.settings["MaximumRetryAttempts"] < tries:
                condition = "RetryAttemptsExhausted"
        if condition:
            _bury(mapping, shard, records, condition, tries)
            return True
        time.sleep(PAUSE)
    return False


def _too_old(mapping: Mapping, records: list[Any]) -> str:
    age = mapping.settings["MaximumRecordAgeInSeconds"]
    return "RecordAgeExceeded" if 0 <= age < time.time() - records[-1].created_at else ""


def _invoke(mapping: Mapping, shard: str, records: list[Any]) -> str | None:
    """What went wrong, None if nothing."""
    name, _, qualifier = mapping.function.partition(":function:")[2].partition(":")
    function = lambda_backends[ACCOUNT][mapping.region].get_function(name, qualifier or None)
    headers: dict[str, Any] = {}
    event = {"Records": [_event(mapping, function.role, shard, record) for record in records]}
    function.invoke(json.dumps(event), {}, headers)
    failed = headers.get("x-amz-function-error")
    mapping.settings["LastProcessingResult"] = "PROBLEM: Function call failed" if failed else "OK"
    return failed


def _event(mapping: Mapping, role: str, shard: str, record: Any) -> dict[str, Any]:
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record.partition_key,
            "sequenceNumber": str(record.sequence_number),
            "data": record.data,
            "approximateArrivalTimestamp": record.created_at,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{record.sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": role,
        "awsRegion": mapping.region,
        "eventSourceARN": mapping.stream,
    }


def _bury(mapping: Mapping, shard: str, records: list[Any], condition: str, tries: int) -> None:
    on_failure = (mapping.settings["DestinationConfig"] or {}).get("OnFailure") or {}
    destination = on_failure.get("Destination") or ""
    if ":sqs:" not in destination:
        return
    batch = {
        "shardId": shard,
        "startSequenceNumber": str(records[0].sequence_number),
        "endSequenceNumber": str(records[-1].sequence_number),
        "approximateArrivalOfFirstRecord": records[0].created_at_datetime.isoformat(),
        "approximateArrivalOfLastRecord": records[-1].created_at_datetime.isoformat(),
        "batchSize": len(records),
        "streamArn": mapping.stream,
    }
    context = {"requestId": str(uuid.uuid4()), "functionArn": mapping.function, "condition": condition}
    message = {
        "requestContext": {**context, "approximateInvokeCount": tries},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "KinesisBatchInfo": batch,
    }
    queue = destination.rpartition(":")[2]
    sqs_backends[ACCOUNT][mapping.region].send_message(queue, json.dumps(message))
