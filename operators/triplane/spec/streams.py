"""Streams in a spec: records and messages that call a function as they arrive."""

from typing import Annotated, Literal

from pydantic import Field

from triplane.spec.functions import Instances
from triplane.spec.schedules import Event
from triplane.spec.values import Duration, Name


class Stream(Event):
    """``stream`` is what is read, as its cloud names it."""

    function: Name
    stream: str


class AwsStream(Stream):
    """A mapping of a Kinesis stream to a Lambda function."""

    target: Literal["kinesis"] = "kinesis"
    batch_size: Annotated[int, Field(ge=1, le=10000)] | None = None
    """Records in one call."""
    batch_window: Duration | None = None
    """How long records may wait until a batch is full."""
    starting_position: Literal["latest", "earliest"] | None = None
    retries: Annotated[int, Field(ge=-1, le=10000)] | None = None
    """How often a batch that failed is tried again; -1 is until its records expire."""
    max_record_age: Duration | None = None
    """Older records are left out."""
    bisect: bool | None = None
    """Whether a batch that failed is cut in two."""
    parallelization: Annotated[int, Field(ge=1, le=10)] | None = None
    """Batches of one shard at a time."""
    dead_letter: str | None = None
    """ARN of an SQS queue or an SNS topic that is told of what failed."""


class GcpStream(Stream):
    """A push subscription of Google Pub/Sub; ``stream`` is the topic."""

    target: Literal["pubsub"] = "pubsub"
    path: str | None = None
    """Added to the function's URL."""
    service_account: str | None = None
    """As whom it calls."""
    ack_deadline: Duration | None = None
    retention: Duration | None = None
    """How long a message that nobody took is kept."""
    min_backoff: Duration | None = None
    max_backoff: Duration | None = None
    filter: str | None = None
    ordering: bool | None = None
    retries: Instances | None = None
    """How often a message is sent again before it goes to ``dead_letter``."""
    dead_letter: str | None = None
    """A topic."""


class AzureStream(Stream):
    """An Event Hubs trigger of a function app; ``stream`` is the event hub's resource id."""

    target: Literal["event_hubs"] = "event_hubs"
    trigger: str
    """The name of the function in the app's code that reads the event hub."""
    setting: str | None = None
    """The name of the trigger's ``connection`` in the code."""
    consumer_group: str | None = None
    identity: str | None = None
    """Client id or resource id of the managed identity that reads, where it is not the app's own."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Events in one call, for all triggers of the app."""
    starting_position: Literal["latest", "earliest"] | None = None
