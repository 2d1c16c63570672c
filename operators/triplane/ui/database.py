"""What the page reads from Airflow's database. Callers name only DAGs that the user may read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from triplane.core.asked import ASKS
from triplane.ui.models import Run

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

RunKey = tuple[str, str]
"""The ids of a DAG and a run."""


class TaskRow(NamedTuple):
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str
    try_number: int
    started: str
    ended: str

    @property
    def place(self) -> dict[str, Any]:
        """As :mod:`triplane.core.stages` takes it."""
        return {
            "dag_id": self.dag_id,
            "dag_run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
        }


class Question(NamedTuple):
    """What a task has asked people, and what somebody has answered."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str
    subject: str
    body: str
    params: Mapping[str, Any]
    assigned: tuple[str, ...]
    expires_at: str
    responder: str
    answered_at: str
    chosen: tuple[str, ...]
    answer: Mapping[str, Any]


def recent_runs(session: Session, dag_ids: Collection[str], limit: int) -> list[Run]:
    """The newest runs of these DAGs."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    newest = select(*_run_columns()).where(DagRun.dag_id.in_(dag_ids)).order_by(DagRun.run_after.desc())
    return [_run(row) for row in session.execute(newest.limit(limit))]


def runs(session: Session, keys: Sequence[RunKey]) -> dict[RunKey, Run]:
    """These runs, as far as they are there."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select, tuple_

    rows = session.execute(
        select(*_run_columns()).where(tuple_(DagRun.dag_id, DagRun.run_id).in_(list(keys)))
    )
    return {(row.dag_id, row.run_id): _run(row) for row in rows}


def tasks(session: Session, keys: Iterable[RunKey], states: Sequence[str] | None = None) -> list[TaskRow]:
    """The task instances of these runs, those in one of ``states`` or all."""
    from airflow.models.taskinstance import TaskInstance as TI
    from sqlalchemy import select, tuple_

    columns = (TI.dag_id, TI.run_id, TI.task_id, TI.map_index, TI.state, TI.try_number, TI.start_date)
    query = select(*columns, TI.end_date).where(tuple_(TI.dag_id, TI.run_id).in_(list(keys)))
    if states is not None:
        query = query.where(TI.state.in_(states))
    return [
        TaskRow(*row[:4], str(row.state or "none"), row.try_number, _iso(row.start_date), _iso(row.end_date))
        for row in session.execute(query)
    ]


def xcoms(
    session: Session, keys: Iterable[RunKey], key: str, task_ids: Sequence[str] | None = None
) -> dict[tuple[str, str, str], Any]:
    """(DAG, run, task) -> what tasks of these runs have pushed as ``key``; of mapped tasks the first."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select, tuple_

    columns = (XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.value)
    query = select(*columns).where(
        tuple_(XComModel.dag_id, XComModel.run_id).in_(list(keys)),
        XComModel.key == key,
        XComModel.map_index <= 0,
    )
    if task_ids is not None:
        query = query.where(XComModel.task_id.in_(task_ids))
    return {(row.dag_id, row.run_id, row.task_id): _plain(row.value) for row in session.execute(query)}


def waiting(session: Session, dag_ids: Collection[str]) -> list[RunKey]:
    """The runs of these DAGs that wait for an answer, those that wait longest first."""
    from airflow.models.taskinstance import TaskInstance as TI
    from sqlalchemy import select

    rows = session.execute(
        select(TI.dag_id, TI.run_id)
        .where(TI.dag_id.in_(dag_ids), TI.state == ASKS)
        .order_by(TI.start_date, TI.dag_id, TI.run_id)
    )
    return list(dict.fromkeys((row.dag_id, row.run_id) for row in rows))


def questions(session: Session, keys: Sequence[RunKey]) -> list[Question]:
    """All that these runs have asked."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance as TI
    from sqlalchemy import select, tuple_

    rows = session.execute(
        select(TI, HITLDetail)
        .join(HITLDetail, HITLDetail.ti_id == TI.id)
        .where(tuple_(TI.dag_id, TI.run_id).in_(list(keys)))
        .order_by(TI.dag_id, TI.run_id, TI.task_id, TI.map_index)
    )
    return [_question(task, detail) for task, detail in rows]


def _plain(value: Any) -> Any:
    """An XCom's value: plain where a task has pushed it, JSON where somebody has edited it. Airflow's decoder would make
    objects of what it names, which an API server does for nobody."""
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _question(task: Any, detail: Any) -> Question:
    by = detail.responded_by or {}
    return Question(
        dag_id=task.dag_id,
        run_id=task.run_id,
        task_id=task.task_id,
        map_index=task.map_index,
        state=str(task.state or "none"),
        subject=detail.subject,
        body=detail.body or "",
        params=detail.params or {},
        assigned=tuple(str(user["id"]) for user in detail.assignees or ()),
        expires_at=_iso(task.trigger_timeout),
        responder=str(by.get("name") or by.get("id") or ""),
        answered_at=_iso(detail.responded_at),
        chosen=tuple(detail.chosen_options or ()),
        answer=detail.params_input or {},
    )


def _run_columns() -> tuple[Any, ...]:
    from airflow.models.dagrun import DagRun

    names = ("dag_id", "run_id", "_state", "start_date", "end_date", "conf", "triggering_user_name")
    return tuple(getattr(DagRun, name) for name in names)


def _run(row: Any) -> Run:
    conf = row.conf if isinstance(row.conf, Mapping) else {}
    usual = "check" if row.dag_id.endswith("drift_check") else "deploy"
    action = "plan" if conf.get("dry_run") else str(conf.get("action") or usual)
    return Run(
        dag_id=row.dag_id,
        run_id=row.run_id,
        environment=str(conf.get("environment") or ""),
        action=action,
        state=str(row[2] or ""),
        started=_iso(row.start_date),
        ended=_iso(row.end_date),
        by=row.triggering_user_name or "",
    )


def _iso(value: datetime | None) -> str:
    return value.isoformat() if value else ""
