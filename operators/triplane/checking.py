"""What every operator that looks for drift in a batch of components shares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.core.errors import TriplaneError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.drift import Check, Finding, Ignore

WORKERS = 4


class Seen(NamedTuple):
    """What a look at a component has shown, see :func:`triplane.core.drift.judge`.

    ``images`` are those that it runs, see :class:`triplane.core.drift.Check`.
    """

    findings: Sequence[Finding] = ()
    pending: str = ""
    noise: Sequence[str] = ()
    missing: bool = False
    images: Sequence[dict[str, Any]] = ()


class Checked(Protocol):
    """What a component is known by: an operator that deploys it has it, or a value that stands for it."""

    @property
    def address(self) -> str:
        """``<cloud>/<kind>/<name>``."""

    @property
    def scope(self) -> str:
        """``<environment>/<cloud>``."""


class Component:
    """One component of a batch; ``operator`` is one of those that deploy it, or what stands for one.

    ``was_deployed``: a rollout has made it, and none has destroyed it.
    """

    operator: Any
    was_deployed = False

    def __init__(self, task_id: str, arguments: dict[str, Any]) -> None:
        self.operator = self.deployed_by(task_id, arguments)

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> Checked:
        """The operator, from one entry of ``components``."""
        raise NotImplementedError

    def look_up(self, stack: ExitStack) -> None:
        """Get what only Airflow knows; what ``stack`` holds lasts until everything is checked."""
        raise NotImplementedError

    def look(self) -> Seen:
        """Compare what was deployed with what is there. Runs in a thread that cannot ask Airflow."""
        raise NotImplementedError

    def judged(self, ignores: Sequence[Ignore], before: Mapping[str, Any] | None, run: str) -> Check:
        """The answer, by what was seen; ``before`` is what was kept of the last check, ``run`` the id of this one's."""
        from triplane.core.drift import judge

        seen = self.look()
        check = judge(
            self.operator.address,
            seen.findings,
            noise=seen.noise,
            pending=seen.pending,
            missing=seen.missing,
            ignores=ignores,
            before=before,
            run=run,
        )
        check.images = list(seen.images)
        return check


class CheckingOperator(BaseOperator):
    """Compare a batch of components with what was deployed, changing nothing.

    Returns one entry for each, see :class:`triplane.core.drift.Check`. One that could not be checked is ``unknown``
    with the reason; it does not keep the others from their answers.

    :param components: what the subclass says, and for each ``ignore`` as for stacks (templated)
    """

    template_fields: Sequence[str] = ("components",)
    component: type[Component]
    workers = WORKERS
    """How many are checked at a time."""

    def __init__(self, *, components: Sequence[Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components = components
        self.stopped = False
        self.run = ""
        self.known: dict[str, dict[str, Any]] = {}

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check them all. What needs Airflow is looked up first, here; the rest is done side by side."""
        from concurrent.futures import ThreadPoolExecutor

        self.run = run_of(context)
        with ExitStack() as stack:
            checks = [_One(self, dict(arguments), stack) for arguments in self.components]
            with ThreadPoolExecutor(self.workers) as pool:
                results = list(pool.map(_One.run, checks))
        if self.stopped:
            raise AirflowFailException("stopped before everything was checked")
        return [result.to_json() for result in results]

    def was_deployed(self, scope: str, address: str) -> bool:
        """Whether a rollout has made the component and none has destroyed it."""
        from triplane.core import deployed

        if scope not in self.known:
            self.known[scope] = deployed.read(settings.artifact_store(), scope)
        return address in self.known[scope]

    def on_kill(self) -> None:
        """Begin nothing more; what is being read ends by itself."""
        self.stopped = True


class _One:
    """The way of one component through a batch."""

    def __init__(self, batch: CheckingOperator, arguments: dict[str, Any], stack: ExitStack) -> None:
        self.batch = batch
        self.ignore = arguments.pop("ignore", ())
        self.component = batch.component(f"{batch.task_id}-check", arguments)
        self.address = self.component.operator.address
        self.memory = memory_of(self.component.operator)
        self.before: dict[str, Any] | None = None
        self.error = ""
        try:
            self.before = named(self.memory)
            scope = self.component.operator.scope
            self.component.was_deployed = batch.was_deployed(scope, self.address)
            self.component.look_up(stack)
        except Exception as error:  # a connection that is missing or refused is this component's alone
            self.error = _said(error)

    def run(self) -> Check:
        from triplane.core.drift import unknown

        try:
            if self.batch.stopped:
                self.error = "stopped before it was checked"
            if not self.error:
                return self._judged()
        except Exception as error:
            self.error = _said(error)
        said = settings.redactor()(self.error)
        self.batch.log.error("%s: not checked: %s", self.address, said)
        return unknown(self.address, said, self.before)

    def _judged(self) -> Check:
        from triplane.core.drift import Ignore

        rules = [Ignore.from_json(rule) for rule in self.ignore]
        check = self.component.judged(rules, self.before, self.batch.run)
        remember(self.memory, check, self.batch.run)
        tell(self.batch.log, check)
        return check


def memory_of(component: Checked) -> str:
    """Where the artifact store keeps what the next check has to know."""
    return f"drift/{component.scope}/{component.address}"


def remember(key: str, check: Check, run: str) -> None:
    """Keep what the next check has to know."""
    from triplane.core.drift import memory

    settings.artifact_store().put_named(key, json.dumps(memory(check, run)).encode())


def tell(log: Any, check: Check) -> None:
    """The answer in the log."""
    for item in check.resources:
        names = ", ".join(attribute["name"] for attribute in item["attributes"]) or item["action"]
        log.warning("%s: drifted: %s: %s", check.address, item["address"], names)
    log.info("%s: %s %s", check.address, check.state, check.pending)


def named(key: str) -> dict[str, Any] | None:
    """What the artifact store keeps under a name."""
    data = settings.artifact_store().get_named(key)
    found: dict[str, Any] | None = None if data is None else json.loads(data)
    return found


def run_of(context: Any) -> str:
    """The id of the run, empty outside of one."""
    run = context.get("dag_run")
    return "" if run is None else str(run.run_id)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, TriplaneError) else f"{type(error).__name__}: {error}"
