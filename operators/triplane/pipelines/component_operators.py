"""A pipeline of a platform: planned, run as it was approved, forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from triplane import sealing, settings
from triplane.applying import Applying
from triplane.core.errors import InputError
from triplane.pipelines.operators import PipelineOperator, in_airflow
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.pipelines.component import Job, Memory, Written
    from triplane.pipelines.pipeline import Standing


class _Described(BaseOperator):
    """A pipeline of a platform.

    :param address: ``<cloud>/pipeline/<name>`` (templated)
    :param scope: ``<environment>/<cloud>`` (templated)
    :param system: which system, as :class:`triplane.pipelines.operators.PipelineOperator` takes it
    :param options: which pipeline; may hold references to outputs of stacks (templated)
    :param inputs: what it is given; may hold such references too (templated)
    :param at_commit: whether the pipeline's source is taken at the commit that is deployed
    :param revision_input: the input that the commit goes to instead
    """

    described: Sequence[str] = ("address", "scope", "options", "inputs")

    address: str
    scope: str
    system: str
    options: Any
    inputs: Any
    at_commit: bool
    revision_input: str

    def written(self, images: Mapping[str, str]) -> Written:
        """The component as it was written."""
        from triplane.pipelines.component import Written

        return Written(
            system=self.system,
            options=self.options,
            inputs=self.inputs,
            at_commit=self.at_commit,
            revision_input=self.revision_input,
            images=images,
        )

    def memory(self) -> Memory:
        """What is known of its runs."""
        from triplane.pipelines.component import Memory

        return Memory(settings.artifact_store(), self.scope, self.address)


class PipelinePlanOperator(_Described):
    """Say whether a pipeline has to run, at which commit and with which inputs; start nothing.

    It runs unless its last good run was of the same pipeline, at the same commit, with the same inputs and images.
    Returns a ``ComponentChange`` as JSON.

    :param source: digest of the frozen source, which stands for the commit where there is none (templated)
    :param commit: the commit that is deployed (templated)
    :param images: name -> reference of images that it is given (templated)
    :param risk: of a run: ``low``, ``medium``, ``high`` or ``critical``
    :param on_rollback: ``run`` it at the earlier commit, or ``leave`` it
    :param intent: ``destroy`` plans to forget its runs, since they cannot be taken back (templated)
    """

    template_fields: Sequence[str] = (*_Described.described, "source", "commit", "images", "intent")

    def __init__(
        self,
        *,
        address: str,
        scope: str,
        system: str,
        options: Any,
        inputs: Any = None,
        at_commit: bool = True,
        revision_input: str = "",
        source: str = "",
        commit: str = "",
        images: Any = None,
        risk: str = "medium",
        on_rollback: str = "run",
        intent: str = "deploy",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.address, self.scope = address, scope
        self.system, self.options, self.inputs = system, options, inputs or {}
        self.at_commit, self.revision_input = at_commit, revision_input
        self.source, self.commit, self.images = source, commit, images or {}
        self.risk, self.on_rollback, self.intent = risk, on_rollback, intent

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare with the last good run."""
        with in_airflow(self.system):
            change = self._change()
        redact = settings.redactor()
        change = replace(change, lines=tuple(redact(line) for line in change.lines))
        self.log.info("%s: %s, %s", self.address, change.action, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return sealing.seal(context, change)

    def _change(self) -> ComponentChange:
        from triplane.pipelines.component import plan, plan_to_destroy

        good = self.memory().read()
        if self.intent == "destroy":
            return plan_to_destroy(self.address, self.written({}), good)
        written = self.written(self.images)
        commit = commit_of(self.commit, self.source)
        leave = self.intent == "rollback" and self.on_rollback == "leave"
        job = None if leave else self._job(written)
        return plan(self.address, written, commit, job, good, risk=self.risk, leave=leave)

    def _job(self, written: Written) -> Job | None:
        """What would run, None where it depends on outputs of stacks that were not applied yet."""
        lookup, missing = lookup_in(self.scope), set()

        def found(name: str) -> Any:
            try:
                return lookup(name)
            except KeyError:
                missing.add(name)
                return ""

        job = written.resolved(self.commit, found)
        return None if missing else job


class PipelineComponentOperator(_Described, PipelineOperator):
    """Run the pipeline as it was approved: see :class:`PipelineOperator`. Returns a ``Result`` as JSON, whose version is
    the revision that the run took. Takes the same arguments as the :class:`PipelinePlanOperator` that made the change.
    """

    template_fields: Sequence[str] = tuple(dict.fromkeys((*PipelineOperator.template_fields, "scope")))

    def __init__(self, *, at_commit: bool = True, revision_input: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.at_commit = at_commit
        self.revision_input = revision_input
        self._key = self._commit = ""
        self._images: dict[str, str] = {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Run it, unless nothing has changed."""
        with self.errors():
            approved = self._prepare(context)
            if not approved.changed:
                good = self.memory().read()
                return self._result("unchanged", good.took or good.run if good else "")
        return super().execute(context)

    def resume(self, context: Context, event: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As :meth:`PipelineOperator.resume`."""
        with self.errors():
            self._prepare(context, began=True)
        return super().resume(context, event, *args, **kwargs)

    def finish(self, context: Context, run: str, standing: Standing) -> dict[str, Any]:
        """Keep a good run; the record says of a bad one that it failed."""
        from triplane.pipelines.component import Good

        try:
            found = super().finish(context, run, standing)
        except Exception:
            if "ti" in context:
                context["ti"].xcom_push(key="return_value", value=self._result("failed", run))
            raise
        good = Good(
            key=self._key,
            commit=self._commit,
            run=run,
            took=standing.revision,
            link=found["link"],
            inputs=settings.redactor().value({**self.inputs, **self._images}),
        )
        self.memory().keep(good)
        return self._result("deployed", standing.revision or run, run=run, link=found["link"])

    def _prepare(self, context: Context, *, began: bool = False) -> ComponentChange:
        """Put real values in. An approval that held when the run was started holds for its result.

        :raises StaleError: this is not what was approved
        """
        from triplane.pipelines.component import check, images

        if not self.change_set:
            raise InputError(f"{self.address} runs with an approved change set only; use a PipelineOperator")
        change_set = settings.get_change_set(self.change_set)
        approved = change_set.change(self.address) if began else self.approved(context)
        if approved is None:
            raise InputError(f"{self.address} is not in change set {self.change_set}; plan again")
        self._images = images(approved)
        written = self.written(self._images)
        self._commit = commit_of(change_set.revision, change_set.source)
        check(approved, written, self._commit)
        if approved.changed:
            job = written.resolved(change_set.revision, lookup_in(self.scope))
            self._key = job.key
            self.options, self.inputs, self.revision = dict(job.options), dict(job.inputs), job.revision
        return approved

    def _result(self, state: State, version: str, **details: str) -> dict[str, Any]:
        return _result(self.address, state, version, **details)


class PipelineForgetOperator(_Described, Applying):
    """What is left of a pipeline when its platform is destroyed: nothing is run, and its last good run is forgotten.

    Takes the same arguments as :class:`PipelineComponentOperator`. Returns a ``Result`` as JSON.
    """

    template_fields: Sequence[str] = (*_Described.described, *Applying.approval_fields)

    def __init__(self, *, address: str, scope: str, system: str, **kwargs: Any) -> None:
        names = ("options", "inputs", "at_commit", "revision_input", "approves", "timeout", "interval")
        found = {name: kwargs.pop(name, None) for name in names}
        super().__init__(**kwargs)
        self.address, self.scope, self.system = address, scope, system
        self.options, self.inputs = found["options"], found["inputs"]

    def execute(self, context: Context) -> dict[str, Any]:
        """Forget it."""
        with in_airflow(self.system):
            approved = self.approved(context)
            if approved and not approved.changed:
                return _result(self.address, "unchanged", "")
            self.memory().keep(None)
        return _result(self.address, "destroyed", "")


def commit_of(revision: str, source: str) -> str:
    """What stands for the commit: the digest of the source where that is in no git repository."""
    from triplane.core.git import WORKING_TREE

    return source if revision == WORKING_TREE else revision


def _result(address: str, state: State, version: str, **details: str) -> dict[str, Any]:
    from triplane.core.change import Result

    return Result(address=address, version=version, state=state, details=details).to_json()
