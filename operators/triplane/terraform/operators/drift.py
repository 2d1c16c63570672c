"""Look for drift: one stack, or many side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from triplane import settings
from triplane.checking import CheckingOperator, Component, memory_of, named, remember, run_of, tell
from triplane.terraform.operators.base import TerraformOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.drift import Check, Ignore
    from triplane.terraform.stack import Source


class TerraformDriftOperator(TerraformOperator):
    """Compare a stack's code, state and real resources, changing none of them.

    Returns ``{"address", "state", "resources", ...}``, see :class:`triplane.core.drift.Check`. A check that could not
    run fails the task: it never says ``in_sync``.

    :param ignore: drift that is accepted: ``{"resource", "attribute", "reason", "until"}``, globs and a date
    """

    def __init__(self, *, ignore: Sequence[Mapping[str, Any]] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore = ignore

    def work(self, context: Context) -> dict[str, Any]:
        """Plan, and tell drift from what is pending."""
        from triplane.core import deployed
        from triplane.core.drift import Ignore

        known = self.address in deployed.read(settings.artifact_store(), self.scope)
        rules, memory, run = (
            [Ignore.from_json(rule) for rule in self.ignore],
            memory_of(self),
            run_of(context),
        )
        given = (self.stack_source(), self.secret_variables(), self.plain_variables())
        check = self.judged(*given, deployed=known, ignores=rules, before=named(memory), run=run)
        remember(memory, check, run)
        tell(self.log, check)
        return check.to_json()

    def judged(
        self,
        source: Source,
        secrets: Mapping[str, str],
        variables: Mapping[str, Any],
        *,
        deployed: bool,
        ignores: Sequence[Ignore],
        before: Mapping[str, Any] | None,
        run: str,
    ) -> Check:
        """The stack's answer, see :func:`triplane.terraform.drift.judge`. :raises TriplaneError: it could not be checked"""
        from triplane.terraform.drift import judge

        with self.opened(source, secrets) as stack:
            plan = stack.look(variables)
            return judge(self.address, plan, deployed=deployed, ignores=ignores, before=before, run=run)


class _Stack(Component):
    """One stack of a batch, with everything looked up that needs Airflow."""

    operator: TerraformDriftOperator
    given: tuple[Source, Mapping[str, str], Mapping[str, Any]]

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> TerraformDriftOperator:
        return TerraformDriftOperator(task_id=task_id, **arguments)

    def look_up(self, stack: ExitStack) -> None:
        each = self.operator
        self.given = (each.stack_source(), each.secret_variables(), each.plain_variables())
        each.credentials()
        each.binary()

    def judged(self, ignores: Sequence[Ignore], before: Mapping[str, Any] | None, run: str) -> Check:
        """By a plan, which tells drift from what is pending by itself."""
        return self.operator.judged(
            *self.given, deployed=self.was_deployed, ignores=ignores, before=before, run=run
        )


class TerraformDriftBatchOperator(CheckingOperator):
    """Check many stacks for drift, a few at a time, see :class:`triplane.checking.CheckingOperator`.

    :param components: the arguments of one :class:`TerraformDriftOperator` for each stack (templated)
    :param workers: how many are checked at a time, by default one for each processor
    """

    ui_color = "#e8e4f8"
    component = _Stack

    def __init__(self, *, workers: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workers = workers or os.cpu_count() or 2

    def on_kill(self) -> None:
        """Interrupt what runs, and begin nothing more."""
        from triplane.core.process import stop_all

        super().on_kill()
        stop_all()
