"""Drives a deployment as the operator does, but as unkindly as possible: each call may be made by another process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from triplane.core.errors import TransientError
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.target import Desired, Observed, Ready, Smoke, Target, Waiting
from triplane.serverless.traffic import Traffic

Make = Callable[[], Target]
CALLS = 200


def silent(line: str) -> None:
    pass


def run(
    make: Make,
    desired: Desired,
    previous: Observed | None,
    *,
    traffic: Traffic | None = None,
    smoke: Smoke | None = None,
    limit: float = 60.0,
    log: Callable[[str], None] = silent,
    between: Callable[[Attempt], None] = lambda attempt: None,
    pause: float = 0.02,
    forget: bool = False,
) -> Attempt:
    """The attempt at its end. ``make`` gives a new target for each step, ``between`` is called before each.

    ``forget``: each step is made once more by another process, as if the first was killed before it kept the result.
    An error that a retry may help against leads to the same call again, as a retry of the task does.
    """
    waiting: Waiting | None = None
    attempt = Attempt(id=desired.attempt, previous=previous, since=time.time())
    for _ in range(CALLS):
        attempt = Attempt.from_json(json.loads(json.dumps(attempt.to_json())))
        deployment = Deployment(
            target=make(), desired=desired, traffic=traffic or Traffic(), smoke=smoke, limit=limit, log=log
        )
        between(attempt)
        if forget:
            killed(deployment, attempt)
            deployment = replace(deployment, target=make())
        try:
            attempt, waiting = deployment.go_on(attempt)
        except TransientError as error:
            log(f"again: {error}")
            waiting = Waiting(why="", seconds=pause)
        if attempt.ended:
            return attempt
        if waiting is not None:
            time.sleep(min(waiting.seconds, pause))
    raise AssertionError(f"no end after {CALLS} calls, {waiting}: {attempt}")


def deployed(make: Make, desired: Desired, **options: Any) -> Observed:
    """Deploys over what is there, which must succeed; what serves then."""
    attempt = run(make, desired, make().observe(desired.name), **options)
    assert not attempt.failed, attempt.failed
    found = make().observe(desired.name)
    assert found is not None
    assert attempt.serves == found.version == attempt.version
    return found


def deleted(make: Make, name: str, pause: float = 0.02) -> None:
    """Deletes it, each call by a new target."""
    for _ in range(CALLS):
        if isinstance(make().delete(name), Ready):
            return
        time.sleep(pause)
    raise AssertionError(f"{name} is not gone")


def killed(deployment: Deployment, attempt: Attempt) -> None:
    """Makes a step whose result nobody sees."""
    try:
        deployment.go_on(attempt)
    except TransientError:
        pass


def again(desired: Desired, number: int, **changes: Any) -> Desired:
    """The same as another attempt."""
    return replace(desired, attempt=f"{number:016x}", **changes)
