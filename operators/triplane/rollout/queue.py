"""Runs that deploy to the same environment go one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings, standing
from triplane.core import turns
from triplane.core.errors import TransientError
from triplane.rollout.runs import check_ready

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.ledger import Entry


class QueueOperator(BaseOperator):
    """Wait for this run's turn in an environment, without a worker slot.

    Turns are taken in the order in which runs asked for them. A run that has ended, however it did, holds nobody up.
    Fails at once where a DAG that will be needed is missing or paused.

    :param environment: the environment (templated)
    :param deploys: false for a run that changes nothing: it waits for nobody (templated)
    :param supersede: whether this run takes the place of older ones that have applied nothing yet (templated)
    :param children: DAGs that this run will start
    :param poll_interval: seconds between looks at the runs before this one
    """

    template_fields: Sequence[str] = ("environment", "deploys", "supersede")
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        environment: str,
        deploys: str | bool = True,
        supersede: Any = False,
        children: Sequence[str] = (),
        poll_interval: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.deploys = deploys
        self.supersede = supersede
        self.children = children
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> None:
        """Take the turn, or park until it may be there."""
        for dag_id in self.children:
            check_ready(context, dag_id)
        if str(self.deploys) == "True":
            self._take_turn(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:
        """A run before this one has ended."""
        self.execute(context)

    def _take_turn(self, context: Context) -> None:
        run: Any = context["dag_run"]
        instance: Any = context["task_instance"]
        own = turns.Run(run.dag_id, run.run_id)
        ledger = settings.ledger(turns.scope(self.environment))

        def running(other: turns.Run) -> bool:
            return standing.running(instance, other)

        for _ in range(50):
            known = ledger.entries()
            state = turns.Turns(known)
            if newer := state.superseded_by(own):
                raise AirflowFailException(
                    f"{newer} has taken the place of this run, before it began to apply"
                )
            added: Entry | None
            if not state.asked(own):
                ledger.append_after(known, turns.ASKED, own.body())
            elif str(self.supersede) == "True" and (older := state.supersedable(own, running)):
                added = ledger.append_after(known, turns.SUPERSEDED, older[0].body(by=str(own)))
                if added:
                    self.log.info("This run takes the place of %s", older[0])
            elif others := state.before(own, running):
                self.log.info("Waiting for %s", ", ".join(map(str, others)))
                self._wait(others)
            elif ledger.append_after(known, turns.TAKEN, own.body()):
                return
        raise TransientError(f"the ledger of {ledger.scope} is busy; try again")

    def _wait(self, others: Sequence[turns.Run]) -> NoReturn:
        from triplane.rollout.triggers import RunsTrigger

        self.defer(
            trigger=RunsTrigger(
                runs=[[other.dag_id, other.run_id] for other in others],
                states=["running"],
                poll=self.poll_interval,
            ),
            method_name="execute_complete",
        )
        raise AssertionError("defer never returns")
