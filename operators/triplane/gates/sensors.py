"""Holds a deployment until what was deployed before has proven good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context


class GateSensor(BaseOperator):
    """Let the tasks after it begin only if all checks are good for a while. It holds no worker slot.

    Returns the verdict with its samples. Fails for good where it is not ``pass``: clear this task to judge anew.

    :param checks: a list of ``{"name", "source", "query", "at_most", "at_least", "against", "by", "baseline", "lasting",
        "every", "no_data", "patience"}``, see :class:`triplane.gates.check.Check`; none: nothing is judged (templated)
    :param before: the moment that checks against the value before compare with, in seconds since 1970 or as ISO 8601;
        default is when this task began (templated)
    :param skip: true skips this task (templated)
    :param deferrable: false watches in the worker
    """

    template_fields: Sequence[str] = ("checks", "before", "skip")
    ui_color = "#e0f5e0"

    def __init__(
        self,
        *,
        checks: Any,
        before: str | float | None = None,
        skip: str | bool = False,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.checks = checks
        self.before = before
        self.skip = skip
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Park until it is judged."""
        from triplane.core.errors import InputError
        from triplane.gates.check import Check
        from triplane.gates.triggers import GateTrigger
        from triplane.gates.watch import moment

        if str(self.skip) == "True":
            raise AirflowSkipException("nothing is deployed")
        if not self.checks:
            self.log.info("This environment has no gate")
            return None
        try:
            checks, before = [Check.from_json(check) for check in self.checks], moment(self.before)
        except InputError as error:
            raise AirflowFailException(str(error)) from error
        plain = [check.to_json() for check in checks]
        trigger = GateTrigger(checks=plain, begun=time.time(), before=before)
        if self.deferrable:
            self.defer(trigger=trigger, method_name="execute_complete")
        return self.execute_complete(context, asyncio.run(trigger.verdict()).to_json())

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """It is judged."""
        from triplane.gates.verdict import Verdict

        verdict = Verdict.from_json(event)
        if not verdict.passed:
            context["task_instance"].xcom_push(key="verdict", value=verdict.to_json())
            raise AirflowFailException(
                f"the gate did not pass ({verdict.state}): {verdict.reason}. What comes after it is not deployed"
            )
        self.log.info("The gate passed: %s", verdict.reason)
        return verdict.to_json()
