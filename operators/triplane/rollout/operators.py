"""The tasks between planning and applying, in one cloud."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import settings
from triplane.core.errors import InputError, StaleError, TerminalError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.approval import Decision
    from triplane.core.change import ChangeSet, Intent


class ChangeSetOperator(BaseOperator):
    """Bind the plans of one cloud into a change set.

    Pushes its digest as the XCom ``change_sets`` (``{cloud: digest}``), and returns what to ask people: the
    arguments of one ``ApprovalSensor`` for each approval that is needed, to be mapped over.

    :param platform: name of the platform
    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param environment: the environment (templated)
    :param frozen: what the freeze task returned (templated)
    :param plans: what the plan tasks returned, a change or several each (templated)
    :param policies: environment -> approval policy as plain values
    :param action: ``rollback`` or ``destroy`` if that is what was planned, else a deployment (templated)
    :param ask: whether people are asked in this run (templated)
    :param tests: name -> what the tests' task returned; each must have run where something is deployed (templated)
    """

    template_fields: Sequence[str] = ("environment", "frozen", "plans", "action", "ask", "tests")

    def __init__(
        self,
        *,
        platform: str,
        cloud: str,
        environment: str,
        frozen: Any,
        plans: Any,
        policies: Mapping[str, Mapping[str, Any]],
        action: str = "deploy",
        ask: str | bool = True,
        tests: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tests = tests or {}
        self.platform = platform
        self.cloud = cloud
        self.environment = environment
        self.frozen = frozen
        self.plans = plans
        self.policies = policies
        self.action = action
        self.ask = ask

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Store the change set and say what it holds."""
        from triplane.core.approval import Policy
        from triplane.core.change import ChangeSet

        try:
            settings.claim(self.environment, self.platform)
        except InputError as error:
            raise AirflowFailException(str(error)) from error
        change_set = ChangeSet(
            platform=self.platform,
            environment=self.environment,
            cloud=self.cloud,
            intent=self.action if self.action in ("rollback", "destroy") else "deploy",  # type: ignore[arg-type]
            asked=self.frozen["asked"],
            revision=self.frozen["revision"],
            source=self.frozen["source"],
            spec=self.frozen["spec"],
            policy=self.policies[self.environment],
            planned_at=_run(context).run_after.isoformat(),
            changes=tuple(settings.unseal(context, plan) for plan in flat(self.plans)),
            tests=() if self.action in ("rollback", "destroy") else self._tested(),
        )
        digest = settings.put_change_set(change_set)
        settings.ledger(f"{self.environment}/{self.cloud}").append(
            "change_set", {"digest": digest, "run_id": _run(context).run_id, "risk": str(change_set.risk)}
        )
        for change in change_set.changes:
            self.log.info("%s: %s (risk %s) %s", change.address, change.action, change.risk, change.summary)
        self.log.info("Change set %s, risk %s", digest, change_set.risk)
        if change_set.denied:
            raise AirflowFailException(
                f"denied by policy, so nobody can approve it: {'; '.join(change_set.denied)}. "
                "Change what is denied, or the policy, and start a new run"
            )
        needed = Policy.from_json(change_set.policy).needed(change_set.risk)
        change_sets = {self.cloud: digest}
        _instance(context).xcom_push(key="change_sets", value=change_sets)
        return questions(change_sets, needed if str(self.ask) == "True" else 0)

    def _tested(self) -> tuple[Mapping[str, Any], ...]:
        """What the tests said, without which nothing is deployed."""
        found = []
        for name, value in self.tests.items():
            result = settings.unseal_tests(value) if value else {}
            if result.get("source") != self.frozen["source"]:
                raise AirflowFailException(
                    f"the tests {name} have no result for this source; clear their task, or start a new run"
                )
            found.append({key: result[key] for key in ("name", "image", "summary", "text")})
        return tuple(found)


