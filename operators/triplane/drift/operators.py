"""Collects the checks of one drift run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane.drift import report

if TYPE_CHECKING:
    from airflow.sdk import Context


class DriftReportOperator(BaseOperator):
    """Put all checks of a run into one report; fails if a check could not run.

    Drift itself is a finding, not a failure: the task succeeds and the report says what drifted.

    :param checks: task id of a check -> addresses that it answers for
    :param notify: whom to tell of drift that is new and of drift that is gone, see
        :func:`triplane.notify.send.notify`
    """

    ui_color = "#e8f5e9"

    def __init__(
        self,
        *,
        checks: Mapping[str, Sequence[str]],
        notify: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.checks = checks
        self.notify = notify

    def execute(self, context: Context) -> dict[str, Any]:
        """Read every check's result, show them all."""
        instance: Any = context["task_instance"]
        pulled = instance.xcom_pull(task_ids=list(self.checks))
        answers = [check for batch in pulled if batch for check in batch]
        found = report.summary(answers, [address for batch in self.checks.values() for address in batch])
        for line in report.lines(found):
            self.log.info("%s", line)
        instance.xcom_push(key="report", value=found)
        self._tell(context, found["components"])
        unknown = [item["address"] for item in found["components"] if item["state"] == report.UNKNOWN]
        if unknown:
            raise AirflowFailException(
                f"not checked: {', '.join(unknown)}; the report says why. Not in sync until shown otherwise"
            )
        return found

    def _tell(self, context: Context, components: Sequence[Mapping[str, Any]]) -> None:
        if not self.notify:
            return
        from triplane.notify.links import run_link
        from triplane.notify.send import notify
        from triplane.notify.summaries import drift_messages

        run: Any = context["dag_run"]
        environment = str(context["params"]["environment"])
        link = run_link(run.dag_id, run.run_id)
        for message in drift_messages(components, environment=environment, thread=run.run_id, link=link):
            notify(self.notify, message)
