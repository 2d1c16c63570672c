"""Look for drift: one stack, or many side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.checking import run_of
from triplane.core.errors import TriplaneError
from triplane.terraform.operators.base import TerraformOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.drift import Check
    from triplane.terraform.stack import Source, Stack


class TerraformDriftOperator(TerraformOperator):
    """Compare a stack's code, state and real resources, changing none of them.

    Returns ``{"address", "state", "resources", ...}``, see :class:`triplane.core.drift.Check`. A check that could not
    run fails the task: it never says ``in_sync``.

    :param ignore: drift that is accepted: ``{"resource", "attribute", "reason", "until"}``, globs and a date
    """

    def __init__(self, *, ignore: Sequence[Mapping[str, Any]] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore = ignore
        self.deployed = False
        self.run_id = ""

    def work(self, context: Context) -> dict[str, Any]:
        """Plan, and tell drift from what is pending."""
        from triplane.core import deployed

        self.run_id = run_of(context)
        self.deployed = self.address in deployed.read(settings.artifact_store(), self.scope)
        check = self.check(self.stack_source(), self.secret_variables(), self.plain_variables())
        self.remember(check)
        return check.to_json()

    def check(self, source: Source, secrets: Mapping[str, str], variables: Mapping[str, Any]) -> Check:
        """The stack's answer. :raises TriplaneError: it could not be checked"""
        with self.opened(source, secrets) as stack:
            check = self._judge(stack, variables)
        for item in check.resources:
            names = ", ".join(attribute["name"] for attribute in item["attributes"]) or item["action"]
            self.log.warning("%s: drifted: %s: %s", self.address, item["address"], names)
        self.log.info("%s: %s %s", self.address, check.state, check.pending)
        return check

    def remember(self, check: Check) -> None:
        """Keep what the next check has to know."""
        from triplane.core.drift import memory

        settings.artifact_store().put_named(self._kept, json.dumps(memory(check, self.run_id)).encode())

    def recall(self) -> dict[str, Any]:
        """What the last good check kept, nothing if there was none."""
        kept = settings.artifact_store().get_named(self._kept)
        return {} if kept is None else json.loads(kept)

    def _judge(self, stack: Stack, variables: Mapping[str, Any]) -> Check:
        from triplane.core.drift import Ignore
        from triplane.terraform.drift import judge

        plan = stack.look(variables)
        ignores = [Ignore.from_json(rule) for rule in self.ignore]
        return judge(
            self.address,
            plan,
            deployed=self.deployed,
            ignores=ignores,
            before=self.recall(),
            run=self.run_id,
        )

    @property
    def _kept(self) -> str:
        return f"drift/{self.scope}/{self.address}"


class TerraformDriftBatchOperator(BaseOperator):
    """Check many stacks for drift, a few at a time.

    Returns one entry for each stack, as :class:`TerraformDriftOperator` does. A stack that could not be checked
    is ``unknown``, with its error and the time of the last good check; it does not keep the others from their
    answers.

    :param stacks: the arguments of one :class:`TerraformDriftOperator` for each stack (templated)
    :param workers: how many are checked at a time, by default one for each processor
    """

    template_fields: Sequence[str] = ("stacks",)
    ui_color = "#e8e4f8"

    def __init__(
        self, *, stacks: Sequence[Mapping[str, Any]], workers: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.stacks = stacks
        self.workers = workers
        self.stopped = False
        self.run_id = ""
        self.known: dict[str, dict[str, Any]] = {}

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check them all. What needs Airflow is looked up first, here; the rest is Terraform's work."""
        from concurrent.futures import ThreadPoolExecutor

        self.run_id = run_of(context)
        checks = [_One(self, stack) for stack in self.stacks]
        with ThreadPoolExecutor(self.workers or os.cpu_count() or 2) as pool:
            results = list(pool.map(_One.run, checks))
        if self.stopped:
            raise AirflowFailException("stopped before every stack was checked")
        return [result.to_json() for result in results]

    def was_deployed(self, scope: str, address: str) -> bool:
        """Whether a rollout has made the stack and none has destroyed it."""
        from triplane.core import deployed

        if scope not in self.known:
            self.known[scope] = deployed.read(settings.artifact_store(), scope)
        return address in self.known[scope]

    def on_kill(self) -> None:
        """Interrupt what runs, and begin nothing more."""
        from triplane.core.process import stop_all

        self.stopped = True
        stop_all()


class _One:
    """One stack of a batch, with everything looked up that needs Airflow."""

    def __init__(self, batch: TerraformDriftBatchOperator, arguments: Mapping[str, Any]) -> None:
        self.batch = batch
        self.operator = TerraformDriftOperator(task_id=f"{batch.task_id}-check", **arguments)
        self.error = ""
        self.before: Mapping[str, Any] | None = None
        try:
            self.before = self.operator.recall()
            self.operator.run_id = batch.run_id
            self.operator.deployed = batch.was_deployed(self.operator.scope, self.operator.address)
            self.needed = (
                self.operator.stack_source(),
                self.operator.secret_variables(),
                self.operator.plain_variables(),
            )
            self.operator.credentials()
            self.operator.binary()
        except Exception as error:  # a connection that is missing or refused is this stack's alone
            self.error = _said(error)

    def run(self) -> Check:
        from triplane.core.drift import unknown

        address = self.operator.address
        if self.batch.stopped:
            return unknown(address, "stopped before it was checked", self.before)
        try:
            if not self.error:
                check = self.operator.check(*self.needed)
                self.operator.remember(check)
                return check
        except Exception as error:
            self.error = _said(error)
        said = settings.redactor()(self.error)
        self.batch.log.error("%s: not checked: %s", address, said)
        return unknown(address, said, self.before)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, TriplaneError) else f"{type(error).__name__}: {error}"
