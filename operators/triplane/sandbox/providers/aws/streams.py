"""Kinesis streams and SQS queues."""

from __future__ import annotations

import json
from typing import Any

from triplane.sandbox.providers.aws.client import Aws, tag_changes
from triplane.sandbox.providers.aws.network import TAGS
from triplane.sandbox.providers.http import wait
from triplane.sandbox.providers.schema import Block, NotFound, Resource, State

ON_DEMAND = "ON_DEMAND"
FIRST_RETENTION = 24


def _mode(state: State) -> str:
    blocks = state["stream_mode_details"]
    return str(blocks[0]["stream_mode"]) if blocks else "PROVISIONED"


def _create_stream(cloud: Aws, plan: State) -> str:
    name, mode = plan["name"], _mode(plan)
    shards = None if mode == ON_DEMAND else plan["shard_count"] or 1
    cloud.act(
        "kinesis", "CreateStream", StreamName=name, ShardCount=shards, StreamModeDetails={"StreamMode": mode}
    )
    _active(cloud, name)
    first = {"retention_period": FIRST_RETENTION, "encryption_type": None, "kms_key_id": None}
    _configure(cloud, plan | first, plan)
    if plan["tags_all"]:
        cloud.act("kinesis", "AddTagsToStream", StreamName=name, Tags=plan["tags_all"])
    return str(_summary(cloud, name)["StreamARN"])


