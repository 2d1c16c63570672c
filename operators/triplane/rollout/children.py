"""The parent's tasks that start one run of a cloud's DAG each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane.rollout.runs import (
    ENDED_BADLY,
    ENDED_WELL,
    LOOK_SECONDS,
    UNDER_WAY,
    check_ready,
    run_state,
    start_run,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChildRunOperator(BaseOperator):
    """Start one run of another DAG and wait for it without holding a worker slot.

    The run id is given, so that a retry or a clear of this task finds the run it started before: it waits
    on for a running one, takes the result of a finished one, and starts a failed one again (its tasks find
    what they have done already). A second run is never started.

    A DAG that is missing or paused fails the task at once, and within a minute where it is paused later.

    :param child_dag_id: the DAG to run
    :param child_run_id: the run's id (templated)
    :param conf: its configuration (templated)
    :param skip: true skips this task (templated)
    :param wait_limit: how long to wait for its end, in seconds or as a timedelta (templated). When it is over this
        task fails; what the child applies just then ends, and it begins nothing else
    :param poll_interval: seconds between looks at its state
    """

    template_fields: Sequence[str] = ("child_run_id", "conf", "skip", "wait_limit")
    template_fields_renderers = {"conf": "json"}
    ui_color = "#d9e8ff"

    def __init__(
        self,
        *,
        child_dag_id: str,
        child_run_id: str,
        conf: Any,
        skip: str | bool = False,
        wait_limit: Any = timedelta(hours=12),
        poll_interval: float = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.child_dag_id = child_dag_id
        self.child_run_id = child_run_id
        self.conf = conf
        self.skip = skip
        self.wait_limit = wait_limit
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> dict[str, str]:
        """Start or find the child run; parks until it ends."""
        if str(self.skip) == "True":
            raise AirflowSkipException("only a plan was asked for")
        state = self._state(context)
        if state == ENDED_WELL:
            self.log.info("%s %s has ended well already", self.child_dag_id, self.child_run_id)
            return self._result()
        check_ready(context, self.child_dag_id)
        if state in (None, ENDED_BADLY):
            again = state is not None
            self.log.info("Starting %s %s%s", self.child_dag_id, self.child_run_id, " again" if again else "")
            start_run(self.child_dag_id, self.child_run_id, self.conf, again=again)
        self.log.info("Waiting for %s %s", self.child_dag_id, self.child_run_id)
        return self._wait(time.time() + seconds(self.wait_limit))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, str]:
        """The child has ended, or it is time to look why it has not."""
        state = self._state(context)
        if state in UNDER_WAY:
            if event["state"] == "limit":
                raise AirflowFailException(
                    f"{self.child_dag_id} {self.child_run_id} did not end within {seconds(self.wait_limit):g} s "
                    "(release.wait_limit). What it applies now ends, and it begins nothing else; see what takes so "
                    "long, then clear this task to go on"
                )
            check_ready(context, self.child_dag_id)
            return self._wait(event["until"])
        if state != ENDED_WELL:
            raise AirflowFailException(
                f"{self.child_dag_id} {self.child_run_id} ended {state}; see its failed task, mend the cause, "
                "then clear this task to run this cloud alone again"
                if state
                else f"{self.child_dag_id} {self.child_run_id} was deleted; clear this task to start it again"
            )
        return self._result()

    def _state(self, context: Context) -> str | None:
        return run_state(context, self.child_dag_id, self.child_run_id)

    def _wait(self, until: float) -> NoReturn:
        from triplane.rollout.triggers import RunsTrigger

        self.defer(
            trigger=RunsTrigger(
                runs=[[self.child_dag_id, self.child_run_id]],
                states=UNDER_WAY,
                until=until,
                look=LOOK_SECONDS,
                poll=self.poll_interval,
            ),
            method_name="execute_complete",
        )
        raise AssertionError("defer never returns")

    def _result(self) -> dict[str, str]:
        return {"dag_id": self.child_dag_id, "run_id": self.child_run_id}


def seconds(value: Any) -> float:
    """A limit in seconds, however it was given."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
