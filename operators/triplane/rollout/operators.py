"""The tasks between planning and applying, in one cloud."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import authorized, sealing, settings
from triplane.core import assets
from triplane.core.errors import InputError
from triplane.rollout.decisions import release_decisions

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ChangeSet, ComponentChange


CHANGED = ("deployed", "destroyed")
"""Results that others hear of."""


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
    :param emergency: why this does not wait for a deployment window; empty if it does (templated)
    :param release: when this is rolled back by itself, as :class:`triplane.core.change.ChangeSet` has it (templated)
    :param in_release: whether this is planned for a parent run, which alone rolls back by itself (templated)
    :param secrets: address -> name -> reference of the clouds' secrets that components use: they must be there, and their
        versions are kept
    :param undo: ``{change_set, dag_id, run_id}`` of the release that this rolls back, or its JSON: what its approval
        covers is not asked about again (templated)
    """

    template_fields: Sequence[str] = (
        "environment",
        "frozen",
        "plans",
        "action",
        "ask",
        "tests",
        "emergency",
        "release",
        "in_release",
        "undo",
    )

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
        emergency: str = "",
        release: Any = None,
        in_release: str | bool = False,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        undo: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.release = release
        self.in_release = in_release
        self.secrets = secrets or {}
        self.undo = undo
        self.tests = tests or {}
        self.emergency = emergency
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
        from triplane.core.approval import votes_needed
        from triplane.core.change import ChangeSet

        changes = [sealing.unseal(context, plan) for plan in flat(self.plans)]
        undo = (json.loads(self.undo) if isinstance(self.undo, str) else self.undo) or {}
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
            changes=(*changes, *self._left_behind(change.address for change in changes)),
            tests=() if self.action in ("rollback", "destroy") else self._tested(),
            emergency=settings.redactor()(self.emergency.strip()),
            release=(self.release or {})
            if str(self.in_release) == "True" and self.action == "deploy"
            else {},
            undoes={name: str(undo[name]) for name in ("change_set", "run_id")} if undo else {},
            secrets={} if self.action == "destroy" else self._secret_versions(),
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
        needed = votes_needed(change_set)
        change_sets = {self.cloud: digest}
        _instance(context).xcom_push(key="change_sets", value=change_sets)
        if undo:
            decisions = release_decisions(context, change_set, undo)
            if not (reason := authorized.uncovered_undo(change_set, decisions, _run(context))):
                self.log.info("This way back was approved with the release")
                return []
            self.log.warning(
                "The approval of the release does not cover this, so people are asked: %s", reason
            )
        return questions(change_sets, needed if str(self.ask) == "True" else 0)

    def _left_behind(self, planned: Iterable[str]) -> Iterator[ComponentChange]:
        """What has left the spec and that nothing here touches: people see it, and nobody has to approve it."""
        from triplane.core import deployed
        from triplane.core.change import ComponentChange, Risk

        scope = f"{self.environment}/{self.cloud}"
        for address, said in deployed.left_behind(settings.artifact_store(), scope, planned).items():
            yield ComponentChange(
                address=address, action="none", risk=Risk.NONE, summary=said, left_behind=True
            )

    def _secret_versions(self) -> dict[str, dict[str, str]]:
        from triplane.secrets.versions import current

        try:
            return current(self.secrets)
        except InputError as error:
            raise AirflowFailException(str(error)) from error

    def _tested(self) -> tuple[Mapping[str, Any], ...]:
        """What the tests said, without which nothing is deployed."""
        found = []
        for name, value in self.tests.items():
            result = sealing.unseal_tests(value) if value else {}
            if result.get("source") != self.frozen["source"]:
                raise AirflowFailException(
                    f"the tests {name} have no result for this source; clear their task, or start a new run"
                )
            found.append({key: result[key] for key in ("name", "image", "summary", "text")})
        return tuple(found)


