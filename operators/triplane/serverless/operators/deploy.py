"""Deploys exactly what was planned, step by step."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from triplane import metrics, settings
from triplane.applying import Applying
from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError, StaleError, TransientError, TriplaneError
from triplane.serverless.airflow import airflow_errors
from triplane.serverless.operators.base import LONGEST_WAIT_SECONDS, PATIENCE_SECONDS, ServerlessOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.core.store import ArtifactStore
    from triplane.gates.asking import Question
    from triplane.gates.verdict import Verdict
    from triplane.serverless.deployment import Attempt, Deployment
    from triplane.serverless.target import Desired, How, Target, Waiting


class ServerlessDeployOperator(Applying, ServerlessOperator):
    """Deploy a function or container: bring up a new version, shift the traffic to it, put back what served before if
    anything fails.

    Waits in the triggerer. A task that was killed goes on where it was: how far it is stands in the artifact store,
    and the cloud tells the rest. An approval that held when the deployment began holds until its end.

    Returns a ``Result`` as JSON whose version is the one that serves. Takes the same arguments as the
    :class:`ServerlessPlanOperator` that made the change, and ``change``, ``change_set`` and ``authorization``,
    see :class:`triplane.applying.Applying`; without them it deploys what it is given.
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, *Applying.approval_fields)

    def go_on(
        self, context: Context, event: Any = None, record: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """After a wait. Without an artifact store, ``record`` says how far it is. A gate's ``event`` is its verdict."""
        self._carried = record
        return self.execute(context)

    def go_on_judged(
        self, context: Context, event: Any, step: list[Any], record: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """After a gate's verdict on one step of the traffic."""
        self._judged = (step, event)
        return self.go_on(context, event, record)

    def go_on_answered(
        self,
        context: Context,
        event: Any,
        verdict: Mapping[str, Any],
        asked_at: str,
        step: list[Any],
        record: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """After a person's answer whether a step goes on without data, or nobody's in time."""
        from triplane.gates import asking
        from triplane.gates.verdict import Verdict

        with airflow_errors(self.address):
            question = self._question(Verdict.from_json(verdict))
            found, waiver = asking.answered(context, question, event, asked_at)
        self._waiver = waiver.to_json() if waiver is not None and waiver.later else None
        return self.go_on_judged(context, found.to_json(), step, record)

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.gates import asking
        from triplane.serverless import gating
        from triplane.serverless.deployment import Deployment
        from triplane.serverless.target import check_options, how

        begin = time.monotonic()
        record = self._open_record(context)
        approved = self._approved(context, record)
        if approved and not approved.changed:
            return self.result("unchanged", str(approved.binds["observed"]), begin)
        image = self.image or (None if self.path or not approved else str(approved.binds["artifact"]))
        built = str(record["artifact"]) if record and self.path else None
        desired = self.desired(image=image, strict=True, built=built)
        target = self.connect()
        self.link(context)
        check_options(target, desired)
        gating.check(self.gate)
        asking.ready(self.gate, self.ask)
        manner = how(target, *self.how(), self.gate)
        if approved:
            check(approved, desired, manner)
        if record is None or record["artifact"] != desired.artifact or record["config"] != desired.config:
            record = self._begin(context, target, desired, approved)
        if record is None:
            observed = target.observe(self.name)
            self.keep(observed)
            version = observed.version if observed else ""
            return self.result("deployed" if approved else "unchanged", version, begin)
        traffic, _ = self.how()
        deployment = Deployment(
            target=target,
            desired=replace(desired, attempt=str(record["attempt"]["id"]), revision=self._commit()),
            traffic=traffic,
            smoke=self.question(),
            limit=self.limit,
            gated=bool(self.gate) and not self._goes_back(),
            log=self.say,
            clock=time.time,
        )
        attempt = self._to_the_end(context, deployment, record)
        return self._ended(context, target, attempt, record)

    def _approved(self, context: Context, record: Mapping[str, Any] | None) -> ComponentChange | None:
        """What was approved when the deployment began, or holds now. Only workers can write the store."""
        from triplane.core.change import ComponentChange

        if record is not None and self._store() and record["change_set"] == self.change_set:
            return ComponentChange.from_json(record["change"]) if record["change"] else None
        return self.approved(context)

    def _commit(self) -> str:
        if self.revision or not self.change_set:
            return self.revision or ""
        return settings.get_change_set(self.change_set).revision

    def _begin(
        self, context: Context, target: Target, desired: Desired, approved: ComponentChange | None
    ) -> dict[str, Any] | None:
        """The record of a deployment that begins now; None where everything is there already."""
        from triplane.serverless.deployment import Attempt
        from triplane.serverless.target import decide

        observed = target.observe(self.name)
        version = observed.version if observed else ""
        if decide(desired, observed, str(approved.binds["observed"]) if approved else version) == "nothing":
            return None
        if desired.package is not None:
            settings.artifact_store().put(desired.package)
        before = self._record() or {}
        count = int(before.get("count", 0)) + 1
        attempt = Attempt(
            id=digest([_run(context), self.address, count, desired.artifact, desired.config]).removeprefix(
                "sha256:"
            )[:16],
            previous=observed,
            since=time.time(),
        )
        record = {
            "run": _run(context),
            "count": count,
            "reported": False,
            "began": time.time(),
            "artifact": desired.artifact,
            "config": desired.config,
            "change_set": self.change_set,
            "change": approved.to_json() if approved else None,
        }
        return self._write(record, attempt)

    def _to_the_end(self, context: Context, deployment: Deployment, record: dict[str, Any]) -> Attempt:
        from triplane.serverless.deployment import Attempt, Judging

        attempt = Attempt.from_json(record["attempt"])
        patience = time.monotonic() + PATIENCE_SECONDS
        while not attempt.ended:
            try:
                then, waiting = deployment.go_on(attempt)
            except TransientError as error:
                if not _last_try(context) or attempt.phase == "restore":
                    raise
                then, waiting = deployment.give_up(attempt, str(error)), None
            except StaleError:
                self._write({**record, "reported": True}, attempt)
                raise
            if then != attempt:
                record = self._write(self._told(context, record, then, deployment.share(attempt, then)), then)
                attempt = then
            if isinstance(waiting, Judging):
                verdict = self._judge(context, deployment, attempt, record)
                metrics.verdict(self.address, verdict.counted)
                attempt = deployment.judged(attempt, verdict)
                record = self._write({**record, "waiver": self._waiver or record.get("waiver")}, attempt)
            elif waiting is not None:
                carried = None if self._store() else _plain(record)
                self.pause(_patiently(waiting, attempt), patience, record=carried)
        return attempt

    def _told(
        self, context: Context, record: dict[str, Any], attempt: Attempt, share: int | None
    ) -> dict[str, Any]:
        """The record with what the new version has got of the traffic, which the XCom ``traffic`` tells too."""
        if share is None:
            return record
        shift = {
            "at": datetime.fromtimestamp(time.time(), UTC).isoformat(),
            "version": attempt.version,
            "percent": share,
        }
        shifts = [*record.get("shifts", ()), shift]
        if instance := context.get("ti"):
            instance.xcom_push(key="traffic", value=shifts)
        return {**record, "shifts": shifts}

    def _goes_back(self) -> bool:
        """Whether this is a rollback: that is not judged, else a gate could bring back what was bad."""
        return bool(self.change_set) and settings.get_change_set(str(self.change_set)).intent == "rollback"

    def _judge(
        self, context: Context, deployment: Deployment, attempt: Attempt, record: Mapping[str, Any]
    ) -> Verdict:
        """The verdict on this step; a worker that defers, or asks a person, gets it when it comes back."""
        from triplane.gates.triggers import GateTrigger
        from triplane.gates.verdict import Verdict
        from triplane.serverless import gating

        step = [attempt.id, attempt.step, attempt.since]
        if self._judged is not None and self._judged[0] == step:
            verdict = Verdict.from_json(self._judged[1])
        elif not (checks := gating.checks(self.gate, deployment, attempt)):
            return Verdict("pass", "there is nothing to compare a first version with", 0)
        else:
            self.say(f"{self.address}: {attempt.version} is judged by {gating.told(checks)}")
            plain = [check.to_json() for check in checks]
            trigger = GateTrigger(checks=plain, begun=attempt.since, before=record["began"])
            if self.deferrable:
                kwargs = {"step": step, "record": None if self._store() else _plain(record)}
                self.defer(trigger=trigger, method_name="go_on_judged", kwargs=kwargs)
            verdict = asyncio.run(trigger.verdict())
        if not verdict.asks:
            return verdict
        return self._asked(context, verdict, step, record, last=deployment.last(attempt))

    def _asked(
        self, context: Context, verdict: Verdict, step: list[Any], record: Mapping[str, Any], *, last: bool
    ) -> Verdict:
        """What a person has said before of all steps; else one is asked, and the task parks."""
        from triplane.gates import asking

        if waiver := asking.earlier(context, self.address, record.get("waiver")):
            return asking.waived(verdict, waiver)
        self.say(f"{self.address}: no data, so a person is asked: {verdict.reason}")
        kwargs = {"step": step, "record": None if self._store() else _plain(record)}
        question = self._question(verdict, steps=not last)
        return asking.ask(context, question, method="go_on_answered", kwargs=kwargs)

    def _question(self, verdict: Verdict, *, steps: bool = True) -> Question:
        from triplane.gates.asking import Question

        scopes = (self.scope,) if self.change_set else ()
        return Question(gate=self.address, verdict=verdict, terms=self.ask, steps=steps, scopes=scopes)

    def _ended(
        self, context: Context, target: Target, attempt: Attempt, record: dict[str, Any]
    ) -> dict[str, Any]:
        """:raises DeployFailed: something else serves than what should have been deployed"""
        from triplane.serverless.target import DeployFailed

        before = attempt.previous.version if attempt.previous else ""
        begin = time.monotonic() - (time.time() - record["began"])
        if not attempt.failed:
            self.keep(target.observe(self.name))
            result = self.result("deployed", attempt.serves, begin, **{**attempt.details, "previous": before})
        else:
            back = attempt.serves and not attempt.foreign
            state: State = "rolled_back" if back else "failed"
            error = settings.redactor()(attempt.failed)
            result = self.result(state, attempt.serves, begin, error=error)
            context["ti"].xcom_push(key="return_value", value=result)
            if back:
                self._keep_restored(target)
        self._write({**record, "reported": True}, attempt)
        if attempt.failed:
            serves = f"{attempt.serves} serves" if attempt.serves else "nothing serves"
            raise DeployFailed(f"{self.name}: {attempt.failed}; {serves}", restored=attempt.serves or None)
        return result

    def _keep_restored(self, target: Target) -> None:
        """Remember what was put back; the failure that led to it counts more than whether that can be read."""
        try:
            self.keep(target.observe(self.name))
        except TriplaneError as error:
            self.say(f"{self.address}: what serves now could not be read: {error}")

    _carried: dict[str, Any] | None = None
    _judged: tuple[list[Any], Any] | None = None
    _waiver: dict[str, Any] | None = None

    def _open_record(self, context: Context) -> dict[str, Any] | None:
        """How far an earlier try of this run is, None if none has begun, or its end was told."""
        record = self._carried or self._record()
        if record is None or record["run"] != _run(context) or record["reported"]:
            return None
        return record

    def _record(self) -> dict[str, Any] | None:
        store = self._store()
        data = store.get_named(self._key) if store else None
        found: dict[str, Any] | None = None if data is None else json.loads(data)
        return found

    def _write(self, record: Mapping[str, Any], attempt: Attempt) -> dict[str, Any]:
        written = {**record, "attempt": attempt.to_json()}
        if store := self._store():
            store.put_named(self._key, json.dumps(written).encode())
        return written

    def _store(self) -> ArtifactStore | None:
        """None in a DAG of somebody's own that has no artifact store: a killed task then begins anew."""
        try:
            return settings.artifact_store()
        except InputError:
            return None

    @property
    def _key(self) -> str:
        return f"deployment/{self.scope}/{self.address}"


def check(approved: ComponentChange, desired: Desired, how: How) -> None:
    """:raises RefusedError: what would be deployed, or how, is not what was approved"""
    from triplane.serverless.target import binds

    actual = binds(desired) | how.binds()
    names = actual.keys() | ({"gate"} & approved.binds.keys())
    differing = sorted(name for name in names if approved.binds.get(name) != actual.get(name))
    if differing:
        raise RefusedError(
            f"{desired.name}: {' and '.join(differing)} not as approved "
            f"({', '.join(f'{name} {actual.get(name)}' for name in differing)}); plan again"
        )


def _run(context: Context) -> str:
    run = context.get("dag_run")
    return f"{run.dag_id}/{run.run_id}" if run else ""


def _last_try(context: Context) -> bool:
    instance = context.get("ti")
    return instance is not None and instance.try_number > instance.max_tries


def _patiently(waiting: Waiting, attempt: Attempt) -> Waiting:
    """Looks get rarer the longer a phase lasts."""
    if attempt.phase == "watch":
        return waiting
    rarer = min(LONGEST_WAIT_SECONDS, (time.time() - attempt.since) / 4)
    return replace(waiting, seconds=max(waiting.seconds, rarer))


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record for Airflow's database: without the environment of what served before, which may hold secrets."""
    attempt = {**record["attempt"], "failed": settings.redactor()(record["attempt"]["failed"])}
    if attempt["previous"]:
        attempt["previous"] = {**attempt["previous"], "environment": {}}
    return {**record, "attempt": attempt}
