"""The tasks between planning and applying, in one cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import settings
from triplane.core.errors import TerminalError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.approval import Decision


class ChangeSetOperator(BaseOperator):
    """Bind the plans of one cloud into a change set.

    Pushes its digest as the XCom ``change_sets`` (``{cloud: digest}``), and returns what to ask people: the
    arguments of one ``ApprovalSensor`` for each approval that is needed, to be mapped over.

    :param platform: name of the platform
    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param environment: the environment (templated)
    :param frozen: what the freeze task returned (templated)
    :param plans: what the plan tasks returned (templated)
    :param policies: environment -> approval policy as plain values
    :param ask: whether people are asked in this run (templated)
    """

    template_fields: Sequence[str] = ("environment", "frozen", "plans", "ask")

    def __init__(
        self,
        *,
        platform: str,
        cloud: str,
        environment: str,
        frozen: Any,
        plans: Any,
        policies: Mapping[str, Mapping[str, Any]],
        ask: str | bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.platform = platform
        self.cloud = cloud
        self.environment = environment
        self.frozen = frozen
        self.plans = plans
        self.policies = policies
        self.ask = ask

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Store the change set and say what it holds."""
        from triplane.core.approval import Policy
        from triplane.core.change import ChangeSet

        change_set = ChangeSet(
            platform=self.platform,
            environment=self.environment,
            cloud=self.cloud,
            revision=self.frozen["revision"],
            source=self.frozen["source"],
            spec=self.frozen["spec"],
            policy=self.policies[self.environment],
            changes=tuple(settings.unseal(context, plan) for plan in self.plans),
        )
        digest = settings.put_change_set(change_set)
        settings.ledger(f"{self.environment}/{self.cloud}").append(
            "change_set", {"digest": digest, "run_id": _run(context).run_id, "risk": str(change_set.risk)}
        )
        for change in change_set.changes:
            self.log.info("%s: %s (risk %s) %s", change.address, change.action, change.risk, change.summary)
        self.log.info("Change set %s, risk %s", digest, change_set.risk)
        needed = Policy.from_json(change_set.policy).needed(change_set.risk)
        change_sets = {self.cloud: digest}
        _instance(context).xcom_push(key="change_sets", value=change_sets)
        return questions(change_sets, needed if str(self.ask) == "True" else 0)


class AuthorizeOperator(BaseOperator):
    """Let an approved change set through to the tasks that apply it.

    Returns ``{change_set, source, decisions}``. Each applying task checks the signatures again: this
    task is there to fail early and in one place. Skips itself and what follows when only a plan was
    asked for.

    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param environment: the environment (templated)
    :param action: ``plan``, ``deploy`` or ``apply`` (templated)
    :param change_sets: cloud -> digest, from this run's own planning, or its JSON (templated)
    :param approved: for ``apply``: ``{change_set, dag_id, run_id}``: the digest (or cloud -> digest) and the
        run that holds the approval (templated)
    :param approval_task_id: the approval task, in this run or in the approving one
    """

    template_fields: Sequence[str] = ("environment", "action", "change_sets", "approved")

    def __init__(
        self,
        *,
        cloud: str,
        environment: str,
        action: str,
        change_sets: Any,
        approved: Any = None,
        approval_task_id: str = "approval",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cloud = cloud
        self.environment = environment
        self.action = action
        self.change_sets = change_sets
        self.approved = approved
        self.approval_task_id = approval_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Find the decisions, verify them, and record that they were used."""
        if self.action == "plan":
            raise AirflowSkipException("only a plan was asked for")
        try:
            return self._authorize(context)
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error

    def _authorize(self, context: Context) -> dict[str, Any]:
        from datetime import UTC, datetime

        from triplane.core.approval import Policy, verify

        run = _run(context)
        digest, dag_id, run_id = self._approved(run)
        change_set = settings.get_change_set(digest)
        if (change_set.cloud, change_set.environment) != (self.cloud, self.environment):
            raise AirflowFailException(
                f"change set {digest} is for {change_set.cloud}/{change_set.environment}, "
                f"this run is for {self.cloud}/{self.environment}"
            )
        needed = Policy.from_json(change_set.policy).needed(change_set.risk)
        decisions = self._decisions(context, dag_id, run_id, needed)
        verify(
            change_set,
            decisions,
            keys=settings.signing_keys(),
            dag_id=run.dag_id,
            run_id=run.run_id,
            now=datetime.now(UTC),
        )
        people = [decision.responder for decision in decisions]
        settings.ledger(f"{self.environment}/{self.cloud}").append(
            "authorized", {"digest": digest, "run_id": run.run_id, "approved_by": people}
        )
        self.log.info("%s is approved by %s", digest, ", ".join(people) or "policy: nothing to ask")
        return {
            "change_set": digest,
            "source": change_set.source,
            "decisions": [decision.to_json() for decision in decisions],
        }

    def _approved(self, run: Any) -> tuple[str, str, str]:
        """The change set's digest, and the DAG and run in which people were asked about it."""
        if self.action == "deploy":
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

    def _decisions(self, context: Context, dag_id: str, run_id: str, needed: int) -> list[Decision]:
        from triplane.core.approval import Decision

        found = [
            _instance(context).xcom_pull(
                task_ids=self.approval_task_id, dag_id=dag_id, run_id=run_id, map_indexes=vote
            )
            for vote in range(needed)
        ]
        return [Decision.from_json(value) for value in found if value]


class RecordOperator(BaseOperator):
    """Close a rollout: write its results to the ledger and return them as a list.

    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param environment: the environment (templated)
    :param change_set: digest of what was applied (templated)
    :param results: what the applying tasks returned (templated)
    """

    template_fields: Sequence[str] = ("environment", "change_set", "results")

    def __init__(self, *, cloud: str, environment: str, change_set: Any, results: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cloud = cloud
        self.environment = environment
        self.change_set = change_set
        self.results = results

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Record and show the results."""
        from triplane.core.change import Result

        results = [Result.from_json(value).to_json() for value in self.results]
        settings.ledger(f"{self.environment}/{self.cloud}").append(
            "rollout",
            {
                "change_set": self.change_set,
                "run_id": _run(context).run_id,
                "results": results,
            },
        )
        for result in results:
            self.log.info("%s: %s %s", result["address"], result["state"], result["version"])
        return results


def questions(change_sets: Mapping[str, str], needed: int) -> list[dict[str, Any]]:
    """The arguments of one approval sensor for each of the ``needed`` votes."""
    return [{"vote": vote, "change_sets": dict(change_sets)} for vote in range(needed)]


def _plain(value: Any) -> Any:
    """A templated value: rendered templates are JSON, values given by hand are what they are."""
    return json.loads(value) if isinstance(value, str) else value


def _run(context: Context) -> Any:
    return context["dag_run"]


def _instance(context: Context) -> Any:
    return context["task_instance"]
