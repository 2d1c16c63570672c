"""Has anybody run the pipelines of a platform since they were run for a deployment?"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

from triplane import settings
from triplane.checking import CheckingOperator, Component, Seen
from triplane.core.errors import InputError


class Described(NamedTuple):
    """Which pipeline is looked at."""

    address: str
    scope: str
    system: str
    options: Any


class PipelineComponent(Component):
    """The last good run that a deployment knows of, and the last one that there is."""

    operator: Described

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> Described:
        """Only what tells which pipeline it is: nothing is run."""
        return Described(**arguments)

    def look_up(self, stack: ExitStack) -> None:
        """Read the memory, and connect."""
        from triplane.core.references import resolve
        from triplane.pipelines.component import Memory
        from triplane.pipelines.systems import connect, translated
        from triplane.secrets.references import lookup_in

        pipeline = self.operator
        self.good = Memory(settings.artifact_store(), pipeline.scope, pipeline.address).read()
        if self.good is not None:
            with translated(pipeline.system):
                options = resolve(dict(pipeline.options), lookup_in(pipeline.scope))
                self.service = connect(pipeline.system, options)

    def look(self) -> Seen:
        """Another run at another revision is a change that the next deployment leaves as it is."""
        from triplane.core.drift import finding
        from triplane.pipelines.systems import translated

        good = self.good
        if good is None or not self.was_deployed:
            return Seen(pending="it has not been run by a deployment yet")
        with translated(self.operator.system):
            newest = self.service.newest()
            if newest is None:
                raise InputError(f"the system knows no good run any more; the last one was {good.run}")
            if newest == good.run:
                return Seen()
            took = self.service.standing(newest).revision
        if took and took == good.took:
            return Seen(noise=[f"run {newest} was started by somebody else, at the same revision"])
        changed = [{"name": "revision", "before": good.took or good.run, "after": took or newest}]
        return Seen([finding(f"run {newest}", "update", changed, unmanaged=True)])


class PipelineDriftBatchOperator(CheckingOperator):
    """Compare the last good run of pipelines with that of the last deployment.

    :param components: for each pipeline ``address``, ``scope``, ``system`` and ``options`` (templated)
    """

    component = PipelineComponent
