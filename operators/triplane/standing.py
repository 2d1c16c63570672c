"""Whether a run may still begin what it was approved for: its parent waits for it, and the environment is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triplane import settings
from triplane.core.errors import RefusedError, TransientError

if TYPE_CHECKING:
    from triplane.core.change import ChangeSet
    from triplane.core.turns import Run

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


def parent_of(run: Any, cloud: str) -> tuple[Run, str] | None:
    """The run that started ``run`` to apply or to undo in ``cloud``, and its task that waits; None for another run."""
    from triplane.core.runs import apply_run_id, settle_run_id
    from triplane.core.turns import Run

    given = getattr(run, "conf", None) or {}
    for key, task, child in (
        ("approved", f"apply.{cloud}", apply_run_id),
        ("undo", "settle", settle_run_id),
    ):
        found = given.get(key) or {}
        parent, dag_id = found.get("run_id"), found.get("dag_id")
        if parent and dag_id and run.run_id == child(parent, cloud):
            return Run(dag_id, parent), task
    return None


def check_parent(context: Any, cloud: str) -> None:
    """Make sure that the parent run, if there is one, still waits for this run.

    :raises RefusedError: it was cancelled, or waits no more
    """
    found = parent_of(context["dag_run"], cloud)
    if found is None:
        return
    parent, task = found
    states = context["task_instance"].get_task_states(
        dag_id=parent.dag_id, run_ids=[parent.run_id], task_ids=[task]
    )
    state = str(getattr(value := states.get(parent.run_id, {}).get(task), "value", value))
    if state in ENDED or parent.run_id not in states:
        raise RefusedError(
            f"{parent} does not wait for this any more: its task {task} is {state}. What was running has ended, "
            f"nothing else is begun; clear {task} there to go on with the same approval while it holds"
        )


def running(instance: Any, run: Run) -> bool:
    """Whether a run goes on. One that Airflow has only queued holds nobody up."""
    return bool(instance.get_dr_count(dag_id=run.dag_id, run_ids=[run.run_id], states=["running"]))


def begin(context: Any, change_set: ChangeSet) -> None:
    """Say that this run, or its parent, begins to apply; from then on nothing supersedes it.

    :raises RefusedError: a newer run has taken its place, another run has the turn, or its release was rolled back
    """
    from triplane.core import turns
    from triplane.core.undo import settlement

    run, instance = context["dag_run"], context["task_instance"]
    found = parent_of(run, change_set.cloud)
    own = found[0] if found else turns.Run(run.dag_id, run.run_id)
    if found and not change_set.undoes:
        entries = settings.ledger(f"{change_set.environment}/{change_set.cloud}").entries()
        if settlement(entries, own.run_id):
            raise RefusedError(
                f"{own} was rolled back because another cloud failed, so its approval is used up; start a new run"
            )
    ledger = settings.ledger(turns.scope(change_set.environment))
    for _ in range(20):
        known = ledger.entries()
        state = turns.Turns(known)
        if newer := state.superseded_by(own):
            raise RefusedError(
                f"{newer} has taken the place of this run: nothing of this one is applied any more"
            )
        if others := state.since(own, lambda other: running(instance, other)):
            raise RefusedError(
                f"{others[0]} has taken its turn in {change_set.environment} since, and still runs; "
                "clear this task when that has ended"
            )
        if state.applying(own) or ledger.append_after(known, turns.APPLYING, own.body()):
            return
    raise TransientError(f"the ledger of {ledger.scope} is busy; try again")
