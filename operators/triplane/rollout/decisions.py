"""Where the signed answers of people are: in the run that asked them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.approval import Decision
    from triplane.core.change import ChangeSet

MOST_VOTES = 20


def find_decisions(context: Context, dag_id: str, run_id: str, task_id: str = "approval") -> list[Decision]:
    """The answers of all who were asked in a run, in order."""
    from triplane.core.approval import Decision

    instance: Any = context["task_instance"]
    found: list[Decision] = []
    while len(found) < MOST_VOTES:
        place = {"task_ids": task_id, "dag_id": dag_id, "run_id": run_id}
        value = instance.xcom_pull(**place, map_indexes=len(found))
        if not value:
            break
        found.append(Decision.from_json(value))
    return found


def release_decisions(context: Context, change_set: ChangeSet, undo: Any) -> list[Decision]:
    """The answers about the release that ``change_set`` undoes; ``undo`` names the run that asked."""
    from triplane import settings
    from triplane.core.approval import votes_needed

    if not change_set.undoes or not undo:
        return []
    original = settings.get_change_set(change_set.undoes["change_set"])
    return find_decisions(context, undo["dag_id"], undo["run_id"]) if votes_needed(original) else []
