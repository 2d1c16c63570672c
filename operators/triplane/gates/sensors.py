"""Holds a deployment until what was deployed before has proven good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import metrics

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.gates.asking import Question
    from triplane.gates.verdict import Verdict


class GateSensor(BaseOperator):
    """Let the tasks after it begin only if all checks are good for a while. It holds no worker slot.

    Returns the verdict with its samples. Fails for good where it is not ``pass``: clear this task to judge anew. A check
    with ``no_data: ask`` asks a person instead where it has no data; the signed answer is the XCom ``waiver``.

    :param checks: a list of ``{"name", "source", "query", "at_most", "at_least", "against", "by", "baseline", "lasting",
        "every", "no_data", "patience"}``, see :class:`triplane.gates.check.Check`; none: nothing is judged (templated)
    :param before: the moment that checks against the value before compare with, in seconds since 1970 or as ISO 8601;
        default is when this task began (templated)
    :param ask: for checks with ``no_data: ask``: ``{"approvers": [], "within": 86400, "requester_may_approve": false,
        "notify": []}``, see :class:`triplane.core.waiver.Terms` (templated)
    :param scopes: the ledgers (``<environment>/<cloud>``) that answers are written to (templated)
    :param skip: true skips this task (templated)
    :param deferrable: false watches in the worker
    """

    template_fields: Sequence[str] = ("checks", "before", "ask", "scopes", "skip")
    ui_color = "#e0f5e0"

    def __init__(
        self,
        *,
        checks: Any,
        before: str | float | None = None,
        ask: Any = None,
        scopes: Sequence[str] = (),
        skip: str | bool = False,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.checks = checks
        self.before = before
        self.ask = ask or {}
        self.scopes = scopes
        self.skip = skip
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Park until it is judged."""
        from triplane.core.errors import TerminalError
        from triplane.gates import asking
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
            asking.ready(self.checks, self.ask)
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error
        plain = [check.to_json() for check in checks]
        trigger = GateTrigger(checks=plain, begun=time.time(), before=before)
        if self.deferrable:
            self.defer(trigger=trigger, method_name="execute_complete")
        return self.execute_complete(context, asyncio.run(trigger.verdict()).to_json())

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """It is judged; without data a person may be asked."""
        from triplane.gates import asking
        from triplane.gates.verdict import Verdict

        verdict = Verdict.from_json(event)
        if verdict.asks:
            self.log.warning("No data, so a person is asked: %s", verdict.reason)
            verdict = asking.ask(context, self._question(verdict), method="answered", kwargs={})
        return self._decided(context, verdict)

    def answered(
        self, context: Context, event: Mapping[str, Any], verdict: Mapping[str, Any], asked_at: str
    ) -> dict[str, Any]:
        """Somebody has answered, or nobody in time."""
        from triplane.gates import asking
        from triplane.gates.verdict import Verdict

        question = self._question(Verdict.from_json(verdict))
        found, waiver = asking.answered(context, question, event, asked_at)
        if waiver is not None:
            context["task_instance"].xcom_push(key="waiver", value=waiver.to_json())
        return self._decided(context, found)

    def _question(self, verdict: Verdict) -> Question:
        from triplane.gates.asking import Question

        return Question(gate=self.task_id, verdict=verdict, terms=self.ask, scopes=self.scopes)

    def _decided(self, context: Context, verdict: Verdict) -> dict[str, Any]:
        metrics.verdict(self.task_id, verdict.counted)
        if not verdict.goes_on:
            context["task_instance"].xcom_push(key="verdict", value=verdict.to_json())
            raise AirflowFailException(
                f"the gate did not pass ({verdict.state}): {verdict.reason}. What comes after it is not deployed"
            )
        self.log.info("The gate %s", verdict.told)
        return verdict.to_json()
