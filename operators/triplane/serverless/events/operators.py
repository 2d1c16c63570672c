"""Schedules as Airflow tasks: plan, and apply exactly what was planned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from triplane import settings
from triplane.applying import Applying
from triplane.core.digest import digest
from triplane.core.errors import InputError, StaleError, TerminalError
from triplane.serverless.airflow import airflow_errors, redacted, resolved
from triplane.serverless.events.targets import DEFAULT_CONNECTIONS, TARGETS, Place

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.core.store import ArtifactStore
    from triplane.serverless.events.source import EventSource, Found, Progress, Wanted

PATIENCE = 10.0
"""Seconds that a task waits itself; longer waits take no worker slot."""
DEFERRED_SECONDS = 15.0


class EventSourceOperator(BaseOperator):
    """What these operators share; not used by itself.

    :param target: ``eventbridge``, ``cloud_scheduler`` or ``logic_apps``
    :param name: its name at the cloud
    :param options: what it shall be, see the guide to schedules; may hold ``${stack.output}``,
        ``${variable.name}`` and ``${connection.conn_id}``. None leaves one out
    :param conn_id: the Airflow connection to the cloud; default is the cloud's usual one
    :param region: region or location
    :param project: Google Cloud project; default is the connection's
    :param resource_group: Azure resource group
    :param address: ``<cloud>/schedule/<name>``
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    :param limit: how long it may take, in seconds
    """

    template_fields: Sequence[str] = (
        *("name", "options", "conn_id", "region", "project", "resource_group", "address", "scope"),
    )
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
        self.address = address or f"{target}/schedule/{name}"
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

    def connect(self) -> EventSource:
        """The target, with clients for the connection."""
        if self.target not in TARGETS:
            raise InputError(f"{self.target!r} is not a target; use one of {', '.join(TARGETS)}")
        place = Place(self.conn_id, self.region, self.project, self.resource_group)
        return TARGETS[self.target](place)

    def wanted(self, target: EventSource, *, strict: bool, attempt: str = "") -> Wanted:
        """As it is written, with its references resolved; what is not known yet is ``UNKNOWN`` unless ``strict``."""
        from triplane.serverless.events.source import Wanted, check_options

        options = {key: value for key, value in self.options.items() if value is not None}
        check_options(target, self.name, options)
        known = resolved(options, settings.lookup(self.scope), strict=strict)
        return Wanted(
            name=self.name,
            settings=target.settings(self.name, known),
            config=self.config(),
            id=str((self.kept() or {}).get("id", "")),
            attempt=attempt,
        )

    def config(self) -> str:
        """The digest of what is written."""
        options = {key: value for key, value in self.options.items() if value is not None}
        return digest({"target": self.target, "name": self.name, "options": options})

    def store(self) -> ArtifactStore | None:
        """A DAG of somebody's own may have no artifact store, and then no drift checks."""
        try:
            return settings.artifact_store()
        except InputError as error:
            self.log.info("%s: nothing is remembered: %s", self.address, error)
            return None

    def kept(self) -> dict[str, Any] | None:
        """What the last deployment remembered."""
        from triplane.serverless.events.source import kept_key

        return _get(self.store(), kept_key(self.scope, self.address))

    def keep(self, wanted: Wanted, found: Found | None, *, again: bool = True) -> None:
        """Remember it as ours, for the next drift check; None: nothing of ours is there any more.

        Unless ``again``, what was kept before stays: a plan must not take what hands changed for ours.
        """
        from triplane.serverless.events.source import keep, kept_key

        store, key = self.store(), kept_key(self.scope, self.address)
        if store is None or (not again and _get(store, key) is not None):
            return
        kept = None if found is None else keep(wanted, found)
        store.put_named(key, json.dumps(kept).encode())

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


