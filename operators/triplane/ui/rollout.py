"""A run while it goes on: its tasks and those of the runs that it has started, stage by stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from triplane.core.stages import CHILD, EVERYWHERE, cloud_of, rank, shown, stage_of
from triplane.core.words import CLOUDS
from triplane.ui import database
from triplane.ui.database import TaskRow
from triplane.ui.inventory import Inventory
from triplane.ui.models import Place, Rollout, Run, Shift, Task, Traffic

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

TRAFFIC = "traffic"
ENDED = ("success", "failed", "upstream_failed", "skipped")


def rollout(session: Session, found: Inventory, run: Run) -> Rollout:
    """What the run and its children are at."""
    keys = found.family(run.dag_id, run.run_id)
    rows = database.tasks(session, keys)
    waits = {place for row in rows if (place := waiting_task(row)) and place.dag_id in found.dag_ids}
    parents = database.tasks(session, {(place.dag_id, place.run_id) for place in waits}, ENDED)
    gone = {place for row in parents if (place := place_of(row)) in waits}
    tasks = [task(row, found, gone) for row in shown(rows, lambda row: row.place)]
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


def place_of(row: TaskRow) -> Place:
    """Where a row stands."""
    return Place(dag_id=row.dag_id, run_id=row.run_id, task_id=row.task_id, map_index=row.map_index)


def waiting_task(row: TaskRow) -> Place | None:
    """The task of the parent's run that waits for the run of this row; None for a run that no other has started."""
    match = CHILD.search(row.run_id)
    if match is None:
        return None
    cloud, kind = match.groups()
    return Place(
        dag_id=row.dag_id.removesuffix(f"_{cloud}"),
        run_id=row.run_id[: match.start()],
        task_id="settle" if kind == "settle" else f"{kind}.{cloud}",
    )


def task(row: TaskRow, found: Inventory, gone: Collection[Place] = ()) -> Task:
    """A task instance as it is shown. ``gone`` are the parents' tasks that do not wait any more: nothing is applied for
    them, so it is they who are tried again."""
    dag, waits = found.of(row.dag_id), waiting_task(row)
    retry = waits if waits in gone else place_of(row)
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
        retry=retry if row.state == "failed" else None,
    )


def _traffic(pushed: Mapping[tuple[str, str, str], Any], found: Inventory) -> Iterator[Traffic]:
    """What deployments have told; an XCom that somebody else wrote is left out."""
    for (dag_id, _, task_id), value in pushed.items():
        dag = found.of(dag_id)
        with suppress(ValidationError):
            shifts = TypeAdapter(tuple[Shift, ...]).validate_python(value)
            yield Traffic(address=dag.addresses.get(task_id, task_id) if dag else task_id, shifts=shifts)
