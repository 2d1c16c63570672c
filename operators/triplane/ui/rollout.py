"""A run while it goes on: its tasks and those of the runs that it has started, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from triplane.core.stages import CHILD, EVERYWHERE, cloud_of, rank, stage_of
from triplane.core.words import CLOUDS
from triplane.ui import database
from triplane.ui.database import TaskRow
from triplane.ui.inventory import Inventory
from triplane.ui.models import Rollout, Run, Shift, Task, Traffic

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

TRAFFIC = "traffic"


def rollout(session: Session, found: Inventory, run: Run) -> Rollout:
    """What the run and its children are at."""
    keys = found.family(run.dag_id, run.run_id)
    tasks = [task(row, found) for row in shown(database.tasks(session, keys))]
    tasks.sort(key=lambda item: (rank(item.stage), item.cloud, item.task_id, item.map_index))
    seen = {item.cloud for item in tasks}
    pushed = database.xcoms(session, keys, TRAFFIC)
    return Rollout(
        run=run,
        clouds=tuple(cloud for cloud in (EVERYWHERE, *CLOUDS) if cloud in seen),
        stages=tuple(dict.fromkeys(item.stage for item in tasks)),
        tasks=tuple(tasks),
        traffic=tuple(_traffic(pushed, found)),
    )


def task(row: TaskRow, found: Inventory) -> Task:
    """A task instance as it is shown."""
    dag = found.of(row.dag_id)
    return Task(
        dag_id=row.dag_id,
        run_id=row.run_id,
        task_id=row.task_id,
        map_index=row.map_index,
        cloud=cloud_of(row.place),
        stage=stage_of(row.place),
        state=row.state,
        attempt=row.try_number,
        started=row.started,
        ended=row.ended,
        address=dag.addresses.get(row.task_id, "") if dag else "",
    )


def shown(rows: list[TaskRow]) -> Iterable[TaskRow]:
    """Without the tasks that only wait for runs that are there themselves."""
    children = {(match[2], match[1]) for row in rows if (match := CHILD.search(row.run_id))}
    for row in rows:
        parts = tuple(row.task_id.split("."))
        if CHILD.search(row.run_id) or parts not in children:
            yield row


def _traffic(pushed: Mapping[tuple[str, str, str], Any], found: Inventory) -> Iterable[Traffic]:
    for (dag_id, _, task_id), value in pushed.items():
        dag = found.of(dag_id)
        if dag and isinstance(value, list):
            shifts = (
                Shift(at=item["at"], version=item["version"], percent=item["percent"]) for item in value
            )
            yield Traffic(address=dag.addresses.get(task_id, task_id), shifts=tuple(shifts))
