"""Series in the sandbox's monitoring that a test writes, and gates driven as Airflow drives them."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import TaskDeferred

from triplane.sandbox.runtime import Sandbox

MOMENT = 0.15
"""Seconds for which a wait for the cloud is waited: the sandbox is faster."""
QUICK = {"lasting": 0.6, "every": 0.2, "patience": 0.4}


def direct(sandbox: Sandbox, port: str, path: str, body: Any = None, method: str = "POST") -> None:
    """A request to a service of the sandbox itself, past the gateway."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{sandbox.port(port)}{path}", data, method=method)
    request.add_header("Content-Type", "application/json" if not isinstance(body, bytes) else "text/plain")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()


def early_in_the_minute(seconds: float = 10.0) -> None:
    """Wait until the minute goes on for a while: a value is of its minute, and one of the next is another one."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left)


def cloudwatch(name: str, value: float, namespace: str = "Shop", **dimensions: str) -> None:
    """A value of now in CloudWatch."""
    from triplane.clouds import aws

    early_in_the_minute()
    pairs = [{"Name": key, "Value": text} for key, text in dimensions.items()]
    data = [{"MetricName": name, "Value": value, "Dimensions": pairs}]
    aws.client("cloudwatch", "aws_default", "eu-west-1").put_metric_data(Namespace=namespace, MetricData=data)


def watched(*checks: dict[str, Any], before: float | None = None) -> dict[str, Any]:
    """The verdict that a GateSensor's trigger fires, as plain values."""
    from triplane.gates.sensors import GateSensor

    try:
        GateSensor(task_id="gate", checks=list(checks), before=before).execute({})
    except TaskDeferred as parked:
        return dict(fired(parked))
    raise AssertionError("it did not wait")


def fired(parked: TaskDeferred) -> Any:
    """What the trigger fires, after a way through the database."""
    path, arguments = parked.trigger.serialize()
    module, _, name = path.rpartition(".")
    trigger = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))

    async def first() -> Any:
        return (await anext(trigger.run())).payload

    return asyncio.run(first())


def driven(operator: Any, at_gate: Callable[[list[dict[str, Any]]], None]) -> Any:
    """What an operator returns, each wait of it over; ``at_gate`` is told the checks before they are watched."""
    pushed: dict[str, Any] = {}
    instance = SimpleNamespace(
        xcom_push=lambda key, value: pushed.__setitem__(key, value), try_number=1, max_tries=1
    )
    run = SimpleNamespace(dag_id="d", run_id=f"r{id(operator)}")
    context: Any = {"ti": instance, "dag_run": run, "task_instance": instance}
    operator.pushed = pushed
    step = partial(operator.execute, context)
    while True:
        try:
            return step()
        except TaskDeferred as parked:
            path, arguments = parked.trigger.serialize()
            if path.endswith("GateTrigger"):
                at_gate(arguments["checks"])
                event = fired(parked)
            else:
                event = time.sleep(MOMENT)
            kwargs = parked.kwargs or {}
            step = partial(getattr(operator, parked.method_name), context, event=event, **kwargs)
