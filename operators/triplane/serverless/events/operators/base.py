"""What the operators of schedules and streams share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseOperatorLink

from triplane import settings
from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.secrets.references import lookup_in
from triplane.serverless.airflow import airflow_errors, resolved
from triplane.serverless.events.targets import DEFAULT_CONNECTIONS, STREAMS, TARGETS
from triplane.serverless.links import CONSOLE_URL, ConsoleLink
from triplane.serverless.targets import Place

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import State
    from triplane.serverless.events.leftovers import Deployed
    from triplane.serverless.events.memory import Memory
    from triplane.serverless.events.source import EventSource, Found, Progress, Wanted

PATIENCE = 10.0
"""Seconds that a task waits itself; longer waits take no worker slot."""
DEFERRED_SECONDS = 15.0


class EventSourceOperator(BaseOperator):
    """What these operators share; not used by itself.

    :param target: a name of :data:`triplane.serverless.events.targets.TARGETS`
    :param name: its name at the cloud
    :param options: what it shall be, see the guides to schedules and streams; may hold ``${stack.output}``,
        ``${variable.name}`` and ``${connection.conn_id}``. None leaves one out
    :param conn_id: the Airflow connection to the cloud; default is the cloud's usual one
    :param region: region or location
    :param project: Google Cloud project; default is the connection's
    :param resource_group: Azure resource group
    :param address: ``<cloud>/schedule/<name>`` or ``<cloud>/stream/<name>``
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    :param limit: how long it may take, in seconds
    """

    template_fields: Sequence[str] = (
        *("name", "options", "conn_id", "region", "project", "resource_group", "address", "scope"),
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (ConsoleLink(),)
    ui_color = "#fdebd3"

    def __init__(
        self,
        *,
        target: str,
        name: str,
        options: Mapping[str, Any] | None = None,
        conn_id: str | None = None,
        region: str | None = None,
        project: str | None = None,
        resource_group: str | None = None,
        address: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        limit: float = 300.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.name = name
        self.options = options or {}
        self.conn_id = conn_id or DEFAULT_CONNECTIONS.get(target, "")
        self.region = region
        self.project = project
        self.resource_group = resource_group
        self.address = address or f"{target}/{'stream' if target in STREAMS else 'schedule'}/{name}"
        self.kept_as: str | None = None
        """The address under which it is remembered, where that is another one."""
        self.scope = scope
        self.limit = limit

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the operator's work. A retry is allowed only where it can help."""
        with airflow_errors(self.address):
            return self.work(context, time.time())

    def work(self, context: Context, begin: float) -> dict[str, Any]:
        """What the task returns; ``begin`` in seconds since the epoch."""
        raise NotImplementedError

    def resume(self, context: Context, event: Any = None, begin: float = 0.0) -> dict[str, Any]:
        """Go on after a wait without a worker."""
        with airflow_errors(self.address):
            return self.work(context, begin)

    def connect(self, context: Context | None = None) -> EventSource:
        """The target, with clients for the connection; people can follow the task to the cloud's console."""
        if self.target not in TARGETS:
            raise InputError(f"{self.target!r} is not a target; use one of {', '.join(TARGETS)}")
        place = Place(self.conn_id, self.region, self.project, self.resource_group)
        if context is not None:
            self._link(context, place)
        return TARGETS[self.target](place)

    def _link(self, context: Context, place: Place) -> None:
        from triplane.serverless.links import console_url
        from triplane.serverless.targets import complete

        url = console_url(self.target, self.name, complete(self.target, place), self.options)
        context["ti"].xcom_push(key=CONSOLE_URL, value=url)

    def wanted(self, target: EventSource, *, strict: bool, attempt: str = "") -> Wanted:
        """As it is written, with its references resolved; what is not known yet is ``UNKNOWN`` unless ``strict``."""
        from triplane.serverless.events.source import Wanted, check_options

        options = {key: value for key, value in self.options.items() if value is not None}
        check_options(target, self.name, options)
        known = resolved(options, lookup_in(self.scope), strict=strict)
        return Wanted(
            name=self.name,
            settings=target.settings(self.name, known),
            config=self.config(),
            id=self.kept_id(),
            attempt=attempt,
        )

    def config(self) -> str:
        """The digest of what is written."""
        options = {key: value for key, value in self.options.items() if value is not None}
        return digest({"target": self.target, "name": self.name, "options": options})

    def memory(self) -> Memory:
        """A DAG of somebody's own may have no artifact store, and then no drift checks."""
        from triplane.serverless.events.memory import Memory

        store = None
        try:
            store = settings.artifact_store()
        except InputError as error:
            self.log.info("%s: nothing is remembered: %s", self.address, error)
        return Memory(store, self.scope, self.kept_as or self.address)

    def kept_id(self) -> str:
        """What the cloud called it when it was last deployed; empty if it was not, or under another name."""
        kept = self.memory().kept() or {}
        return str(kept["id"]) if kept.get("name") == self.name else ""

    def keep(self, wanted: Wanted, found: Found, *, again: bool = True) -> None:
        """Remember it as ours, for the next drift check.

        Unless ``again``, what was kept before stays: a plan must not take what hands changed for ours.
        """
        from triplane.serverless.events.source import keep

        memory = self.memory()
        if again or memory.kept() is None:
            memory.keep(keep(wanted, found))

    def deployed(self) -> Deployed:
        """What the ledger remembers, to find it again when it has left the spec."""
        from triplane.serverless.events.leftovers import Deployed

        place = (self.conn_id, self.region, self.project, self.resource_group)
        return Deployed(self.kept_as or self.address, self.target, self.name, *place)

    def tell(self, *, there: bool) -> None:
        """Have the ledger remember that it may be there from now on, or is gone."""
        from triplane.serverless.events.leftovers import EVENT_SOURCE, body, last

        ledger, deployed = settings.ledger(self.scope), self.deployed()
        if last(ledger.entries(EVENT_SOURCE)).get(deployed.here) != (deployed, there):
            ledger.append(EVENT_SOURCE, body(deployed, there=there))

    def result(self, state: State, version: str, begin: float, **details: str) -> dict[str, Any]:
        """What the task returns after work that began at ``begin``."""
        from triplane.core.change import Result

        self.log.info("%s: %s", self.address, state)
        seconds = time.time() - begin
        found = Result(address=self.address, version=version, state=state, seconds=seconds, details=details)
        return found.to_json()

    def say(self, line: str) -> None:
        """Log, redacted."""
        self.log.info("%s", settings.redactor()(line))

    def until_done(self, step: Callable[[], Progress], begin: float) -> Mapping[str, str]:
        """Repeat a step until it is done; long waits defer.

        :raises DeployFailed: it takes longer than the limit
        """
        from triplane.serverless.events.source import Done
        from triplane.serverless.target import DeployFailed

        patient = time.monotonic() + PATIENCE
        while True:
            progress = step()
            if isinstance(progress, Done):
                return progress.details
            self.say(f"{self.address}: {progress.why}")
            if time.time() - begin > self.limit:
                raise DeployFailed(f"not done after {self.limit:g} s: {progress.why}")
            if time.monotonic() + progress.seconds > patient:
                self._defer(begin)
            time.sleep(progress.seconds)

    def _defer(self, begin: float) -> None:
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        trigger = TimeDeltaTrigger(timedelta(seconds=DEFERRED_SECONDS))
        self.defer(trigger=trigger, method_name="resume", kwargs={"begin": begin})