class RecordOperator(BaseOperator):
    """Close a rollout: write its results to the ledger and return them as a list.

    Emits one event of the asset ``triplane://<platform>/<environment>/<cloud>/<kind>/<name>`` for each component that
    was changed.

    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param environment: the environment (templated)
    :param change_set: digest of what was applied (templated)
    :param tasks: address -> the tasks of this run that may apply the component, the one that counts most last
    :param notify: whom to tell of it where no other run does, see :func:`triplane.notify.send.notify`
    :param platform: name of the platform; without it no events are emitted
    :param decisions: the signed decisions that allowed this (templated)
    :param unchanged: address -> result of the components that no task had to look at (templated)
    :param markers: where monitoring gets a mark of it, see :mod:`triplane.gates.markers`
    """

    template_fields: Sequence[str] = ("environment", "change_set", "decisions", "unchanged")

    def __init__(
        self,
        *,
        cloud: str,
        environment: str,
        change_set: Any,
        tasks: Mapping[str, Sequence[str]],
        notify: Sequence[Mapping[str, Any]] = (),
        platform: str = "",
        decisions: Any = (),
        unchanged: Any = None,
        markers: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        if platform:
            kwargs["outlets"] = [AssetAlias(assets.deployments_alias(platform, cloud))]
        super().__init__(**kwargs)
        self.notify = notify
        self.platform = platform
        self.decisions = decisions
        self.unchanged = unchanged
        self.markers = markers
        self.cloud = cloud
        self.environment = environment
        self.change_set = change_set
        self.tasks = tasks

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Record and show the results."""
        from triplane.core import deployed
        from triplane.core.change import Result
        from triplane.core.history import ROLLOUT, body
        from triplane.rollout.marking import mark

        idle = self.unchanged or {}
        found = [
            found_result(_instance(context), task_ids) or idle.get(address)
            for address, task_ids in self.tasks.items()
        ]
        results = [Result.from_json(value).to_json() for value in flat(found) if value]
        change_set = settings.get_change_set(self.change_set)
        ledger = settings.ledger(f"{self.environment}/{self.cloud}")
        entry = {**body(change_set), "run_id": _run(context).run_id, "results": results}
        if entry not in [
            dict(known.body) for known in ledger.entries(ROLLOUT)[-1:]
        ]:  # a try that was killed later
            ledger.append(ROLLOUT, entry)
        for result in results:
            self.log.info("%s: %s %s", result["address"], result["state"], result["version"])
        deployed.record(settings.artifact_store(), change_set, results, _run(context).run_id)
        if self.platform:
            self._emit(context, change_set, results)
        if self.notify:
            self._tell(context, results)
        mark(self.markers, change_set, results, _run(context), self.log.info)
        return results

    def _tell(self, context: Context, results: Sequence[Mapping[str, Any]]) -> None:
        from triplane.core.change import Result
        from triplane.rollout import report, telling

        if telling.alone(context):
            found = [Result.from_json(result) for result in results]
            rows = [report.row(self.cloud, result.address, "success", result) for result in found]
            telling.tell(context, self.notify, rows, [])

    def _emit(self, context: Context, change_set: ChangeSet, results: Sequence[Mapping[str, Any]]) -> None:
        events: Any = context["outlet_events"]
        alias = events[AssetAlias(assets.deployments_alias(self.platform, self.cloud))]
        rollout = {
            "environment": change_set.environment,
            "intent": change_set.intent,
            "change_set": change_set.digest,
            "approvals": self._approvals(change_set),
            "dag_id": _run(context).dag_id,
            "run_id": _run(context).run_id,
            "revision": change_set.revision,
            "source": change_set.source,
        }
        for result in results:
            if result["state"] in CHANGED:
                uri = assets.component_uri(self.platform, change_set.environment, result["address"])
                what = {name: result[name] for name in ("address", "state", "version")}
                alias.add(Asset(uri), extra=what | rollout)

    def _approvals(self, change_set: ChangeSet) -> list[dict[str, str]]:
        """Who has approved it. A decision that no worker signed, or that is about something else, is left out."""
        from triplane.core.approval import Decision

        keys = settings.signing_keys() if self.decisions else ()
        decisions = [Decision.from_json(value) for value in self.decisions or ()]
        return [
            {"responder": decision.responder, "decided_at": decision.decided_at}
            for decision in decisions
            if decision.approved
            and decision.change_sets.get(self.cloud) == change_set.digest
            and decision.signed_by(keys)
        ]


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
    return [{"vote": vote, "votes": needed, "change_sets": dict(change_sets)} for vote in range(needed)]


def _run(context: Context) -> Any:
    return context["dag_run"]


def _instance(context: Context) -> Any:
    return context["task_instance"]
