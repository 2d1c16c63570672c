"""Delete what was approved to be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from triplane.applying import Applying
from triplane.serverless.events.operators.base import EventSourceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class EventSourceDeleteOperator(Applying, EventSourceOperator):
    """Delete it. One that is gone already is fine.

    Takes the same arguments as the :class:`EventSourcePlanOperator` with ``intent="destroy"`` that made the change.
    Returns a ``Result`` as JSON.
    """

    template_fields: Sequence[str] = (*EventSourceOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context, begin: float) -> dict[str, Any]:
        """Check, delete, forget."""
        from triplane.serverless.events.source import check_destroys

        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", "", begin)
        target, memory = self.connect(context), self.memory()
        wanted = self.wanted(target, strict=False)
        found = target.observe(wanted)
        if approved:
            check_destroys(approved, self.name, found)
        self.until_done(lambda: target.delete(wanted), begin)
        if (memory.kept() or {}).get("name") == self.name:
            memory.keep(None)
        if self.needs_approval:
            self.tell(there=False)
        return self.result("destroyed", "", begin)
