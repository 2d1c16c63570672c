"""The parent's tasks around its children: collect what they planned, report what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.rollout.operators import questions
from triplane.rollout.runs import ENDED_WELL, run_state

if TYPE_CHECKING:
    from airflow.sdk import Context

NOT_RUN = (None, "skipped", "upstream_failed")
"""States of tasks that have not begun."""


class CollectOperator(BaseOperator):
    """Collect the children's change sets.

    Pushes ``{cloud: digest}`` as the XCom ``change_sets``, and returns what to ask people (see
    :class:`triplane.rollout.operators.ChangeSetOperator`).

    :param children: cloud -> what its plan task returned (templated)
    :param frozen: what the parent's freeze task returned (templated)
    :param environment: the environment (templated)
    :param ask: whether people are asked in this run (templated)
    """

    template_fields: Sequence[str] = ("children", "frozen", "environment", "ask")

    def __init__(
        self, *, children: Any, frozen: Any, environment: str, ask: str | bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.ask = ask
        self.children = children
        self.frozen = frozen
        self.environment = environment

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read each child's change set and make sure that it is of this run's source."""
        from triplane.core.approval import votes_needed

        instance: Any = context["task_instance"]
        digests: dict[str, str] = {}
        needed = 0
        for cloud, child in self.children.items():
            found = instance.xcom_pull(
                task_ids="change_set", key="change_sets", dag_id=child["dag_id"], run_id=child["run_id"]
            )
            digests[cloud] = (found or {}).get(cloud, "")
            change_set = settings.get_change_set(digests[cloud])
            if (change_set.source, change_set.environment) != (self.frozen["source"], self.environment):
                raise AirflowFailException(f"{cloud} planned another source or environment; start a new run")
            needed = max(needed, votes_needed(change_set))
            self.log.info(
                "%s: %d changes, risk %s, %s", cloud, len(change_set.changed), change_set.risk, digests[cloud]
            )
        instance.xcom_push(key="change_sets", value=digests)
        return questions(digests, needed if str(self.ask) == "True" else 0)


class ReportOperator(BaseOperator):
    """Say what became of every component in every cloud; fails if any cloud failed.

    :param clouds: cloud -> ``{"dag_id": ..., "plan_run_id": ..., "run_id": ..., "tasks": {address: [task_id]}}``,
        its planning and its applying run, and the tasks that may apply a component, in order (templated);
        ``settle_run_id`` is the run that rolled it back, where one did
    :param planned_only: true if nothing was to be applied (templated)
    :param held: cloud -> why it was held back, or its JSON (templated)
    :param notify: whom to tell how it ended, see :func:`triplane.notify.send.notify`
    """

    template_fields: Sequence[str] = ("clouds", "planned_only", "held")

    def __init__(
        self,
        *,
        clouds: Mapping[str, Any],
        planned_only: str | bool = False,
        held: Any = None,
        notify: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.notify = notify
        self.planned_only = planned_only
        self.clouds = clouds
        self.held = held

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Collect states and results, show them, fail loudly where something failed."""
        from triplane.rollout import report
        from triplane.rollout.telling import tell

        if str(self.planned_only) == "True":
            return self._planned(context)
        held, settled = self._held(), self._settled(context)
        rows: list[dict[str, Any]] = []
        for cloud, child in self.clouds.items():
            if cloud in held:
                rows += report.held(cloud, child["tasks"])
            elif settled.get("clouds", {}).get(cloud, {}).get("state") in ("rolled_back", "failed"):
                rows += self._back(context, cloud, child)
            else:
                rows += self._rows(context, cloud, child)
        for line in report.table(rows):
            self.log.info("%s", line)
        for cloud, why in held.items():
            self.log.warning("%s is %s; start a new run to ask about it again", cloud, why)
        instance: Any = context["task_instance"]
        instance.xcom_push(key="rows", value=rows)
        said = [settled["text"]] if settled.get("clouds") else []
        problems = [*said, *report.problems(rows)] or self._unfinished(context)
        tell(context, self.notify, rows, problems)
        if problems:
            raise AirflowFailException("; ".join(problems))
        return rows

    def _settled(self, context: Context) -> dict[str, Any]:
        """What the release came to; empty where the parent settles nothing."""
        instance: Any = context["task_instance"]
        return instance.xcom_pull(task_ids="settle", key="outcome") or {}

    def _back(self, context: Context, cloud: str, child: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a cloud that was rolled back: with the versions that serve now."""
        from triplane.rollout import report

        rows = self._rows(context, cloud, {**child, "run_id": child["settle_run_id"]})
        return [{**row, "state": "rolled_back"} if row["state"] in report.FINISHED else row for row in rows]

    def _unfinished(self, context: Context) -> list[str]:
        """Runs that did not end well although their components are as approved."""
        states = {
            cloud: run_state(context, child["dag_id"], child["run_id"])
            for cloud, child in self.clouds.items()
            if cloud not in self._held()
        }
        return [
            f"{cloud}: every component is as approved, but its run is {state}; see its failed task"
            for cloud, state in states.items()
            if state != ENDED_WELL
        ]

    def _held(self) -> dict[str, str]:
        return dict(json.loads(self.held) if isinstance(self.held, str) else self.held or {})

    def _planned(self, context: Context) -> list[dict[str, Any]]:
        for cloud, child in self.clouds.items():
            state = run_state(context, child["dag_id"], child["plan_run_id"])
            if state != ENDED_WELL:
                raise AirflowFailException(f"{cloud} was not planned: its run is {state or 'missing'}")
        return []

    def _rows(self, context: Context, cloud: str, child: Mapping[str, Any]) -> list[dict[str, Any]]:
        from triplane.core.change import Result
        from triplane.rollout import report

        instance: Any = context["task_instance"]
        found = run_state(context, child["dag_id"], child["run_id"])
        states: Mapping[str, Any] = {}
        if found:
            all_states = instance.get_task_states(dag_id=child["dag_id"], run_ids=[child["run_id"]])
            states = all_states.get(child["run_id"], {})
        idle = self._unchanged(instance, child) if found else {}
        rows = []
        for address, task_ids in child["tasks"].items():
            ran = [task for task in task_ids if states.get(task) not in NOT_RUN]
            if not ran and address in idle:
                rows.append(report.row(cloud, address, "success", Result.from_json(idle[address])))
                continue
            ran = ran or task_ids[:1]
            value = self._result(instance, child, ran[-1]) if found else None
            state = str(states.get(ran[-1]) or "not started")
            if isinstance(value, list):
                results = [Result.from_json(item) for item in value]
                rows += [report.row(cloud, result.address, state, result) for result in results]
            else:
                result = Result.from_json(value) if value else None
                rows.append(report.row(cloud, address, state, result))
        return rows

    def _unchanged(self, instance: Any, child: Mapping[str, Any]) -> Mapping[str, Any]:
        place = {"task_ids": "authorize", "dag_id": child["dag_id"], "run_id": child["run_id"]}
        return instance.xcom_pull(key="unchanged", **place) or {}

    def _result(self, instance: Any, child: Mapping[str, Any], task_id: str) -> Any:
        place = {"task_ids": task_id, "dag_id": child["dag_id"], "run_id": child["run_id"]}
        return instance.xcom_pull(key="result", **place) or instance.xcom_pull(**place)
