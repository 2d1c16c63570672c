"""A Helm release brought to what was approved."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import metrics, settings
from triplane.applying import Applying
from triplane.core.errors import InputError, RefusedError, ToolError
from triplane.kubernetes.operators.base import HelmOperator, airflow_errors, went_back_key
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.gates.asking import Question
    from triplane.gates.verdict import Verdict
    from triplane.kubernetes.deploy import Deployment, Unproven
    from triplane.kubernetes.plan import Written

IMAGE = "image."
NOT_WRITTEN = {"revision", "manifests", "manifests_except", "drifted"}
"""What an approval covers beyond what was written; checked against the cluster just before the upgrade."""


class HelmUpgradeOperator(Applying, HelmOperator):
    """Install or upgrade a Helm release, wait until it serves, and roll back if it does not.

    Returns a ``Result`` as JSON whose version is the Helm revision that serves. A release that an earlier
    try left ``pending`` is set right first. Takes ``change``, ``change_set`` and ``authorization``, see
    :class:`triplane.applying.Applying`; without them it deploys what it is given.
    """

    template_fields: Sequence[str] = (*HelmOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.gates import asking
        from triplane.gates.check import Check

        begin = time.monotonic()
        for each in self.gate:
            Check.from_json(each)
        asking.ready(self.gate, self.ask)
        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", str(approved.binds["revision"]), begin)
        with self.opened_chart(approved) as chart:
            written = self.written(self.images or _images(approved), chart)
            if approved:
                check(approved, written)
            return self._deploy(context, approved, written, chart.path, begin)

    def _deploy(
        self,
        context: Context,
        approved: ComponentChange | None,
        written: Written,
        chart: Path,
        begin: float,
    ) -> dict[str, Any]:
        from triplane.kubernetes.deploy import Deployment, Options, Unproven

        wanted = written.wanted(lookup_in(self.scope))
        with self.opened(self.job(context)) as helm:
            deployment = Deployment(
                helm=helm,
                release=written.release,
                chart=chart,
                wanted=wanted,
                values_digest=written.values_digest,
                approved=approved.binds if approved else None,
                timeout=int(self.timeout),
                kubectl=self.kubectl_bin,
                state=_TryState(context),
                options=Options(
                    history_max=self.history_max, crds=self.crds, test=self.test, prove=self._goes_back()
                ),
            )
            try:
                outcome = deployment.run()
            except (ToolError, Unproven) as error:
                raise self._failed(context, deployment, error, begin) from error
        result = self.result(outcome.state, str(outcome.revision), begin)
        if outcome.state == "deployed" and self.gate and not self._goes_back():
            self._gate(result, deployment.approved_revision, time.time() - (time.monotonic() - begin))
        return result

    def _gate(self, result: dict[str, Any], approved: int | None, before: float) -> None:
        """Defer until what serves now is judged."""
        from triplane.gates.triggers import GateTrigger

        first = approved == 0  # there is nothing to compare it with
        checks = [each for each in self.gate if not first or each.get("against", "nothing") == "nothing"]
        if not checks:
            return
        self.log.info("%s: revision %s is judged", self.address, result["version"])
        trigger = GateTrigger(checks=checks, begun=time.time(), before=before)
        self.defer(
            trigger=trigger, method_name="judged", kwargs={"result": result, "approved_revision": approved}
        )

    def judged(
        self, context: Context, event: Any, result: dict[str, Any], approved_revision: int | None
    ) -> dict[str, Any]:
        """After the gate's verdict: what did not pass goes back to what served before, unless a person decides."""
        from triplane.gates import asking
        from triplane.gates.verdict import Verdict

        verdict = Verdict.from_json(event)
        if verdict.asks:
            self.log.warning("%s: no data, so a person is asked: %s", self.address, verdict.reason)
            kwargs = {"result": result, "approved_revision": approved_revision}
            verdict = asking.ask(context, self._question(verdict), method="answered", kwargs=kwargs)
        return self._decided(context, verdict, result, approved_revision)

    def answered(
        self,
        context: Context,
        event: Any,
        verdict: Mapping[str, Any],
        asked_at: str,
        result: dict[str, Any],
        approved_revision: int | None,
    ) -> dict[str, Any]:
        """Somebody has answered whether it goes on without data, or nobody in time."""
        from triplane.gates import asking
        from triplane.gates.verdict import Verdict

        with airflow_errors(self.address):
            question = self._question(Verdict.from_json(verdict))
            found, _ = asking.answered(context, question, event, asked_at)
        return self._decided(context, found, result, approved_revision)

    def _question(self, verdict: Verdict) -> Question:
        from triplane.gates.asking import Question

        scopes = (self.scope,) if self.change_set else ()
        return Question(gate=self.address, verdict=verdict, terms=self.ask, scopes=scopes)

    def _decided(
        self, context: Context, verdict: Verdict, result: dict[str, Any], approved_revision: int | None
    ) -> dict[str, Any]:
        metrics.verdict(self.address, verdict.counted)
        if verdict.goes_on:
            self.log.info("%s: the gate %s", self.address, verdict.told)
            return result
        with airflow_errors(self.address):
            raise self._taken_back(context, verdict, approved_revision)

    def _taken_back(self, context: Context, verdict: Verdict, approved: int | None) -> Exception:
        from triplane.kubernetes.deploy import go_back
        from triplane.kubernetes.helm import Release

        begin, release = time.monotonic(), Release(self.release, self.namespace)
        with self.opened(self.job(context)) as helm:
            options: dict[str, Any] = {"timeout": int(self.timeout), "state": _TryState(context)}
            unable = go_back(helm, release, helm.observe(release), approved, **options)
            serving = helm.observe(release).serving
        number = serving.number if serving else 0
        text = f"the gate did not pass ({verdict.state}): {verdict.reason}; {unable}" + (
            f"revision {number} serves" if number else "nothing serves"
        )
        if number and not unable:
            self._keep_return(number)
        state: State = "failed" if unable or not number else "rolled_back"
        context["ti"].xcom_push(key="return_value", value=self.result(state, str(number), begin, text))
        return AirflowFailException(f"{self.address}: {text}")

    def _keep_return(self, revision: int) -> None:
        """For drift checks, which a DAG of somebody's own that has no artifact store does not have."""
        try:
            store = settings.artifact_store()
        except InputError as error:
            self.log.info("%s: not kept for drift checks: %s", self.address, error)
            return
        store.put_named(went_back_key(self.scope, self.address), json.dumps({"revision": revision}).encode())

    def _goes_back(self) -> bool:
        """Whether this is a rollback: then it is proved that what was good serves again."""
        return bool(self.change_set) and settings.get_change_set(str(self.change_set)).intent == "rollback"

    def _failed(
        self, context: Context, deployment: Deployment, error: ToolError | Unproven, begin: float
    ) -> Exception:
        """What to raise after Helm failed: the chart's fault is final; an unreachable cluster, or a Helm that was
        killed, is not.
        """
        from triplane.kubernetes.deploy import Unproven

        failure = deployment.explain(error)
        if failure.retry:
            return AirflowException(f"{self.address}: {failure.text}")
        state: State = "rolled_back" if failure.revision else "failed"
        if isinstance(error, Unproven) and failure.revision:
            self._keep_return(failure.revision)
        context["ti"].xcom_push(
            key="return_value", value=self.result(state, str(failure.revision), begin, failure.text)
        )
        return AirflowFailException(f"{self.address}: {failure.text}")


class _TryState:
    """What this task's earlier tries left behind; XCom is cleared at each try, this is not."""

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")

    def get(self, key: str) -> str | None:
        """The value of ``key``, None if there is none."""
        return None if self._store is None else self._store.get(key)

    def set(self, key: str, value: str) -> None:
        """Keep ``value`` for the next try."""
        if self._store is not None:
            self._store.set(key, value)


def check(approved: ComponentChange, written: Written) -> None:
    """:raises RefusedError: what would be deployed is not what was approved"""
    actual = written.binds(0)
    names = (approved.binds.keys() | actual.keys()) - NOT_WRITTEN
    differing = sorted(name for name in names if approved.binds.get(name) != actual.get(name))
    if differing:
        details = ", ".join(
            f"{name}: approved {approved.binds.get(name)}, found {actual.get(name)}" for name in differing
        )
        raise RefusedError(f"this is not what was approved ({details}); plan again and ask again")


def _images(approved: ComponentChange | None) -> dict[str, str]:
    binds = approved.binds if approved else {}
    return {key.removeprefix(IMAGE): str(value) for key, value in binds.items() if key.startswith(IMAGE)}
