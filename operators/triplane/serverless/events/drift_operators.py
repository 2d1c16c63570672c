"""Look for drift in a cloud's schedules, in one task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.core.errors import TriplaneError
from triplane.serverless.events.operators import EventSourceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.drift import Check


class EventSourceDriftBatchOperator(BaseOperator):
    """Compare schedules with what was deployed, changing nothing.

    Returns one entry for each, see :class:`triplane.core.drift.Check`. One that could not be checked is ``unknown``
    with the reason; it does not keep the others from their answers.

    :param components: for each the arguments of a :class:`EventSourceOperator`; ``ignore`` as for stacks (templated)
    """

    template_fields: Sequence[str] = ("components",)
    ui_color = "#fdebd3"

    def __init__(self, *, components: Sequence[Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components = components
        self.stopped = False

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check one after the other: each is one or two short requests."""
        found = [self._check(dict(arguments)).to_json() for arguments in self.components]
        if self.stopped:
            raise AirflowFailException("stopped before everything was checked")
        return found

    def on_kill(self) -> None:
        """Begin nothing more."""
        self.stopped = True

    def _check(self, arguments: dict[str, Any]) -> Check:
        from triplane.core.drift import unknown

        ignore = arguments.pop("ignore", ())
        operator = EventSourceOperator(task_id=f"{self.task_id}-check", **arguments)
        memory = f"drift/{operator.scope}/{operator.address}"
        before: dict[str, Any] | None = None
        try:
            data = settings.artifact_store().get_named(memory)
            before = None if data is None else json.loads(data)
            if self.stopped:
                return unknown(operator.address, "stopped before it was checked", before)
            return self._judged(operator, ignore, before, memory)
        except Exception as error:  # a connection that is missing or refused is this one's alone
            known = isinstance(error, TriplaneError)
            said = settings.redactor()(str(error) if known else f"{type(error).__name__}: {error}")
            self.log.error("%s: not checked: %s", operator.address, said)
            return unknown(operator.address, said, before)

    def _judged(self, operator: EventSourceOperator, ignore: Any, before: Any, memory: str) -> Check:
        from triplane.core import drift
        from triplane.serverless.events.source import findings

        kept = operator.memory().kept()
        found, pending = [], "it was never deployed"
        if kept is not None:
            target = operator.connect()
            wanted = operator.wanted(target, strict=False)
            found = findings(kept, "schedule", wanted, target.observe(wanted))
            pending = "" if kept["config"] == wanted.config else "settings changed in the source"
        rules = [drift.Ignore.from_json(rule) for rule in ignore]
        check = drift.judge(operator.address, found, pending=pending, ignores=rules, before=before)
        settings.artifact_store().put_named(memory, json.dumps(drift.memory(check)).encode())
        self.log.info("%s: %s %s", operator.address, check.state, check.pending)
        return check