class AuthorizeOperator(BaseOperator, SkipMixin):
    """Let an approved change set through to the tasks that apply it.

    Pushes ``change_set``, ``source`` and ``decisions``. Each applying task checks the signatures again: this
    task is there to fail early and in one place. Skips itself and what follows when only a plan was
    asked for, and the tasks of ``branches`` that do something else than what was approved.

    What was approved is refused where the revision is another commit by now, unless its rollout has begun, and
    where the platform spec is another one.

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
    branches: Mapping[str, Sequence[str]] = {}
    """``deploy`` and ``destroy`` -> ids of the tasks that only do that; set when these tasks are made."""

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
            granted, intent = self._authorize(context)
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error
        for key, value in granted.items():
            _instance(context).xcom_push(key=key, value=value)
        other = "deploy" if intent == "destroy" else "destroy"
        self.skip(_instance(context), [self.dag.get_task(task) for task in self.branches.get(other, ())])

    def _authorize(self, context: Context) -> tuple[dict[str, Any], Intent]:
        from datetime import UTC, datetime

        from triplane.core.approval import Policy, verify
        from triplane.core.history import AUTHORIZED, body

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
        ledger = settings.ledger(f"{self.environment}/{self.cloud}")
        begun = any(entry.body["digest"] == digest for entry in ledger.entries(AUTHORIZED))
        self._check_fresh(change_set, begun=begun)
        signed = [decision.to_json() for decision in decisions]
        entry = {**body(change_set), "run_id": run.run_id, "approved_by": people, "decisions": signed}
        ledger.append(AUTHORIZED, entry)
        self.log.info("%s is approved by %s", digest, ", ".join(people) or "policy: nothing to ask")
        granted = {"change_set": digest, "source": change_set.source, "decisions": signed}
        return granted, change_set.intent

    def _check_fresh(self, change_set: ChangeSet, *, begun: bool) -> None:
        """:raises StaleError: the spec or the revision is not what it was when this was planned"""
        from triplane.core.git import commit, is_commit

        if self.spec and change_set.spec != self.spec:
            raise StaleError(
                f"the platform spec has changed since this was planned (then {change_set.spec}, now {self.spec}): "
                "these tasks are built from another one. Nothing was applied; start a new run to plan and approve it"
            )
        if begun or not self.folder or is_commit(change_set.asked):
            return
        now = commit(Path(self.folder), change_set.asked)
        if now != change_set.revision:
            raise StaleError(
                f"{change_set.asked} has moved since this was planned (then {change_set.revision}, now {now}). "
                "Nothing was applied; start a new run to plan and approve that, or ask for the revision "
                f"{change_set.revision} itself to deploy it all the same"
            )

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
    :param tasks: address -> the tasks of this run that may apply the component, the one that counts most last
    """

    template_fields: Sequence[str] = ("environment", "change_set")

    def __init__(
        self,
        *,
        cloud: str,
        environment: str,
        change_set: Any,
        tasks: Mapping[str, Sequence[str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cloud = cloud
        self.environment = environment
        self.change_set = change_set
        self.tasks = tasks

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Record and show the results."""
        from triplane.core.change import Result
        from triplane.core.history import ROLLOUT, body

        found = [found_result(_instance(context), task_ids) for task_ids in self.tasks.values()]
        results = [Result.from_json(value).to_json() for value in flat(found) if value]
        change_set = settings.get_change_set(self.change_set)
        settings.ledger(f"{self.environment}/{self.cloud}").append(
            ROLLOUT, {**body(change_set), "run_id": _run(context).run_id, "results": results}
        )
        for result in results:
            self.log.info("%s: %s %s", result["address"], result["state"], result["version"])
        return results


def found_result(instance: Any, task_ids: Sequence[str], **run: str) -> Any:
    """The ``Result`` of a component, as JSON: of the last of the tasks that may apply it, of those that did.

    ``run`` is ``dag_id`` and ``run_id`` of another run.
    """
    for task_id in reversed(task_ids):
        place = {"task_ids": task_id, **run}
        if value := instance.xcom_pull(key="result", **place) or instance.xcom_pull(**place):
            return value
    return None


def flat(values: Iterable[Any]) -> Iterator[Any]:
    """What tasks returned, a value or several each."""
    for value in values:
        yield from value if isinstance(value, list) else (value,)


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
