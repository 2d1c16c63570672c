"""The steps of a deployment as tasks of their own, for DAGs that put something between them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from triplane import settings
from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.serverless.operators.base import PATIENCE_SECONDS, ServerlessOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.serverless.deployment import Attempt
    from triplane.serverless.target import Observed, Ready, Waiting


class _Step(ServerlessOperator):
    """Looks until its step is done; long waits take no worker."""

    _began: float = 0.0

    def go_on(self, context: Context, event: Any = None, began: float = 0.0) -> dict[str, Any]:
        """After a wait."""
        self._began = began
        return self.execute(context)

    def until_ready(self, step: Any) -> Ready:
        """:raises DeployFailed: it takes longer than the limit"""
        from triplane.serverless.target import DeployFailed, Waiting

        began, patience = self._began or time.time(), time.monotonic() + PATIENCE_SECONDS
        while True:
            progress: Ready | Waiting = step()
            if not isinstance(progress, Waiting):
                return progress
            if time.time() - began > self.limit:
                raise DeployFailed(f"not ready after {self.limit:g} s: {progress.why}")
            self.pause(progress, patience, began=began)


class ServerlessPrepareOperator(_Step):
    """Bring up a new version that gets no traffic yet, and ask it the ``smoke`` test where one is given.

    Each run makes one, also when its task is retried. Returns ``{"version": ..., "previous": ...}``: what was made,
    and what serves (empty if nothing does).
    """

    def work(self, context: Context) -> dict[str, Any]:
        """Go on with what an earlier try of this run has begun."""
        from triplane.serverless.deployment import ask
        from triplane.serverless.target import check_options, main_version

        target = self.connect()
        self.link(context)
        desired = self.desired(image=self.image, strict=True)
        check_options(target, desired)
        attempt = self._attempt(context, target.observe(self.name), desired.config, desired.artifact)
        desired = replace(desired, attempt=attempt.id, revision=self.revision or "")
        ready = self.until_ready(lambda: target.prepare(desired, attempt.previous, self.say))
        if target.apart and (smoke := self.question()):
            ask(target, self.name, ready.version, smoke, self.say)
        previous = main_version(attempt.previous.version) if attempt.previous else ""
        self.log.info("%s: %s is ready, %s serves", self.address, ready.version, previous or "nothing")
        return {**ready.details, "version": ready.version, "previous": previous}

    def _attempt(self, context: Context, now: Observed | None, config: str, artifact: str) -> Attempt:
        """What this run set out from: what serves now, unless an earlier try has remembered it."""
        from triplane.serverless.deployment import Attempt

        run = context["dag_run"]
        name = digest([run.dag_id, run.run_id, self.task_id, self.address, config, artifact])[7:23]
        found = Attempt(id=name, previous=now, since=time.time())
        try:
            store = settings.artifact_store()
        except InputError:
            return found
        key = f"prepared/{self.scope}/{self.address}"
        data = store.get_named(key)
        if data is not None and (before := Attempt.from_json(json.loads(data))).id == name:
            return before
        store.put_named(key, json.dumps(found.to_json()).encode())
        return found


class ServerlessTrafficOperator(_Step):
    """Give a version a share of the traffic, and another one the rest.

    Returns ``{"version": ..., "percent": ...}``.

    :param version: as :class:`ServerlessPrepareOperator` returned it (templated)
    :param percent: 1 to 100; targets that cannot share between two versions take 100 alone
    :param previous: the version that keeps the rest; default is the one with the largest share now (templated)
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, "version", "previous")

    def __init__(
        self, *, version: str, percent: int = 100, previous: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.percent = percent
        self.previous = previous

    def work(self, context: Context) -> dict[str, Any]:
        """Shift, and read back who serves."""
        from triplane.serverless.target import DeployFailed, main_version

        target = self.connect()
        self.link(context)
        if not 1 <= self.percent <= 100:
            raise InputError(f"{self.name}: percent {self.percent} is not between 1 and 100")
        if self.percent < 100 and not target.splits:
            raise InputError(f"{self.name}: {self.target} cannot share its traffic between two versions")
        observed = target.observe(self.name)
        previous = observed and replace(observed, version=self.previous or main_version(observed.version))
        ready = self.until_ready(
            lambda: target.shift(self.name, self.version, self.percent, previous, self.say)
        )
        now = target.observe(self.name)
        serves = now.version if now else ""
        if self.percent == 100 and serves != self.version:
            raise DeployFailed(f"{self.name}: {self.version} should serve, but {serves or 'nothing'} does")
        self.log.info("%s: %s gets %d %% of the traffic", self.address, self.version, self.percent)
        return {**ready.details, "version": self.version, "percent": self.percent}


class ServerlessInvokeOperator(_Step):
    """Ask one version the ``smoke`` test, whether or not it has traffic; fails where the answer is wrong.

    Returns ``{"version": ..., "status": ...}``.

    :param version: as :class:`ServerlessPrepareOperator` returned it (templated)
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, "version")

    def __init__(self, *, version: str, smoke: Any, **kwargs: Any) -> None:
        super().__init__(smoke=smoke, **kwargs)
        self.version = version

    def work(self, context: Context) -> dict[str, Any]:
        """Ask, a few times where it does not answer well."""
        from triplane.serverless.deployment import ask

        self.link(context)
        smoke = self.question()
        if smoke is None:
            raise InputError(f"{self.name}: there is no `smoke` test to ask")
        answer = ask(self.connect(), self.name, self.version, smoke, self.say)
        return {"version": self.version, "status": answer.status}
