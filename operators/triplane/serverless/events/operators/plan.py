"""Say what applying would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from triplane import sealing
from triplane.serverless.airflow import redacted
from triplane.serverless.events.operators.base import EventSourceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class EventSourcePlanOperator(EventSourceOperator):
    """Say field by field what applying would change, and change nothing. Returns a ``ComponentChange`` as JSON.

    :param intent: ``destroy`` plans to delete it, all else to make it as it is written (templated)
    """

    template_fields: Sequence[str] = (*EventSourceOperator.template_fields, "intent")

    def __init__(self, *, intent: str = "deploy", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intent = intent

    def work(self, context: Context, begin: float) -> dict[str, Any]:
        """Observe and compare."""
        from triplane.serverless.events.source import plan, plan_to_destroy

        target = self.connect(context)
        wanted = self.wanted(target, strict=False)
        found = target.observe(wanted)
        if self.intent == "destroy":
            change = plan_to_destroy(self.address, self.name, found)
        else:
            change = redacted(plan(self.address, wanted, found, target.fixed))
            if not change.changed and found:
                self.keep(wanted, found, again=False)
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return sealing.seal(context, change)
