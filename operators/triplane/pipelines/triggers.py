"""Waits for a run, without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from triplane.core.errors import TransientError, TriplaneError
from triplane.forge.rest import RateLimited, Unauthenticated
from triplane.gates.triggers import in_thread
from triplane.pipelines.pipeline import Pipeline, Standing

LOST_SECONDS = 600.0
LONGEST_PAUSE = 300.0
STOP_SECONDS = 600.0
"""How long a run may take to stop."""
OVERDUE = "it was cancelled at the task's time limit"


class PipelineTrigger(BaseTrigger):
    """Follows a run until it ends, or waits for an approval that concerns the task.

    Its event is ``{"run", "standing"}`` or ``{"run", "error"}``, where the system could not be asked for ten minutes or
    refuses. When a person ends the task, the run is cancelled; a triggerer that stops leaves it to the next one.

    :param system: see :func:`triplane.pipelines.systems.connect`
    :param options: which pipeline, as there
    :param run: id of the run
    :param deadline: Unix time after which it is cancelled
    :param interval: seconds between two looks
    :param approvals: names of approvals to stop at; ``*`` is any
    :param answered: ids of those that were answered, and that may still show for a moment
    """

    def __init__(
        self,
        *,
        system: str,
        options: Mapping[str, Any],
        run: str,
        deadline: float,
        interval: float = 15.0,
        approvals: Sequence[str] = (),
        answered: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.system = system
        self.options = dict(options)
        self.pipeline_run = run
        self.deadline = deadline
        self.interval = interval
        self.approvals = list(approvals)
        self.answered = list(answered)
        self._service: Pipeline | None = None
        self._told: set[tuple[str, str]] = set()
        self._stopped_at = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments."""
        names = ("system", "options", "deadline", "interval", "approvals", "answered")
        arguments = {name: getattr(self, name) for name in names}
        return f"{__name__}.{type(self).__name__}", {**arguments, "run": self.pipeline_run}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event."""
        seen, refused = time.monotonic(), False
        due = seen
        while True:
            pause = self.interval
            try:
                standing = await in_thread(self._look)
                seen, refused = time.monotonic(), False
                if standing.state != "running" or self._concerns(standing):
                    yield TriggerEvent({"run": self.pipeline_run, "standing": standing.to_json()})
                    return
            except Unauthenticated as error:
                self._service = None  # somebody may have renewed the connection
                if refused:
                    yield self._error(error)
                    return
                refused = True
            except TransientError as error:
                self._service = None
                self.log.warning("%s", error)
                if time.monotonic() - seen > LOST_SECONDS:
                    yield self._error(error)
                    return
                if isinstance(error, RateLimited):
                    pause = max(pause, min(error.seconds, LONGEST_PAUSE))
            except TriplaneError as error:
                yield self._error(error)
                return
            due = max(due + pause, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def on_kill(self) -> None:
        """A person ended the task: end the run too."""
        await in_thread(self.cancel)

    def cancel(self) -> None:
        """End the run."""
        from triplane.pipelines.systems import translated

        with translated(self.system):
            self._connect().cancel(self.pipeline_run)

    def _look(self) -> Standing:
        """How the run stands; what is new is told. One that is overdue is cancelled, and looked at until it has ended."""
        from triplane.pipelines.systems import translated

        with translated(self.system):
            service = self._connect()
            standing = service.standing(self.pipeline_run)
            self._tell(standing)
            if time.time() <= self.deadline or (standing.state != "running" and not self._stopped_at):
                return standing
            if not self._stopped_at:
                service.cancel(self.pipeline_run)
                self._stopped_at = time.monotonic()
            if standing.state != "running":
                return replace(standing, state="failed", reason=OVERDUE)
            if time.monotonic() - self._stopped_at > STOP_SECONDS:
                return replace(standing, state="failed", reason=f"{OVERDUE}, and still runs")
        return Standing(state="running")

    def _tell(self, standing: Standing) -> None:
        from triplane import settings

        redact = settings.redactor()
        for stage in standing.stages:
            if (stage.name, stage.state) not in self._told:
                self._told.add((stage.name, stage.state))
                self.log.info("%s: %s %s", stage.name, stage.state, redact(stage.reason))
        for approval in standing.waits:
            if (approval.name, approval.id) not in self._told:
                self._told.add((approval.name, approval.id))
                self.log.info("It waits for approval: %s", approval.name)

    def _concerns(self, standing: Standing) -> bool:
        return any(
            each.id not in self.answered and ("*" in self.approvals or each.name in self.approvals)
            for each in standing.waits
        )

    def _connect(self) -> Pipeline:
        from triplane.pipelines.systems import connect

        if self._service is None:
            self._service = connect(self.system, self.options)
        return self._service

    def _error(self, error: Exception) -> TriggerEvent:
        from triplane import settings

        return TriggerEvent({"run": self.pipeline_run, "error": settings.redactor()(str(error))})
