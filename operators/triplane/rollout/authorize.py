"""The task that lets through what people approved, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import authorized, settings, standing
from triplane.core.errors import RefusedError, StaleError, TerminalError
from triplane.rollout.decisions import find_decisions, release_decisions

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.approval import Decision
    from triplane.core.change import ChangeSet
    from triplane.core.ledger import Ledger


class AuthorizeOperator(BaseOperator, SkipMixin):
    """Let an approved change set through to the tasks that apply it.

    Pushes ``change_set``, ``source`` and ``decisions``. Each applying task checks the signatures again: this
    task is there to fail early and in one place. Skips itself and what follows when only a plan was
    asked for, and the tasks of ``branches`` that do something else than what was approved, or that have nothing to do:
    ``unchanged`` holds the results of those (address -> :class:`triplane.core.change.Result`).

    What was approved is refused where the revision is another commit by now, and where the platform spec is another
    one. It waits, without a worker slot, until the environment may be changed. A rollout that has begun does neither,
    and the way back of a release does not wait. Refused, too, is a run whose parent does not wait for it any more, or
    whose place another run has taken.

    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param environment: the environment (templated)
    :param action: ``plan``, ``apply``, or ``deploy``, ``rollback`` or ``destroy`` in one run (templated)
    :param change_sets: cloud -> digest, from this run's own planning, or its JSON (templated)
    :param approved: for ``apply``: ``{change_set, dag_id, run_id}``: the digest (or cloud -> digest) and the
        run that holds the approval (templated)
    :param dry_run: true for a plan of ``action`` (templated)
    :param approval_task_id: the approval task, in this run or in the approving one
    :param folder: the folder that holds the platform spec
    :param spec: digest of the spec that the DAG was built from
    """

    template_fields: Sequence[str] = ("environment", "action", "change_sets", "approved", "dry_run")
    branches: Mapping[str, Mapping[str, str]] = {}
    """``deploy`` and ``destroy`` -> address of a component -> id of the task that only does that to it; set when these
    tasks are made."""

    def __init__(
        self,
        *,
        cloud: str,
        environment: str,
        action: str,
        change_sets: Any,
        approved: Any = None,
        dry_run: str | bool = False,
        approval_task_id: str = "approval",
        folder: str | None = None,
        spec: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cloud = cloud
        self.environment = environment
        self.action = action
        self.change_sets = change_sets
        self.approved = approved
        self.dry_run = dry_run
        self.approval_task_id = approval_task_id
        self.folder = folder
        self.spec = spec

    def execute(self, context: Context) -> None:
        """Find the decisions, verify them, and record that they were used."""
        if self.action == "plan" or str(self.dry_run) == "True":
            raise AirflowSkipException("only a plan was asked for")
        try:
            granted, change_set = self._authorize(context)
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error
        granted["unchanged"] = idle = self._unchanged(change_set)
        for key, value in granted.items():
            context["task_instance"].xcom_push(key=key, value=value)
        mine, other = ("destroy", "deploy") if change_set.intent == "destroy" else ("deploy", "destroy")
        skipped = [*self.branches.get(other, {}).values()]
        skipped += [task for address, task in self.branches.get(mine, {}).items() if address in idle]
        self.skip(context["task_instance"], [self.dag.get_task(task) for task in skipped])

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """The environment may be changed now: look at everything again."""
        self.execute(context)

    def _unchanged(self, change_set: ChangeSet) -> dict[str, dict[str, Any]]:
        """The results of components that the plan leaves alone. One that no rollout has seen yet is looked at all the same."""
        from triplane.core import deployed
        from triplane.core.change import Result

        known = deployed.read(settings.artifact_store(), f"{self.environment}/{self.cloud}")
        return {
            change.address: Result(
                address=change.address,
                version=known.get(change.address, {}).get("version", ""),
                state="unchanged",
            ).to_json()
            for change in change_set.changes
            if not change.changed and (change_set.intent == "destroy" or change.address in known)
        }

    def _authorize(self, context: Context) -> tuple[dict[str, Any], ChangeSet]:
        from triplane.core.approval import votes_needed
        from triplane.core.history import AUTHORIZED, body

        run = context["dag_run"]
        digest, dag_id, run_id = self._approved(run)
        change_set = settings.get_change_set(digest)
        if (change_set.cloud, change_set.environment) != (self.cloud, self.environment):
            raise AirflowFailException(
                f"change set {digest} is for {change_set.cloud}/{change_set.environment}, "
                f"this run is for {self.cloud}/{self.environment}"
            )
        decisions: list[Decision] = []
        if votes_needed(change_set):
            decisions = find_decisions(context, dag_id, run_id, self.approval_task_id)
        if not decisions and change_set.undoes:
            decisions = release_decisions(context, change_set, run.conf.get("undo"))
        authorized.verify_decisions(change_set, decisions, run)
        standing.check_parent(context, self.cloud)
        people = [decision.responder for decision in decisions]
        ledger = settings.ledger(f"{self.environment}/{self.cloud}")
        begun = any(entry.body["digest"] == digest for entry in ledger.entries(AUTHORIZED))
        self._check_fresh(context, change_set, begun=begun)
        if not begun and not _takes_back(change_set, ledger, run.run_id):
            self._wait_until_open(change_set, decisions)
        standing.begin(context, change_set)
        signed = [decision.to_json() for decision in decisions]
        entry = {**body(change_set), "run_id": run.run_id, "approved_by": people, "decisions": signed}
        ledger.append(AUTHORIZED, entry)
        self.log.info("%s is approved by %s", digest, ", ".join(people) or "policy: nothing to ask")
        granted = {
            "change_set": digest,
            "source": change_set.source,
            "decisions": signed,
            "intent": change_set.intent,
        }
        return granted, change_set

    def _check_fresh(self, context: Context, change_set: ChangeSet, *, begun: bool) -> None:
        """:raises StaleError: the spec or the revision is not what it was when this was planned"""
        from triplane.core.git import commit, is_commit

        if self.spec and change_set.spec != self.spec:
            raise StaleError(
                f"the platform spec has changed since this was planned (then {change_set.spec}, now {self.spec}): "
                "these tasks are built from another one. Nothing was applied; start a new run to plan and approve it"
            )
        if begun or not self.folder or is_commit(change_set.asked):
            return
        if change_set.asked == "HEAD" and settings.pinned_commit(context, self.folder):
            return  # HEAD is the commit of the run that planned, which need not be this one's
        now = commit(Path(self.folder), change_set.asked)
        if now != change_set.revision:
            raise StaleError(
                f"{change_set.asked} has moved since this was planned (then {change_set.revision}, now {now}). "
                "Nothing was applied; start a new run to plan and approve that, or ask for the revision "
                f"{change_set.revision} itself to deploy it all the same"
            )

    def _wait_until_open(self, change_set: ChangeSet, decisions: Sequence[Decision]) -> None:
        """Defer until the environment may be changed. :raises RefusedError: the approvals do not hold that long"""
        from triplane.core.approval import Policy, closed
        from triplane.core.calendar import Calendar

        policy, now = Policy.from_json(change_set.policy), datetime.now(UTC)
        if not (why := closed(change_set, now)):
            return
        planned = datetime.fromisoformat(change_set.planned_at)
        ends = [datetime.fromisoformat(decision.expires_at) for decision in decisions]
        until = min([planned + timedelta(seconds=policy.plan_max_age), *ends])
        opens = Calendar.from_json(policy.calendar).opens(now)
        if opens is None or opens >= until:
            when = f"not before {opens.isoformat()}" if opens else "for more than a year"
            raise RefusedError(
                f"{self.environment} is {why}, {when}, and what was approved holds until {until.isoformat()}. "
                "Nothing was applied; start a new run then, or one with `emergency` if it cannot wait"
            )
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.log.info("%s is %s; waiting until %s", self.environment, why, opens.isoformat())
        self.defer(trigger=DateTimeTrigger(moment=opens), method_name="execute_complete")

    def _approved(self, run: Any) -> tuple[str, str, str]:
        """The change set's digest, and the DAG and run in which people were asked about it."""
        if self.action != "apply":
            return str(_plain(self.change_sets)[self.cloud]), run.dag_id, run.run_id
        approved = _plain(self.approved)
        if not isinstance(approved, Mapping) or not approved.get("change_set"):
            raise AirflowFailException(
                "action apply needs conf approved={change_set, dag_id, run_id} of an approved run; "
                "use action deploy to plan, ask and apply in one run"
            )
        change_set = approved["change_set"]
        digest = change_set.get(self.cloud) if isinstance(change_set, Mapping) else change_set
        return str(digest), approved.get("dag_id", run.dag_id), approved.get("run_id", run.run_id)


def _takes_back(change_set: ChangeSet, ledger: Ledger, run_id: str) -> bool:
    """Whether this run was started to roll a release back that had begun: that does not wait."""
    from triplane.core.undo import settlement

    entry = settlement(ledger.entries(), change_set.undoes.get("run_id", "")) if change_set.undoes else None
    return entry is not None and entry.body["run_id"] == run_id


def _plain(value: Any) -> Any:
    """A templated value: rendered templates are JSON, values given by hand are what they are."""
    return json.loads(value) if isinstance(value, str) else value
