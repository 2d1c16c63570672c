"""A cloud's streams and schedules as tasks, and those that have left the spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.factories.components import ENVIRONMENT, INTENT, Component, approved, function_name, place
from triplane.factories.context import Build, retries
from triplane.factories.values import per_environment
from triplane.serverless.events.operators import (
    EventSourceApplyOperator,
    EventSourceDeleteOperator,
    EventSourceLeftoversDeleteOperator,
    EventSourceLeftoversPlanOperator,
    EventSourcePlanOperator,
)
from triplane.spec.schedules import Event

KINDS = {"stream": "streams", "schedule": "schedules"}
"""Kind of component -> its key in the spec, and its stage."""


def event_sources(build: Build, cloud: str, kind: str) -> list[Component]:
    """One component for each of the ``streams`` or ``schedules``."""
    found = []
    for name in event_specs(build, cloud, kind):
        options = event_options(build, cloud, kind, name)
        address = f"{cloud}/{kind}/{name}"
        plan = EventSourcePlanOperator(
            task_id=f"{name}.plan",
            address=address,
            intent=INTENT,
            trigger_rule="none_failed_min_one_success",
            **options,
            **retries(),
        )
        found.append(
            Component(
                address=address,
                plan=plan,
                apply_operator=EventSourceApplyOperator,
                destroy_operator=EventSourceDeleteOperator,
                options=options,
                takes_source=False,
            )
        )
    return found


def event_specs(build: Build, cloud: str, kind: str) -> Mapping[str, Event]:
    """What the spec says of them."""
    found: Mapping[str, Event] = getattr(build.platform.cloud(cloud), KINDS[kind])
    return found


def event_options(build: Build, cloud: str, kind: str, name: str) -> dict[str, Any]:
    """What planning, applying and checking a stream or a schedule need."""
    spec = event_specs(build, cloud, kind)[name]
    options = spec.options()
    if spec.function:
        options["function"] = function_name(build, cloud, spec.function)
    if spec.target == "event_hubs":
        options.setdefault("setting", name.replace("-", "_").upper())
    written = spec.name or f"{build.platform.name}-${{environment}}-{name}"
    return {
        "target": spec.target,
        "name": per_environment(build.platform, written),
        "options": per_environment(build.platform, options),
        **place(build, cloud),
    }


def plan_leftovers(build: Build, cloud: str) -> EventSourceLeftoversPlanOperator:
    """The task that finds what has left the spec."""
    components = [
        {"address": f"{cloud}/{kind}/{name}", **event_options(build, cloud, kind, name)}
        for kind in KINDS
        for name in event_specs(build, cloud, kind)
    ]
    return EventSourceLeftoversPlanOperator(
        task_id="plan",
        scope=f"{ENVIRONMENT}/{cloud}",
        conn_id=build.platform.cloud(cloud).connection,
        components=components,
        trigger_rule="none_failed_min_one_success",
        **retries(),
    )


def delete_leftovers(build: Build, cloud: str, authorize: Any) -> EventSourceLeftoversDeleteOperator:
    """The task that deletes what has left the spec."""
    return EventSourceLeftoversDeleteOperator(
        task_id="delete",
        scope=f"{ENVIRONMENT}/{cloud}",
        conn_id=build.platform.cloud(cloud).connection,
        **approved(authorize),
        **retries(),
    )
