"""What a release comes to when not every cloud ended well."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import settings
from triplane.rollout.runs import (
    ENDED_BADLY,
    ENDED_WELL,
    LOOK_SECONDS,
    UNDER_WAY,
    check_ready,
    run_state,
    start_run,
    task_states,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.history import Version
    from triplane.core.ledger import Ledger


class SettleOperator(BaseOperator):
    """Keep what the clouds of a release came to, or roll them back, as its policy says.

    ``all_or_nothing``: every cloud must end well; ``quorum``: so many must; ``best_effort`` keeps everything. A gate
    that failed counts as a failure. Clouds are rolled back in the reverse of their order, each by one run of its DAG
    with the action rollback, whose tasks verify that the earlier version serves. Clouds that nobody approved (``held``)
    have no part in it.

    Pushes the XCom ``outcome``: ``{"outcome": "kept" | "nothing_begun" | "rolled_back", "clouds": {cloud: {"state",
    "revision"}}, "text"}``. Fails if a cloud could not be rolled back, and says what is left where.

    :param clouds: cloud -> ``{"dag_id", "run_id", "settle_run_id"}``
    :param stages: the clouds in the order in which they were applied
    :param gates: ids of the tasks between the stages
    :param environment: the environment (templated)
    :param release: ``{"policy": ..., "quorum": n}`` (templated)
    :param change_sets: cloud -> digest of the change set that was approved (templated)
    :param wait_limit: seconds to wait for runs that go on, and for each rollback (templated)
    :param poll_interval: seconds between two looks
    :param skip: true where nothing was to be deployed (templated)
    """

    template_fields: Sequence[str] = (
        "clouds",
        "environment",
        "release",
        "change_sets",
        "wait_limit",
        "skip",
    )
    ui_color = "#ffe3d9"

    def __init__(
        self,
        *,
        clouds: Mapping[str, Mapping[str, str]],
        stages: Sequence[Sequence[str]],
        environment: str,
        release: Any,
        change_sets: Any,
        gates: Sequence[str] = (),
        wait_limit: Any = 12 * 3600.0,
        skip: str | bool = False,
        poll_interval: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.clouds = clouds
        self.stages = stages
        self.gates = gates
        self.environment = environment
        self.release = release
        self.change_sets = change_sets
        self.wait_limit = wait_limit
        self.skip = skip
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, and roll back what is to be; parks while runs go on. A rollback that failed is tried again."""
        if str(self.skip) == "True":
            raise AirflowSkipException("this run deploys nothing")
        return self._settle(context, until=time.time() + float(self.wait_limit), again=True)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """A run that this waits for has ended, or did not in time."""
        if event["state"] == "ended":
            return self._settle(context, until=time.time() + float(self.wait_limit), again=False)
        if event["state"] == "limit":
            raise AirflowFailException(
                "a cloud still runs after the release's wait_limit: nothing more is rolled back until this task is "
                "cleared; see the runs of the clouds"
            )
        for child in self.clouds.values():
            check_ready(context, child["dag_id"])
        return self._settle(context, until=event["until"], again=False)

    def _settle(self, context: Context, *, until: float, again: bool) -> dict[str, Any]:
        applied = {
            c: run_state(context, child["dag_id"], child["run_id"]) for c, child in self.clouds.items()
        }
        if going := [c for c, state in applied.items() if state in UNDER_WAY]:
            self._wait(going, "run_id", until)
        if not self._settled_before(context):
            problem = self._problem(context, applied)
            if not problem or self.release["policy"] == "best_effort":
                return self._done(context, "kept", {}, problem or "every cloud ended well")
            self.log.warning("%s: %s", self.release["policy"], problem)
        targets = self._targets(context)
        if not targets:
            return self._done(context, "nothing_begun", {}, "nothing was applied anywhere")
        if any(targets.values()):
            self._record(context, targets)
        return self._roll_back(context, targets, until=until, again=again)

    def _problem(self, context: Context, applied: Mapping[str, str | None]) -> str:
        """What the policy does not accept, empty if it accepts all."""
        states = task_states(context, *(f"apply.{cloud}" for cloud in self.clouds), *self.gates)
        asked = [cloud for cloud in self.clouds if states.get(f"apply.{cloud}") != "skipped"]
        bad = [cloud for cloud in asked if applied[cloud] != ENDED_WELL]
        gates = [gate for gate in self.gates if states.get(gate) == ENDED_BADLY]
        if gates:
            return f"{', '.join(gates)} did not pass"
        enough = len(asked) - len(bad) >= (self.release.get("quorum") or len(asked))
        return "" if not bad or enough else f"{', '.join(bad)} did not end well"

    def _targets(self, context: Context) -> dict[str, Version | None]:
        """The clouds that were begun, and the version to go back to, None where there is none."""
        from triplane.core.history import AUTHORIZED, before

        found: dict[str, Version | None] = {}
        for cloud, child in self.clouds.items():
            entries = self._ledger(cloud).entries()
            if any(e.kind == AUTHORIZED and e.body["run_id"] == child["run_id"] for e in entries):
                found[cloud] = before(entries, child["run_id"])
        return found

    def _settled_before(self, context: Context) -> bool:
        from triplane.core.undo import settlement

        run: Any = context["dag_run"]
        return any(settlement(self._ledger(cloud).entries(), run.run_id) for cloud in self.clouds)

    def _record(self, context: Context, targets: Mapping[str, Version | None]) -> None:
        """From here on nothing of this run is applied any more, in no cloud."""
        from triplane.core.undo import SETTLED, settlement

        run: Any = context["dag_run"]
        for cloud, child in self.clouds.items():
            ledger = self._ledger(cloud)
            if settlement(ledger.entries(), run.run_id):
                continue
            target = targets.get(cloud)
            ledger.append(
                SETTLED,
                {
                    "parent": run.run_id,
                    "run_id": child["settle_run_id"],
                    "digest": self.change_sets[cloud],
                    "source": target.source if target else "",
                    "revision": target.revision if target else "",
                },
            )

    def _roll_back(
        self, context: Context, targets: Mapping[str, Version | None], *, until: float, again: bool
    ) -> dict[str, Any]:
        for stage in reversed(self.stages):
            going = []
            for cloud in stage:
                if (target := targets.get(cloud)) is None:
                    continue
                child = self.clouds[cloud]
                state = run_state(context, child["dag_id"], child["settle_run_id"])
                if state is None or (state == ENDED_BADLY and again):
                    check_ready(context, child["dag_id"])
                    self.log.info("Rolling %s back to %s", cloud, target.revision)
                    conf = self._conf(context, cloud, target)
                    start_run(child["dag_id"], child["settle_run_id"], conf, again=state is not None)
                    going.append(cloud)
                elif state in UNDER_WAY:
                    going.append(cloud)
            if going:
                self._wait(going, "settle_run_id", until)
        return self._end(context, targets)

    def _conf(self, context: Context, cloud: str, target: Version) -> dict[str, Any]:
        run: Any = context["dag_run"]
        return {
            "action": "rollback",
            "environment": self.environment,
            "frozen": settings.frozen_version([target]),
            "undo": {"change_set": self.change_sets[cloud], "dag_id": run.dag_id, "run_id": run.run_id},
        }

    def _end(self, context: Context, targets: Mapping[str, Version | None]) -> dict[str, Any]:
        clouds: dict[str, dict[str, str]] = {}
        for cloud, target in targets.items():
            child = self.clouds[cloud]
            if target is None:
                clouds[cloud] = {"state": "left", "revision": ""}
                continue
            good = run_state(context, child["dag_id"], child["settle_run_id"]) == ENDED_WELL
            clouds[cloud] = {"state": "rolled_back" if good else "failed", "revision": target.revision}
        text = "; ".join(self._sentences(clouds))
        outcome = "rolled_back" if any(targets.values()) else "left"
        result = self._done(context, outcome, clouds, text)
        if any(item["state"] != "rolled_back" for item in clouds.values()):
            raise AirflowFailException(f"NOT EVERYTHING WAS ROLLED BACK: {text}")
        return result

    def _sentences(self, clouds: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
        for cloud, item in clouds.items():
            child = self.clouds[cloud]
            match item["state"]:
                case "rolled_back":
                    yield f"{cloud} is back at {item['revision']}, verified"
                case "failed":
                    yield (
                        f"{cloud} could NOT be rolled back to {item['revision']}: parts of the new version are left "
                        f"there; see {child['dag_id']} {child['settle_run_id']}, mend the cause, then clear this task"
                    )
                case _:
                    yield (
                        f"{cloud} has no earlier good version to go back to: what {child['dag_id']} "
                        f"{child['run_id']} applied is LEFT there; mend and retry it, or destroy it"
                    )

    def _done(self, context: Context, outcome: str, clouds: Mapping[str, Any], text: str) -> dict[str, Any]:
        instance: Any = context["task_instance"]
        result = {"outcome": outcome, "clouds": dict(clouds), "text": text}
        instance.xcom_push(key="outcome", value=result)
        self.log.info("%s: %s", outcome, text)
        return result

    def _ledger(self, cloud: str) -> Ledger:
        return settings.ledger(f"{self.environment}/{cloud}")

    def _wait(self, clouds: Sequence[str], run: str, until: float) -> NoReturn:
        from triplane.rollout.triggers import RunsTrigger

        self.log.info("Waiting for %s", ", ".join(clouds))
        self.defer(
            trigger=RunsTrigger(
                runs=[[self.clouds[cloud]["dag_id"], self.clouds[cloud][run]] for cloud in clouds],
                states=UNDER_WAY,
                until=until,
                look=LOOK_SECONDS,
                poll=self.poll_interval,
            ),
            method_name="execute_complete",
        )
        raise AssertionError("defer never returns")
