"""Drives a deployment as a task does, through clients that break in the ways that networks and clouds do."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from triplane.core.errors import TransientError
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.target import Desired, Observed, Target

READS = ("Get", "List", "Describe", "Head")


class Cut(BaseException):
    """The process was killed."""


class Breaking:
    """Makes each operation of a client break once. ``calls`` counts those that reached the cloud.

    ``how``: ``killed after`` and ``killed before`` it changes something, ``answer lost``, or the code of an error.
    """

    def __init__(self, how: str = "", status: int = 0, times: int = 1) -> None:
        self.how, self.status, self.times = how, status, times
        self.broken: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def into(self, client: Any) -> Any:
        client.meta.events.register("before-call", self._before)
        client.meta.events.register("after-call", self._after)
        return client

    def _turn(self, operation: str) -> bool:
        if self.how.startswith("killed") and operation.startswith(READS):
            return False
        self.broken[operation] += 1
        return self.broken[operation] <= self.times

    def _before(self, model: Any, **kwargs: Any) -> Any:
        name = model.name
        if self.status and self._turn(name):
            error = {"Code": self.how, "Message": "injected"}
            metadata = {"HTTPStatusCode": self.status, "RetryAttempts": 0}
            return AWSResponse("https://aws", self.status, {}, None), {
                "Error": error,
                "ResponseMetadata": metadata,
            }
        if self.how == "killed before" and self._turn(name):
            raise Cut(name)
        self.calls[name] += 1
        return None

    def _after(self, model: Any, **kwargs: Any) -> None:
        if self.how == "killed after" and self._turn(model.name):
            raise Cut(model.name)
        if self.how == "answer lost" and self._turn(model.name):
            raise ConnectionClosedError(endpoint_url="https://aws")


def drive(make: Callable[[], Target], desired: Desired, previous: Observed | None, **options: Any) -> Attempt:
    """One deployment to its end; after each step it is kept as JSON, and a new target goes on."""
    attempt = Attempt(id=desired.attempt, previous=previous, since=time.time())
    end = time.monotonic() + 120
    while not attempt.ended:
        assert time.monotonic() < end, attempt
        attempt = Attempt.from_json(json.loads(json.dumps(attempt.to_json())))
        try:
            attempt, waiting = Deployment(target=make(), desired=desired, **options).go_on(attempt)
        except (Cut, TransientError):
            continue
        if waiting is not None:
            time.sleep(min(waiting.seconds, 0.2))
    return attempt