def _summary(cloud: Aws, name: str) -> dict[str, Any]:
    found = cloud.act("kinesis", "DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]
    return dict(found)


def _active(cloud: Aws, name: str) -> None:
    wait(lambda: _summary(cloud, name)["StreamStatus"] == "ACTIVE", f"stream {name}")


def _read_stream(cloud: Aws, state: State) -> State:
    """An import names it by its name."""
    name = state["name"] or state["id"]
    found = _summary(cloud, name)
    listed = cloud.act("kinesis", "ListTagsForStream", StreamName=name)["Tags"]
    tags = {tag["Key"]: tag["Value"] for tag in listed}
    mode = (found.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED")
    shards = {} if mode == ON_DEMAND else {"shard_count": found["OpenShardCount"]}
    return shards | {
        "arn": found["StreamARN"],
        "encryption_type": found.get("EncryptionType") or "NONE",
        "id": found["StreamARN"],
        "kms_key_id": found.get("KeyId") or "",
        "name": found["StreamName"],
        "region": found["StreamARN"].split(":")[3],
        "retention_period": found["RetentionPeriodHours"],
        "stream_mode_details": [{"stream_mode": mode}],
        "tags": tags,
        "tags_all": tags,
    }


def _configure(cloud: Aws, before: State, after: State) -> None:
    """One change at a time: a stream takes the next when it is active again."""
    name = after["name"]
    old, new = (state["retention_period"] or FIRST_RETENTION for state in (before, after))
    if old != new:
        action = "IncreaseStreamRetentionPeriod" if new > old else "DecreaseStreamRetentionPeriod"
        cloud.act("kinesis", action, StreamName=name, RetentionPeriodHours=new)
        _active(cloud, name)
    if _key(before) != _key(after):
        action, (kind, key) = ("Start", _key(after)) if _key(after) else ("Stop", _key(before))
        cloud.act("kinesis", f"{action}StreamEncryption", StreamName=name, EncryptionType=kind, KeyId=key)
        _active(cloud, name)


def _key(state: State) -> tuple[str, ...]:
    kind = state["encryption_type"] or "NONE"
    return () if kind == "NONE" else (kind, state["kms_key_id"])


def _update_stream(cloud: Aws, before: State, after: State) -> None:
    name, mode = after["name"], _mode(after)
    if _mode(before) != mode:
        cloud.act(
            "kinesis", "UpdateStreamMode", StreamARN=after["arn"], StreamModeDetails={"StreamMode": mode}
        )
        _active(cloud, name)
    if mode != ON_DEMAND and (after["shard_count"] or 1) != _summary(cloud, name)["OpenShardCount"]:
        shards = after["shard_count"] or 1
        cloud.act(
            "kinesis",
            "UpdateShardCount",
            StreamName=name,
            TargetShardCount=shards,
            ScalingType="UNIFORM_SCALING",
        )
        _active(cloud, name)
    _configure(cloud, before, after)
    added, removed = tag_changes(before, after)
    if removed:
        cloud.act("kinesis", "RemoveTagsFromStream", StreamName=name, TagKeys=removed)
    if added:
        cloud.act("kinesis", "AddTagsToStream", StreamName=name, Tags=added)


def _delete_stream(cloud: Aws, state: State) -> None:
    name, consumers = state["name"], bool(state["enforce_consumer_deletion"])
    cloud.act("kinesis", "DeleteStream", StreamName=name, EnforceConsumerDeletion=consumers)
    wait(lambda: _gone(cloud, name), f"deletion of stream {name}")


def _gone(cloud: Aws, name: str) -> bool:
    try:
        _summary(cloud, name)
    except NotFound:
        return True
    return False


STREAM = Resource(
    name="kinesis_stream",
    lines={
        "arn": "optional computed string",
        "encryption_type": 'optional string default="NONE"',
        "enforce_consumer_deletion": "optional bool",
        "id": "optional computed string",
        "kms_key_id": "optional string",
        "name": "required string replace",
        "region": "optional computed string replace",
        "retention_period": f"optional number default={FIRST_RETENTION}",
        "shard_count": "optional number",
        **TAGS,
    },
    blocks={"stream_mode_details": Block({"stream_mode": "required string"})},
    create=_create_stream,
    read=_read_stream,
    update=_update_stream,
    delete=_delete_stream,
)

LARGEST = 262144
NUMBERS = {
    "delay_seconds": "DelaySeconds",
    "max_message_size": "MaximumMessageSize",
    "message_retention_seconds": "MessageRetentionPeriod",
    "receive_wait_time_seconds": "ReceiveMessageWaitTimeSeconds",
    "visibility_timeout_seconds": "VisibilityTimeout",
}
TEXTS = {"kms_master_key_id": "KmsMasterKeyId", "policy": "Policy", "redrive_policy": "RedrivePolicy"}
SWITCHES = {
    "content_based_deduplication": "ContentBasedDeduplication",
    "fifo_queue": "FifoQueue",
    "sqs_managed_sse_enabled": "SqsManagedSseEnabled",
}


def _attributes(state: State) -> dict[str, str]:
    """The largest message is the provider's default: the cloud's own is another."""
    found = {key: state[name] for name, key in {**NUMBERS, **TEXTS, **SWITCHES}.items()}
    found["MaximumMessageSize"] = found["MaximumMessageSize"] or LARGEST
    return {
        key: json.dumps(value) if isinstance(value, bool) else str(value)
        for key, value in found.items()
        if value is not None
    }


def _create_queue(cloud: Aws, plan: State) -> str:
    attributes = {
        key: value
        for key, value in _attributes(plan).items()
        if value != "false" or key == "SqsManagedSseEnabled"
    }
    answer = cloud.act(
        "sqs", "CreateQueue", QueueName=plan["name"], Attributes=attributes, tags=plan["tags_all"] or {}
    )
    return str(answer["QueueUrl"])


def _read_queue(cloud: Aws, state: State) -> State:
    url = state["id"]
    found = cloud.act("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
    tags = cloud.act("sqs", "ListQueueTags", QueueUrl=url).get("Tags") or {}
    arn = found["QueueArn"]
    numbers = {name: int(found[key]) for name, key in NUMBERS.items() if key in found}
    texts = {name: found.get(key, "") for name, key in TEXTS.items()}
    switches = {name: found.get(key) == "true" for name, key in SWITCHES.items()}
    own = {"arn": arn, "name": arn.rpartition(":")[2], "region": arn.split(":")[3], "url": url}
    return {**numbers, **texts, **switches, **own, "tags": tags, "tags_all": tags}


def _update_queue(cloud: Aws, before: State, after: State) -> None:
    old, new = _attributes(before), _attributes(after)
    changed = {key: value for key, value in new.items() if old.get(key) != value and key != "FifoQueue"}
    changed |= dict.fromkeys(set(old) & set(TEXTS.values()) - set(new), "")
    if changed:
        cloud.act("sqs", "SetQueueAttributes", QueueUrl=after["id"], Attributes=changed)
    added, removed = tag_changes(before, after)
    if removed:
        cloud.act("sqs", "UntagQueue", QueueUrl=after["id"], TagKeys=removed)
    if added:
        cloud.act("sqs", "TagQueue", QueueUrl=after["id"], Tags=added)


def _delete_queue(cloud: Aws, state: State) -> None:
    cloud.act("sqs", "DeleteQueue", QueueUrl=state["id"])


QUEUE = Resource(
    name="sqs_queue",
    lines={
        "arn": "computed string",
        "content_based_deduplication": "optional bool",
        "delay_seconds": "optional number",
        "fifo_queue": "optional bool replace",
        "id": "optional computed string",
        "kms_master_key_id": "optional string",
        "max_message_size": f"optional number default={LARGEST}",
        "message_retention_seconds": "optional number default=345600",
        "name": "optional computed string replace",
        "policy": "optional computed string json",
        "receive_wait_time_seconds": "optional number",
        "redrive_policy": "optional computed string json",
        "region": "optional computed string replace",
        "sqs_managed_sse_enabled": "optional computed bool",
        "url": "computed string",
        "visibility_timeout_seconds": "optional number default=30",
        **TAGS,
    },
    create=_create_queue,
    read=_read_queue,
    update=_update_queue,
    delete=_delete_queue,
)
