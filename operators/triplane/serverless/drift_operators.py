"""Look for drift in a cloud's functions, in one task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.core.errors import TriplaneError
from triplane.serverless.operators import ServerlessOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.drift import Check
    from triplane.serverless.target import Observed, Target

WORKERS = 4


class ServerlessDriftBatchOperator(BaseOperator):
    """Compare functions and serverless containers with what was deployed, changing nothing.

    Returns one entry for each, see :class:`triplane.core.drift.Check`. One that could not be checked is ``unknown``
    with the reason; it does not keep the others from their answers.

    :param functions: for each the arguments of a :class:`ServerlessOperator`, without ``image``; ``ignore`` as for
        stacks (templated)
    """

    template_fields: Sequence[str] = ("functions",)
    ui_color = "#fdebd3"

    def __init__(self, *, functions: Sequence[Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.functions = functions
        self.stopped = False

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check them all. What needs Airflow is looked up first, here; the rest is reading from the cloud."""
        from concurrent.futures import ThreadPoolExecutor

        checks = [_One(self, dict(arguments)) for arguments in self.functions]
        with ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(_One.run, checks))
        if self.stopped:
            raise AirflowFailException("stopped before everything was checked")
        return [result.to_json() for result in results]

    def on_kill(self) -> None:
        """Begin nothing more; what is being read ends by itself."""
        self.stopped = True


class _One:
    """One function of a batch, with everything looked up that needs Airflow."""

    def __init__(self, batch: ServerlessDriftBatchOperator, arguments: dict[str, Any]) -> None:
        from triplane.serverless.drift import kept_key, pending

        self.batch = batch
        self.ignore = arguments.pop("ignore", ())
        self.operator = ServerlessOperator(task_id=f"{batch.task_id}-check", **arguments)
        self.before: dict[str, Any] | None = None
        self.kept: dict[str, Any] | None = None
        self.target: Target | None = None
        self.pending, self.error = "it was never deployed", ""
        try:
            self.before = _named(self._memory)
            self.kept = _named(kept_key(self.operator.scope, self.operator.address))
            self.target = self.operator.connect()
            if self.kept is not None:
                image = None if self.operator.path else self.kept["artifact"]
                self.pending = pending(self.kept, self.operator.desired(image=image, strict=False))
        except Exception as error:  # a connection that is missing or refused is this function's alone
            self.error = _said(error)

    def run(self) -> Check:
        from triplane.core.drift import unknown

        address = self.operator.address
        try:
            if self.batch.stopped:
                self.error = "stopped before it was checked"
            if not self.error:
                return self._judged()
        except Exception as error:
            self.error = _said(error)
        said = settings.redactor()(self.error)
        self.batch.log.error("%s: not checked: %s", address, said)
        return unknown(address, said, self.before)

    def _judged(self) -> Check:
        from triplane.core.drift import Ignore, judge, memory
        from triplane.serverless.drift import findings

        assert self.target is not None
        name, address = self.operator.name, self.operator.address
        observed: Observed | None = self.target.observe(name) if self.kept else None
        found = findings(name, self.kept, observed) if self.kept else []
        rules = [Ignore.from_json(rule) for rule in self.ignore]
        check = judge(address, found, pending=self.pending, ignores=rules, before=self.before)
        settings.artifact_store().put_named(self._memory, json.dumps(memory(check)).encode())
        for item in check.resources:
            names = ", ".join(attribute["name"] for attribute in item["attributes"]) or item["action"]
            self.batch.log.warning("%s: drifted: %s: %s", address, item["address"], names)
        self.batch.log.info("%s: %s %s", address, check.state, check.pending)
        return check

    @property
    def _memory(self) -> str:
        return f"drift/{self.operator.scope}/{self.operator.address}"


def _named(name: str) -> dict[str, Any] | None:
    data = settings.artifact_store().get_named(name)
    found: dict[str, Any] | None = None if data is None else json.loads(data)
    return found


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, TriplaneError) else f"{type(error).__name__}: {error}"
