"""Run a native pipeline, and answer what it asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.applying import Applying
from triplane.core.errors import InputError, TerminalError, TransientError, TriplaneError
from triplane.pipelines.links import RUN_URL, PipelineLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.pipelines.pipeline import Pipeline, Standing, Wanted
    from triplane.pipelines.triggers import PipelineTrigger


class PipelineTask(Applying):
    """What both operators share: they wait for a run in the triggerer, and tell how it ended.

    :param system: ``codebuild``, ``codepipeline``, ``cloud_deploy``, ``azure_pipelines``, ``github_actions``, ``gitlab``
    :param options: which pipeline, see :func:`triplane.pipelines.systems.connect` (templated)
    :param timeout: seconds after which the run is cancelled
    :param interval: seconds between two looks
    :param deferrable: false waits in the worker
    :param retry_failed: whether a retry of the task runs the pipeline once more if it has failed; otherwise the task fails
        at once, and somebody who clears it runs it again
    :param address: the component, for runs with an approved change set
    :param scope: ``<environment>/<cloud>``
    """

    template_fields: Sequence[str] = ("options", "address", *Applying.approval_fields)
    operator_extra_links: Sequence[BaseOperatorLink] = (PipelineLink(),)
    ui_color = "#d9e7d3"
    stops_at: Sequence[str] = ()

    def __init__(
        self,
        *,
        system: str,
        options: Mapping[str, Any],
        timeout: float = 3600.0,
        interval: float = 15.0,
        deferrable: bool = True,
        retry_failed: bool = False,
        address: str = "",
        scope: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.system = system
        self.options = options
        self.timeout = timeout
        self.interval = interval
        self.deferrable = deferrable
        self.retry_failed = retry_failed
        self.address = address
        self.scope = scope
        self.killed = False
        self._waiting: PipelineTrigger | None = None
        self._service: Pipeline | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin, and wait."""
        with self.errors():
            run, deadline = self.begin(context)
            return self.wait(context, run, deadline)

    def resume(
        self,
        context: Context,
        event: Mapping[str, Any],
        deadline: float = 0.0,
        answered: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The run has ended, or asks."""
        from triplane.pipelines.pipeline import Standing

        with self.errors():
            run = str(event["run"])
            if error := event.get("error"):
                raise TransientError(f"{error}; a retry goes on waiting for run {run}")
            standing = Standing.from_json(event["standing"])
            if standing.state != "running":
                return self.finish(context, run, standing)
            return self.asked(context, run, standing, deadline or time.time() + self.timeout, answered)

    def begin(self, context: Context) -> tuple[str, float]:
        """The run to wait for, and until when (Unix time)."""
        raise NotImplementedError

    def asked(
        self, context: Context, run: str, standing: Standing, deadline: float, answered: Sequence[str]
    ) -> dict[str, Any]:
        """The run waits for an approval at which this task stops."""
        raise NotImplementedError

    def finish(self, context: Context, run: str, standing: Standing) -> dict[str, Any]:
        """The result of a run that has ended. :raises PipelineFailed: badly"""
        from triplane.pipelines.pipeline import PipelineFailed

        if standing.state == "succeeded":
            self.log.info("%s run %s succeeded at %s", self.system, run, standing.revision or "its revision")
            return self.result(run, standing)
        if self.killed:
            raise TransientError(f"stopped from outside: run {run} {standing.reason}")
        last = self._show_log(run)
        said = f"run {run} of {self.system} {standing.state}: {standing.reason or 'see its log'}"
        problem = f"{said}; it last said: {last}" if last else said
        if self.retry_failed:
            raise TransientError(problem)
        raise PipelineFailed(f"{problem}; correct it and clear the task to run it again")

    def wait(
        self, context: Context, run: str, deadline: float, answered: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Wait for the run's end, or for what it asks."""
        from triplane.pipelines.triggers import PipelineTrigger

        self._waiting = PipelineTrigger(
            system=self.system,
            options=dict(self.options),
            run=run,
            deadline=deadline,
            interval=self.interval,
            approvals=list(self.stops_at),
            answered=list(answered),
        )
        if self.killed:
            self._waiting.cancel()
            raise TransientError(f"stopped from outside: run {run} was cancelled")
        if self.deferrable:
            kwargs = {"deadline": deadline, "answered": list(answered)}
            self.defer(trigger=self._waiting, method_name="resume", kwargs=kwargs)
        return self.resume(context, asyncio.run(_event(self._waiting)), deadline, answered)

    def result(self, run: str, standing: Standing) -> dict[str, Any]:
        """What goes to XCom: ``{system, run, state, revision, link, stages, results, waits}``."""
        redact = settings.redactor()
        value = standing.to_json()
        names = ("state", "revision", "stages", "results", "waits")
        plain = {name: redact.value(value[name]) for name in names}
        return {"system": self.system, "run": run, "link": self.service().link(run), **plain}

    def service(self) -> Pipeline:
        """The pipeline, connected once for each try of the task."""
        from triplane.pipelines.systems import connect

        if self._service is None:
            self._service = connect(self.system, self.options)
        return self._service

    def tell(self, context: Context, link: str) -> None:
        """Show where the run can be seen, while it runs."""
        self.log.info("It can be seen at %s", link)
        if "ti" in context:
            context["ti"].xcom_push(key=RUN_URL, value=link)

    def on_kill(self) -> None:
        """Cancel the run, if this task waits for it here. While it is deferred, its trigger does so."""
        self.killed = True
        if self._waiting:
            self._waiting.cancel()

    def errors(self) -> AbstractContextManager[None]:
        """See :func:`in_airflow`."""
        return in_airflow(self.system)

    def _show_log(self, run: str) -> str:
        """Log the last lines of what failed; returns the last of them that says something."""
        from triplane.pipelines.systems import translated

        redact = settings.redactor()
        try:
            with translated(self.system):
                lines = [redact(line) for line in self.service().log(run)]
        except TriplaneError as error:
            self.log.warning("its log cannot be read: %s", error)
            return ""
        for line in lines:
            self.log.error("| %s", line)
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class PipelineOperator(PipelineTask):
    """Run a native pipeline once, and wait for its end without a worker.

    A retry finds the run that an earlier try has started, also one that was killed in between; a cleared task runs it
    again once it has ended. A run is cancelled when its task is ended or out of time. Returns ``{system, run, state,
    revision, link, stages, results, waits}``: ``stages`` are ``{name, state, reason}``, ``results`` what the run left
    behind, name -> URL. Its failure shows the last lines of the failing stage's log.

    :param revision: commit, or what the pipeline's source calls a revision; empty is its newest (templated)
    :param inputs: what the pipeline is given: variables or parameters, no secrets (templated)
    :param approves: the run's approvals (by name) that the authorization of this task answers; nothing else is answered,
        and nothing without ``change_set`` and ``authorization``
    :param until: ``end``, or ``approval`` to return as soon as the run waits for one
    """

    template_fields: Sequence[str] = (*PipelineTask.template_fields, "revision", "inputs")

    def __init__(
        self,
        *,
        revision: str = "",
        inputs: Mapping[str, Any] | None = None,
        approves: Sequence[str] = (),
        until: str = "end",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.revision = revision
        self.inputs = inputs or {}
        self.approves = list(approves)
        self.until = until
        self.stops_at = ["*"] if until == "approval" else self.approves

    def begin(self, context: Context) -> tuple[str, float]:
        """Start the run, or find it."""
        from triplane.pipelines.begun import Begun

        self.approved(context)
        if self.approves and not self.needs_approval:
            raise InputError(
                "`approves` answers approvals with the authorization of a change set, and this task has none: answer them "
                "with a PipelineApprovalOperator"
            )
        service = self.service()
        begun = Begun(settings.artifact_store(), _place(self, context), _life(context))
        note, fresh = begun.run(service, self._wanted, time.time(), again=self.retry_failed)
        self.log.info("%s run %s %s", self.system, note.run, "started" if fresh else "goes on")
        self.tell(context, service.link(note.run))
        return note.run, note.deadline

    def asked(
        self, context: Context, run: str, standing: Standing, deadline: float, answered: Sequence[str]
    ) -> dict[str, Any]:
        """Answer what the authorization covers, or hand over to whoever answers."""
        ours = [each for each in standing.waits if each.name in self.approves and each.id not in answered]
        if not ours:
            return self.result(run, standing)
        self.approved(context)
        service, comment = self.service(), f"approved as {self.change_set}"
        for approval in ours:
            self.log.info("Answering %s: %s", approval.name, comment)
            service.decide(run, approval, True, comment)
        return self.wait(context, run, deadline, [*answered, *(each.id for each in ours)])

    def _wanted(self, token: str) -> Wanted:
        from triplane.pipelines.pipeline import Wanted

        inputs = {name: str(value) for name, value in self.inputs.items()}
        return Wanted(token=token, revision=str(self.revision or ""), inputs=inputs, timeout=self.timeout)


class PipelineApprovalOperator(PipelineTask):
    """Answer an approval of a run, and wait for the run's end. Returns the same as :class:`PipelineOperator`.

    To be put behind the decision of people, such as Airflow's own ``ApprovalOperator``, or given a ``change_set`` and an
    ``authorization``. Anything but the two words is no decision, and fails.

    :param run: id of the run (templated)
    :param approval: name of the approval
    :param decision: ``approve`` or ``reject`` (templated)
    :param comment: what the system shall keep with it (templated)
    """

    template_fields: Sequence[str] = (*PipelineTask.template_fields, "run_id", "decision", "comment")

    def __init__(
        self, *, run: str, approval: str, decision: str, comment: str = "decided in Airflow", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.run_id = run
        self.approval = approval
        self.decision = decision
        self.comment = comment

    def begin(self, context: Context) -> tuple[str, float]:
        """Answer, unless an earlier try has done so."""
        if self.decision not in ("approve", "reject"):
            raise InputError(f"{self.decision!r} is no decision on {self.approval}: nothing is answered")
        self.approved(context)
        service = self.service()
        standing = service.standing(self.run_id)
        found = next((each for each in standing.waits if each.name == self.approval), None)
        if found:
            service.decide(self.run_id, found, self.decision == "approve", self.comment)
            self.log.info("%s: %s", self.approval, self.decision)
        elif standing.state == "running" and not _tried_before(context):
            raise InputError(
                f"run {self.run_id} does not wait for {self.approval}"
                f" (it waits for {', '.join(each.name for each in standing.waits) or 'nothing'})"
            )
        self.tell(context, service.link(self.run_id))
        return self.run_id, time.time() + self.timeout


@contextmanager
def in_airflow(system: str) -> Iterator[None]:
    """Our errors as Airflow's: a retry is allowed only where it can help."""
    from triplane.pipelines.systems import translated

    try:
        with translated(system):
            yield
    except TriplaneError as error:
        kind = AirflowFailException if isinstance(error, TerminalError) else AirflowException
        raise kind(settings.redactor()(str(error))) from error


async def _event(trigger: PipelineTrigger) -> Mapping[str, Any]:
    async for event in trigger.run():
        payload: Mapping[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger ended without an event")


def _place(operator: PipelineTask, context: Context) -> list[Any]:
    """What the task is called, the same in all its tries."""
    instance, run = context.get("ti"), context.get("dag_run")
    named = [getattr(run, "dag_id", ""), getattr(run, "run_id", ""), operator.task_id]
    return [*named, getattr(instance, "map_index", -1)]


def _life(context: Context) -> int:
    """Which life of the task this is: Airflow raises the limit of tries when it is cleared, and not when it is retried."""
    return int(getattr(context.get("ti"), "max_tries", 0) or 0)


def _tried_before(context: Context) -> bool:
    return int(getattr(context.get("ti"), "try_number", 1) or 1) > 1
