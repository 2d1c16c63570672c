"""Delete event sources that have left the spec."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from triplane import sealing, settings
from triplane.core.errors import InputError
from triplane.serverless.airflow import airflow_errors, redacted
from triplane.serverless.events.operators.base import EventSourceOperator
from triplane.serverless.events.operators.delete import EventSourceDeleteOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.serverless.events.leftovers import Deployed
    from triplane.serverless.events.source import EventSource, Found, Wanted


class _Leftover(EventSourceDeleteOperator):
    """One of them: at its own address in the change set, remembered under the one that it had."""

    def wanted(self, target: EventSource, *, strict: bool, attempt: str = "") -> Wanted:
        """As it was last written; where that has lost its references, by name and id alone."""
        from triplane.serverless.events.source import Wanted

        self.options = self.memory().written(self.name)
        try:
            return super().wanted(target, strict=False, attempt=attempt)
        except InputError:
            return Wanted(name=self.name, settings={}, id=self.kept_id())


class EventSourceLeftoversPlanOperator(BaseOperator):
    """Plan to delete the schedules and streams of a scope that were deployed once and have left the spec.

    Returns one ``ComponentChange`` as JSON for each, at the address ``<cloud>/leftover/<kind>.<name>@<region>``.

    :param scope: ``<environment>/<cloud>`` (templated)
    :param conn_id: the connection to the cloud; by default the one that each was deployed with
    :param components: for each that is in the spec the arguments of an :class:`EventSourceOperator` (templated)
    """

    template_fields: Sequence[str] = ("scope", "components")
    ui_color = "#fdebd3"

    def __init__(
        self,
        *,
        scope: str,
        conn_id: str | None = None,
        components: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scope = scope
        self.conn_id = conn_id
        self.components = components

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Ask the ledger what there was, and the clouds what is still there."""
        from triplane.serverless.events.leftovers import EVENT_SOURCE, leftovers
        from triplane.serverless.events.source import plan_to_destroy

        ours = [EventSourceOperator(task_id="component", **dict(one)) for one in self.components]
        entries = settings.ledger(self.scope).entries(EVENT_SOURCE)
        changes = []
        for deployed in leftovers(entries, [one.deployed() for one in ours]):
            with airflow_errors(deployed.leftover):
                found = _find(_leftover(deployed, self.scope, self.conn_id))
                if found is None or found.id in _ids(ours, deployed.target):
                    self.log.info("%s is not there any more, or is another component's", deployed.name)
                    continue
                change = redacted(plan_to_destroy(deployed.leftover, deployed.name, found))
            self.log.info("%s: %s (risk %s)", change.address, change.summary, change.risk)
            changes.append(sealing.seal(context, change))
        return changes


class EventSourceLeftoversDeleteOperator(BaseOperator):
    """Delete the leftovers of an approved change set. One that is gone already is fine.

    Returns one ``Result`` as JSON for each.

    :param scope: ``<environment>/<cloud>`` (templated)
    :param conn_id: the connection to the cloud; by default the one that each was deployed with
    :param change_set: digest of the approved change set (templated)
    :param authorization: ``{"decisions": [...]}``, the signed decisions on the change set (templated)
    """

    template_fields: Sequence[str] = ("scope", "change_set", "authorization")
    ui_color = "#fdebd3"

    def __init__(
        self, *, scope: str, change_set: str, authorization: Any, conn_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.scope = scope
        self.conn_id = conn_id
        self.change_set = change_set
        self.authorization = authorization

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Each checks the approval itself."""
        return self.resume(context)

    def resume(self, context: Context, event: Any = None, begin: float = 0.0) -> list[dict[str, Any]]:
        """After a wait without a worker: what is deleted already stays so."""
        from triplane.serverless.events.leftovers import EVENT_SOURCE, last

        known = last(settings.ledger(self.scope).entries(EVENT_SOURCE)).values()
        places = {deployed.leftover: deployed for deployed, _ in known}
        results = []
        for change in settings.get_change_set(self.change_set).changes:
            if change.address not in places:
                continue
            approval = {"change_set": self.change_set, "authorization": self.authorization}
            task = _leftover(places[change.address], self.scope, self.conn_id, **approval)
            with airflow_errors(change.address):
                results.append(task.work(context, begin or time.time()))
        return results


def _leftover(deployed: Deployed, scope: str, conn_id: str | None, **approval: Any) -> _Leftover:
    arguments = {**deployed.arguments(), "address": deployed.leftover, "conn_id": conn_id or deployed.conn_id}
    task = _Leftover(task_id="leftover", scope=scope, **approval, **arguments)
    task.kept_as = deployed.address
    return task


def _find(task: EventSourceOperator) -> Found | None:
    target = task.connect()
    return target.observe(task.wanted(target, strict=False))


def _ids(tasks: Sequence[EventSourceOperator], target: str) -> set[str]:
    """What the clouds call those that are in the spec: some services know things by other names than ours."""
    found = (_find(task) for task in tasks if task.target == target)
    return {thing.id for thing in found if thing is not None}
