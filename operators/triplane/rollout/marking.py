"""What a rollout leaves in monitoring when it has ended: marks, and Triplane's own metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from triplane import metrics, settings
from triplane.rollout.operators import CHANGED, found_result

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ChangeSet
    from triplane.core.store import ArtifactStore
    from triplane.gates.markers import Outcome


def mark(
    places: Sequence[Mapping[str, Any]],
    change_set: ChangeSet,
    results: Sequence[Mapping[str, Any]],
    run: Any,
    log: Callable[[str], None],
    outcome: Outcome = "succeeded",
) -> None:
    """Write the rollout of ``run`` to each place, if it changed anything or failed. A mark that cannot be written fails no
    rollout."""
    from triplane.gates.markers import Marker, write

    changed = [result for result in results if result["state"] in CHANGED]
    if not changed and outcome == "succeeded":
        return
    marker = Marker(
        platform=change_set.platform,
        environment=change_set.environment,
        cloud=change_set.cloud,
        revision=change_set.revision,
        run_id=run.run_id,
        intent=change_set.intent,
        outcome=outcome,
        changed=len(changed),
        seconds=sum(float(result.get("seconds") or 0.0) for result in changed),
        at=time.time(),
    )
    metrics.rollout(marker.labels, run.start_date, results)
    for place in places:
        try:
            write(place, marker)
            log(f"Marked in {place['kind']}: {marker.said}")
        except (
            Exception
        ) as error:  # a connection that is missing, for example: each kind has errors of its own
            log(f"No mark in {place['kind']}: {settings.redactor()(str(error))}")


class FailureMarker(BaseNotifier):
    """Marks a rollout in which a component could not be applied: for all tasks, the first that fails does.

    Its outcome is that of this component: ``rolled_back`` where what served before serves again, else ``failed``.

    :param places: see :mod:`triplane.gates.markers`
    :param tasks: address -> the tasks that may apply the component
    """

    def __init__(
        self, *, places: Sequence[Mapping[str, Any]], tasks: Mapping[str, Sequence[str]], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.places = places
        self.tasks = tasks

    def notify(self, context: Context) -> None:
        """Mark it, unless that is done already, or nothing was applied yet."""
        instance: Any = context["task_instance"]
        run: Any = context["dag_run"]
        own = next((ids for ids in self.tasks.values() if instance.task_id in ids), None)
        digest = instance.xcom_pull(task_ids="authorize", key="change_set") if own else None
        if own is None or not digest:
            return
        change_set = settings.get_change_set(digest)
        if not _first(settings.artifact_store(), change_set, run.run_id):
            return
        found = [found_result(instance, task_ids) for task_ids in self.tasks.values()]
        results = [result for result in found if isinstance(result, Mapping)]
        mine = found_result(instance, own) or {}
        outcome: Outcome = "rolled_back" if mine.get("state") == "rolled_back" else "failed"
        mark(self.places, change_set, results, run, self.log.info, outcome)


def _first(store: ArtifactStore, change_set: ChangeSet, run_id: str) -> bool:
    name = f"marked/{change_set.environment}/{change_set.cloud}/{run_id}"
    return store.create_named(name, b"failed")
