"""Make it as it is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from triplane import settings
from triplane.applying import Applying
from triplane.core.digest import digest
from triplane.core.errors import StaleError, TerminalError
from triplane.serverless.events.operators.base import EventSourceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.serverless.events.memory import Begun, Memory
    from triplane.serverless.events.source import EventSource, Wanted


class EventSourceApplyOperator(Applying, EventSourceOperator):
    """Make it as it is written; what does not work out is put back as it was.

    Returns a ``Result`` as JSON. Takes the same arguments as the :class:`EventSourcePlanOperator` that made the
    change, and ``change``, ``change_set`` and ``authorization``, see :class:`triplane.applying.Applying`; without
    them it applies what it is given.
    """

    template_fields: Sequence[str] = (*EventSourceOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context, begin: float) -> dict[str, Any]:
        """Check, remember what was there, apply, read back. A later try of a deployment goes on where that stopped."""
        from triplane.serverless.events.memory import Begun
        from triplane.serverless.events.source import check, check_observed, differing

        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", str(approved.binds["observed"]), begin)
        target, memory = self.connect(context), self.memory()
        wanted = self.wanted(target, strict=True, attempt=self._attempt(context, approved))
        wanted.known()
        if approved:
            check(approved, wanted)
        found, begun = target.observe(wanted), memory.begun()
        if begun is not None and begun.attempt != wanted.attempt:
            begun = None
        if begun is not None and begun.failed:
            self._put_back(context, target, wanted, memory, begun)
        if begun is None and found is not None and not differing(wanted, found):
            self.keep(wanted, found)
            return self.result("deployed" if approved else "unchanged", found.version, begin)
        if approved:
            since = None if begun is None else begun.previous.settings if begun.previous else {}
            check_observed(approved, wanted, found, since)
        if begun is None:
            begun = Begun(wanted.attempt, found)
            if self.needs_approval:
                memory.write(self.name, self.options)
                self.tell(there=True)
            memory.begin(begun)
        return self._apply(context, target, wanted, memory, begun, begin)

    def _apply(
        self,
        context: Context,
        target: EventSource,
        wanted: Wanted,
        memory: Memory,
        begun: Begun,
        begin: float,
    ) -> dict[str, Any]:
        from triplane.serverless.events.source import differing
        from triplane.serverless.target import DeployFailed

        try:
            details = self.until_done(lambda: target.apply(wanted, target.observe(wanted), self.say), begin)
            now = target.observe(wanted)
            if now is None or (wrong := differing(wanted, now)):
                raise DeployFailed(f"{'it is gone' if now is None else ', '.join(wrong)} not as applied")
        except StaleError:
            memory.end()
            raise
        except TerminalError as error:
            begun = begun._replace(failed=settings.redactor()(str(error)), since=time.time())
            memory.begin(begun)
            self._put_back(context, target, wanted, memory, begun)
        self.keep(wanted, now)
        memory.end()
        return self.result("deployed", now.version, begin, **details)

    def _put_back(
        self, context: Context, target: EventSource, wanted: Wanted, memory: Memory, begun: Begun
    ) -> NoReturn:
        """As it was before, verified by reading; says so in the task's result.

        :raises DeployFailed: always, with the reason
        """
        from triplane.serverless.target import DeployFailed

        begin, previous, reason = begun.since, begun.previous, begun.failed
        self.say(f"{self.address}: {reason}")
        restored = False
        try:
            self.until_done(lambda: target.restore(wanted, previous, self.say), begin)
            now = target.observe(wanted)
            restored = (now.settings if now else None) == (previous.settings if previous else None)
        except TerminalError as error:
            self.say(f"{self.address}: and it cannot be put back: {error}")
        state: State = "rolled_back" if restored and previous else "failed"
        version = previous.version if restored and previous else ""
        value = self.result(state, version, begin, error=reason)
        context["ti"].xcom_push(key="return_value", value=value)
        if not restored:
            raise DeployFailed(f"{reason}; and what was there before could not be put back")
        memory.end()
        raise DeployFailed(reason)

    def _attempt(self, context: Context, approved: ComponentChange | None) -> str:
        """The same for each try of this task."""
        run = context["dag_run"]
        change = approved.to_json() if approved else self.config()
        return digest([run.dag_id, run.run_id, self.address, change])[7:23]
