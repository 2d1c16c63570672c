"""Holds a release until what was deployed first has proven good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context


class GateSensor(BaseOperator):
    """Let the tasks after it begin only if a URL answers well for a while. It holds no worker slot.

    Returns the verdict with its samples. Fails for good where it is not ``pass``: clear this task to judge anew.

    :param gate: ``{"url", "status", "contains", "lasting", "every"}``, times in seconds; None: nothing is judged
        (templated)
    :param skip: true skips this task (templated)
    """

    template_fields: Sequence[str] = ("gate", "skip")
    ui_color = "#e0f5e0"

    def __init__(self, *, gate: Any, skip: str | bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate = gate
        self.skip = skip

    def execute(self, context: Context) -> None:
        """Park until it is judged."""
        if str(self.skip) == "True":
            raise AirflowSkipException("nothing is deployed")
        if not self.gate:
            self.log.info("This environment has no gate")
            return
        from triplane.gates.triggers import HttpGateTrigger

        self.defer(trigger=HttpGateTrigger(**self.gate), method_name="execute_complete")

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
