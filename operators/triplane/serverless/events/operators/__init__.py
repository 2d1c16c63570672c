"""Schedules and streams as Airflow tasks: plan, apply exactly what was planned, delete."""

from triplane.serverless.events.operators.apply import EventSourceApplyOperator
from triplane.serverless.events.operators.base import EventSourceOperator
from triplane.serverless.events.operators.delete import EventSourceDeleteOperator
from triplane.serverless.events.operators.leftovers import (
    EventSourceLeftoversDeleteOperator,
    EventSourceLeftoversPlanOperator,
)
from triplane.serverless.events.operators.plan import EventSourcePlanOperator

__all__ = [
    "EventSourceApplyOperator",
    "EventSourceDeleteOperator",
    "EventSourceLeftoversDeleteOperator",
    "EventSourceLeftoversPlanOperator",
    "EventSourceOperator",
    "EventSourcePlanOperator",
]