class EventSourcePlanOperator(EventSourceOperator):
    """Say field by field what applying would change, and change nothing. Returns a ``ComponentChange`` as JSON.

    :param intent: ``destroy`` plans to delete it, all else to make it as it is written (templated)
    """

    template_fields: Sequence[str] = (*EventSourceOperator.template_fields, "intent")

    def __init__(self, *, intent: str = "deploy", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intent = intent

    def work(self, context: Context, begin: float) -> dict[str, Any]:
        """Observe and compare."""
        from triplane.serverless.events.source import plan, plan_to_destroy

        target = self.connect()
        wanted = self.wanted(target, strict=False)
        found = target.observe(wanted)
        if self.intent == "destroy":
            change = plan_to_destroy(self.address, self.name, found)
        else:
            change = redacted(plan(self.address, wanted, found, target.fixed))
            if not change.changed and found:
                self.keep(wanted, found, again=False)
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return settings.seal(context, change)


class EventSourceApplyOperator(Applying, EventSourceOperator):
    """Make it as it is written; what does not work out is put back as it was.

    Returns a ``Result`` as JSON. Takes the same arguments as the :class:`EventSourcePlanOperator` that made the
    change, and ``change``, ``change_set`` and ``authorization``, see :class:`triplane.applying.Applying`; without
    them it applies what it is given.
    """

    template_fields: Sequence[str] = (*EventSourceOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context, begin: float) -> dict[str, Any]:
        """Check, remember what was there, apply, read back."""
        from triplane.serverless.events.source import check, check_observed, differing

        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", str(approved.binds["observed"]), begin)
        target = self.connect()
        wanted = self.wanted(target, strict=True, attempt=self._attempt(context, approved))
        wanted.known()
        if approved:
            check(approved, wanted)
        found = target.observe(wanted)
        begun = self._begun(wanted)
        if found is not None and not differing(wanted, found) and begun is None:
            self.keep(wanted, found)
            return self.result("deployed" if approved else "unchanged", found.version, begin)
        if approved:
            check_observed(approved, wanted, found, None if begun is None else begun["settings"])
        previous = found if begun is None else _found(begun)
        if begun is None:
            self._begin(wanted, previous)
        return self._apply(context, target, wanted, previous, begin)

    def _apply(
        self, context: Context, target: EventSource, wanted: Wanted, previous: Found | None, begin: float
    ) -> dict[str, Any]:
        from triplane.serverless.events.source import differing
        from triplane.serverless.target import DeployFailed

        try:
            details = self.until_done(lambda: target.apply(wanted, target.observe(wanted), self.say), begin)
            now = target.observe(wanted)
            if now is None or (wrong := differing(wanted, now)):
                raise DeployFailed(f"{'it is gone' if now is None else ', '.join(wrong)} not as applied")
        except StaleError:
            raise  # what somebody else has made meanwhile stays
        except TerminalError as error:
            self._put_back(context, target, wanted, previous, begin, str(error))
            raise
        self.keep(wanted, now)
        self._end(wanted)
        return self.result("deployed", now.version, begin, **details)

    def _put_back(
        self,
        context: Context,
        target: EventSource,
        wanted: Wanted,
        previous: Found | None,
        begin: float,
        reason: str,
    ) -> None:
        """As it was before, verified by reading; says so in the task's result."""
        from triplane.serverless.target import DeployFailed

        self.say(f"{self.address}: {reason}")
        restored = False
        try:
            self.until_done(lambda: target.restore(wanted, previous, self.say), time.time())
            now = target.observe(wanted)
            restored = (now.settings if now else None) == (previous.settings if previous else None)
        except TerminalError as error:
            self.say(f"{self.address}: and it cannot be put back: {error}")
        state: State = "rolled_back" if restored and previous else "failed"
        said = settings.redactor()(reason)
        version = previous.version if restored and previous else ""
        value = self.result(state, version, begin, error=said)
        context["ti"].xcom_push(key="return_value", value=value)
        if restored:
            self._end(wanted)
        else:
            raise DeployFailed(f"{reason}; and what was there before could not be put back")

    def _attempt(self, context: Context, approved: ComponentChange | None) -> str:
        """The same for each try of this task."""
        run = context["dag_run"]
        change = approved.to_json() if approved else self.config()
        return digest([run.dag_id, run.run_id, self.address, change])[7:23]

    def _begun(self, wanted: Wanted) -> dict[str, Any] | None:
        """What an earlier try of this deployment set out from."""
        found = _get(self.store(), self._key)
        return found if found and found["attempt"] == wanted.attempt else None

    def _begin(self, wanted: Wanted, previous: Found | None) -> None:
        """Remember, before anything is changed, what was there."""
        value: dict[str, Any] = {"attempt": wanted.attempt, "there": previous is not None, "settings": {}}
        if previous is not None:
            value |= {"settings": dict(previous.settings), "raw": dict(previous.raw)}
            value |= {"id": previous.id, "etag": previous.etag}
        self._write(value)

    def _end(self, wanted: Wanted) -> None:
        self._write(None)

    def _write(self, value: Any) -> None:
        store = self.store()
        if store is not None:
            store.put_named(self._key, json.dumps(value, default=_plain).encode())

    @property
    def _key(self) -> str:
        return f"event-sources-begun/{self.scope}/{self.address}"


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
        target = self.connect()
        wanted = self.wanted(target, strict=False)
        found = target.observe(wanted)
        if approved:
            check_destroys(approved, self.name, found)
        if found is not None or approved:  # what a try has left over that was cut off
            self.until_done(lambda: target.delete(wanted), begin)
        self.keep(wanted, None)
        return self.result("destroyed", "", begin)


def _found(begun: Mapping[str, Any]) -> Found | None:
    from triplane.serverless.events.source import Found

    if not begun["there"]:
        return None
    return Found(settings=begun["settings"], raw=begun["raw"], id=begun["id"], etag=begun["etag"])


def _plain(value: Any) -> Any:
    """Times, as boto3 gives them."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _get(store: ArtifactStore | None, name: str) -> dict[str, Any] | None:
    data = None if store is None else store.get_named(name)
    found: dict[str, Any] | None = None if data is None else json.loads(data)
    return found
