"""Look for drift in a cloud's schedules and streams, in one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triplane.checking import CheckingOperator, Component, Seen
from triplane.serverless.events.operators import EventSourceOperator

if TYPE_CHECKING:
    from contextlib import ExitStack

    from triplane.serverless.events.source import EventSource, Wanted


class _EventSource(Component):
    operator: EventSourceOperator
    kept: dict[str, Any] | None = None

    target: EventSource
    wanted: Wanted

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> EventSourceOperator:
        return EventSourceOperator(task_id=task_id, **arguments)

    def look_up(self, stack: ExitStack) -> None:
        self.kept = self.operator.memory().kept()
        if self.kept is not None:
            self.target = self.operator.connect()
            self.wanted = self.operator.wanted(self.target, strict=False)

    def look(self) -> Seen:
        from triplane.serverless.events.source import findings

        if self.kept is None:
            return Seen(pending="it was never deployed")
        kind = "stream" if "/stream/" in self.operator.address else "schedule"
        observed = self.target.observe(self.wanted)
        found = findings(self.kept, kind, self.wanted, observed)
        changed = self.kept["config"] != self.wanted.config
        pending = "settings changed in the source" if changed else ""
        return Seen(found, pending, missing=observed is None)


class EventSourceDriftBatchOperator(CheckingOperator):
    """Compare schedules and streams with what was deployed, see :class:`triplane.checking.CheckingOperator`.

    :param components: for each the arguments of a :class:`EventSourceOperator`; ``ignore`` as for stacks (templated)
    """

    ui_color = "#fdebd3"
    component = _EventSource
