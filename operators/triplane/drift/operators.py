"""The last tasks of a drift check: put all answers together, tell, repair, and fail if one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import metrics, settings
from triplane.core import assets
from triplane.core.errors import InputError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.drift.alarms import Alarms

NOTIFY, DEPLOY = "notify", "deploy"
NOTIFY_ALWAYS: Mapping[str, Any] = {"alarm_after": 1, "on_drift": [NOTIFY]}


class DriftReportOperator(BaseOperator):
    """Put all checks of a run into one report, keep it, and do what the environment's policy says.

    Drift itself is a finding, not a failure. The whole report is in the artifact store, see
    :mod:`triplane.drift.kept`; what fits is returned and in the XCom ``report``. Emits one event of the asset
    ``triplane://<platform>/<environment>/drift``.

    :param checks: task id of a check -> addresses that it answers for
    :param images: address of an image (``aws/image/api``) -> addresses of the components that run it
    :param platform: name of the platform
    :param environment: the environment (templated)
    :param revision: the revision that was compared (templated)
    :param policies: environment -> ``alarm_after`` (checks in a row that must see a drift) and ``on_drift`` (a list
        of ``notify`` and ``deploy``)
    :param deploy_dag_id: the parent DAG, for ``deploy``
    :param notify: routes, see :func:`triplane.notify.send.notify`
    """

    template_fields: Sequence[str] = ("environment", "revision")
    ui_color = "#e8f5e9"

    def __init__(
        self,
        *,
        checks: Mapping[str, Sequence[str]],
        platform: str,
        environment: str,
        revision: str = "",
        images: Mapping[str, Sequence[str]] | None = None,
        policies: Mapping[str, Mapping[str, Any]] | None = None,
        deploy_dag_id: str = "",
        notify: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(outlets=[AssetAlias(assets.drift_alias(platform))], **kwargs)
        self.checks = checks
        self.images = images or {}
        self.platform = platform
        self.environment = environment
        self.revision = revision
        self.policies = policies or {}
        self.deploy_dag_id = deploy_dag_id
        self.notify = notify

    def execute(self, context: Context) -> dict[str, Any]:
        """Read every check's result, keep and show them all, then tell and repair."""
        from triplane.core.drift import STATES
        from triplane.drift import kept, report
        from triplane.drift.alarms import groups, raised

        try:
            settings.check_owner(self.environment, self.platform)
        except InputError as error:
            raise AirflowFailException(str(error)) from error
        instance: Any = context["task_instance"]
        run: Any = context["dag_run"]
        policy = {**NOTIFY_ALWAYS, **self.policies.get(self.environment, {})}
        pulled = instance.xcom_pull(task_ids=list(self.checks))
        answers = self._with_images([check for batch in pulled if batch for check in batch], run.run_id)
        expected = [address for batch in self.checks.values() for address in batch]
        found = report.summary(answers, [*expected, *self.images])
        state = kept.state(self.environment)
        alarms = raised(
            found["components"],
            state["alarms"],
            alarm_after=int(policy["alarm_after"]),
            run_id=run.run_id,
        )
        found |= {
            "platform": self.platform,
            "environment": self.environment,
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "at": datetime.now(UTC).isoformat(),
            "revision": self.revision,
            "alarm_after": int(policy["alarm_after"]),
            "alarms": {name: len(getattr(alarms, name)) for name in ("known", "new", "cured")},
            "coverage": report.coverage(found["components"]),
            "groups": groups(found["components"], alarms),
            "kept_as": kept.name(self.environment, run.run_id),
            "left_behind": self._left_behind(expected),
        }
        for line in report.lines(found):
            self.log.info("%s", line)
        found["repair"] = None
        metrics.drift(self.platform, self.environment, {state: found[state] for state in STATES})
        kept.put(found)
        if DEPLOY in policy["on_drift"]:
            found["repair"] = self._repair(context, found, alarms)
            kept.put(found)
        if self.notify and NOTIFY in policy["on_drift"] and state["notified"] != run.run_id:
            self._tell(found, alarms)
        history = kept.with_entry(state["history"], found)
        kept.put_state(self.environment, {"alarms": alarms.known, "notified": run.run_id, "history": history})
        self._emit(context, found)
        short = report.bounded(found)
        instance.xcom_push(key="report", value=short)
        return short

    def _with_images(self, answers: list[dict[str, Any]], run_id: str) -> list[dict[str, Any]]:
        import json

        from triplane.checking import named
        from triplane.core.drift import UNKNOWN, memory
        from triplane.drift import images

        checks = {check["address"]: check for check in answers}
        found = list(answers)
        for address, users in self.images.items():
            key = f"drift/{self.environment}/{address}"
            check = images.check(address, users, checks, before=named(key), run=run_id)
            if check.state != UNKNOWN:
                settings.artifact_store().put_named(key, json.dumps(memory(check, run_id)).encode())
            found.append(check.to_json())
        return found

    def _left_behind(self, expected: Sequence[str]) -> dict[str, str]:
        """What was deployed once and is in the spec no more, where no deployment removes it: nobody checks that."""
        from triplane.core import deployed
        from triplane.core.words import CLOUDS

        store = settings.artifact_store()
        return {
            key: said
            for cloud in CLOUDS
            for key, said in deployed.left_behind(store, f"{self.environment}/{cloud}", expected).items()
        }

    def _repair(self, context: Context, found: Mapping[str, Any], alarms: Alarms) -> str | None:
        """Start a deployment that puts back what has an alarm, unless one was started for it before."""
        from triplane.drift import report
        from triplane.drift.alarms import repair_id
        from triplane.rollout.runs import UNDER_WAY, run_state, start_run

        wanted = alarms.repairable
        if all(alarm.get("repair") for alarm in wanted.values()):
            return None
        for earlier in sorted({alarm["repair"] for alarm in wanted.values() if alarm.get("repair")}):
            if run_state(context, self.deploy_dag_id, earlier) in UNDER_WAY:
                self.log.info("%s %s is open; nothing is started beside it", self.deploy_dag_id, earlier)
                return None
        run_id = repair_id(self.environment, wanted)
        why = {"run_id": found["run_id"], "report": found["kept_as"]}
        groups = [group["cause"] for group in found["groups"] if group["alarm"] and not group["unmanaged"]]
        start_run(
            self.deploy_dag_id,
            run_id,
            {
                "environment": self.environment,
                "revision": self._deployed_revision(wanted) or self.revision,
                "action": "deploy",
                "drift": {**why, "groups": groups[: report.GROUPS_SHOWN]},
            },
            again=False,
        )
        self.log.info("Started %s %s for %d alarms", self.deploy_dag_id, run_id, len(wanted))
        for alarm in wanted.values():
            alarm["repair"] = run_id
        return run_id

    def _deployed_revision(self, wanted: Mapping[str, Mapping[str, Any]]) -> str:
        """The one revision that everything with an alarm was deployed from, empty if there is no such."""
        from triplane.core import deployed

        store = settings.artifact_store()
        clouds = {alarm["address"].partition("/")[0] for alarm in wanted.values()}
        revisions = {
            entry["revision"]
            for cloud in clouds
            for entry in deployed.read(store, f"{self.environment}/{cloud}").values()
        }
        return revisions.pop() if len(revisions) == 1 else ""

    def _tell(self, found: Mapping[str, Any], alarms: Alarms) -> None:
        from triplane.drift.messages import messages
        from triplane.notify.links import run_link
        from triplane.notify.send import notify

        for message in messages(found, alarms, run_link(found["dag_id"], found["run_id"])):
            notify(self.notify, message)

    def _emit(self, context: Context, found: Mapping[str, Any]) -> None:
        from triplane.drift import report

        events: Any = context["outlet_events"]
        asset = Asset(assets.drift_uri(self.platform, self.environment))
        events[AssetAlias(assets.drift_alias(self.platform))].add(asset, extra=report.extra(found))


class DriftVerdictOperator(BaseOperator):
    """Fail if a component could not be checked: no data is not "in sync".

    :param report: what the report's task returned (templated)
    """

    template_fields: Sequence[str] = ("report",)
    ui_color = "#e8f5e9"

    def __init__(self, *, report: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.report = report

    def execute(self, context: Context) -> None:
        """Look for what is unknown."""
        from triplane.core.drift import UNKNOWN

        count = self.report[UNKNOWN]
        if not count:
            return
        names = [item["address"] for item in self.report["components"] if item["state"] == UNKNOWN]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        raise AirflowFailException(
            f"not checked: {', '.join(names)}{more}; the report says why. Not in sync until shown otherwise"
        )
