"""Fills Airflow's database and the artifact store of this process's configuration: ``python -m tests.page.world``.

The DAGs are the real ones, serialized by Airflow; change sets, ledgers and drift reports are written by the code that
workers run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from triplane import settings
from triplane.core import deployed, drift
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.history import AUTHORIZED, PLANNED, ROLLOUT, body
from triplane.core.runs import apply_run_id, plan_run_id

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
CLOUDS: dict[str, dict[str, Any]] = {
    "aws": {"region": "eu-west-1", "cluster": "main", "state": {"bucket": "shop"}},
    "gcp": {"project": "shop", "region": "europe-west1", "cluster": "main", "state": {"bucket": "shop"}},
    "azure": {"resource_group": "shop", "location": "westeurope", "cluster": "main"}
    | {"state": {"resource_group": "shop", "storage_account": "shop", "container": "shop"}},
}
POLICY = {"low": 2, "medium": 2, "high": 2, "critical": 2}
DONE, ASKING, FAILING = "manual__done", "manual__asking", "manual__failing"
REVISIONS = ("1" * 40, "2" * 40)


def write_spec(folder: Path, components: int) -> Path:
    """A platform of about so many components over three clouds."""
    each = max(components // 3 - 2, 0)
    clouds = {
        cloud: {
            **options,
            "stacks": {
                "network": {"path": "infra/network"},
                "cluster": {"path": "infra/cluster", "after": ["network"]},
            },
            "charts": {f"service-{index}": {"path": "charts/service"} for index in range(each)},
        }
        for cloud, options in CLOUDS.items()
    }
    document = {
        "version": 1,
        "name": "shop",
        "environments": {
            "staging": {"approval": {**POLICY, "reason_from": "high"}},
            "prod": {"approval": POLICY},
        },
        "clouds": clouds,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "platform.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


class World:
    """A platform in Airflow's database, and what has become of it.

    :param spec: its platform spec
    """

    def __init__(self, session: Any, spec: Path) -> None:
        from triplane.factories.cloud import cloud_dag
        from triplane.factories.drift import drift_dag
        from triplane.factories.parent import parent_dag

        self.session = session
        dags: list[Any] = [cloud_dag(cloud, str(spec)) for cloud in CLOUDS]
        self.dags = {dag.dag_id: dag for dag in (*dags, parent_dag(str(spec)), drift_dag(str(spec)))}
        self.addresses = {
            cloud: [
                str(task.address) for task in self.dags[f"deploy_{cloud}"].tasks if _is_component_plan(task)
            ]
            for cloud in CLOUDS
        }

    def write_dags(self) -> None:
        """Serialize the DAGs, as the DAG processor does."""
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.collection import update_dag_parsing_results_in_db
        from airflow.serialization.serialized_objects import LazyDeserializedDAG

        DagBundlesManager().sync_bundles_to_db(session=self.session)
        self.session.commit()
        serialized = [LazyDeserializedDAG.from_dag(dag) for dag in self.dags.values()]
        for dag in self.dags.values():
            dag.relative_fileloc = "shop.py"
        update_dag_parsing_results_in_db(
            "dags-folder",
            None,
            serialized,
            {},
            None,
            set(),
            session=self.session,
            files_parsed={("dags-folder", "shop.py")},
        )
        self.session.commit()

    def change_set(self, cloud: str, environment: str, revision: str, lines: int = 3) -> ChangeSet:
        """What a deployment of a revision would change: the network much, everything else a little or not at all."""
        first, *others = self.addresses[cloud]
        changes = [
            ComponentChange(
                address=first,
                action="replace",
                risk=Risk.HIGH,
                summary=f"{lines} resources to change {HOSTILE}",
                lines=tuple(_lines(lines)),
                binds={"plan": "sha256:" + "a" * 64},
            )
        ]
        for index, address in enumerate(others):
            changed = index % 7 == 0
            changes.append(
                ComponentChange(
                    address=address,
                    action="update" if changed else "none",
                    risk=Risk.MEDIUM if changed else Risk.NONE,
                    summary="the image is another one" if changed else "no changes",
                    lines=(f"~ Deployment default/{index}", "  ~ spec.replicas: 2 -> 3") if changed else (),
                )
            )
        return ChangeSet(
            platform="shop",
            environment=environment,
            cloud=cloud,
            asked="main",
            revision=revision,
            source="sha256:" + revision[0] * 64,
            spec="sha256:" + "c" * 64,
            policy={**self._policy(environment)},
            planned_at=datetime.now(UTC).isoformat(),
            changes=tuple(changes),
            tests=({"name": "unit", "text": f"120 passed {HOSTILE}"},),
        )

    def rolled_out(self, environment: str, run_id: str, revision: str, at: datetime) -> None:
        """A parent run that has deployed everything, with its records in the ledger; no task instances."""
        settings.claim(environment, "shop")
        self.run("deploy", run_id, environment, "success", at)
        for cloud in CLOUDS:
            change_set = self.change_set(cloud, environment, revision)
            child = apply_run_id(run_id, cloud)
            self.run(f"deploy_{cloud}", child, environment, "success", at, action="apply")
            digest = settings.put_change_set(change_set)
            ledger = settings.ledger(f"{environment}/{cloud}")
            ledger.append(PLANNED, {"digest": digest, "run_id": plan_run_id(run_id, cloud), "risk": "high"})
            allowed = {"run_id": child, "approved_by": ["bob", HOSTILE], "decisions": []}
            ledger.append(AUTHORIZED, {**body(change_set), **allowed})
            results = [
                {"address": address, "version": f"{revision[0]}.{index}", "state": "deployed", "seconds": 1.0}
                | {"details": {}}
                for index, address in enumerate(self.addresses[cloud])
            ]
            ledger.append(ROLLOUT, {**body(change_set), "run_id": child, "results": results})
            deployed.record(settings.artifact_store(), change_set, results, child)

    def run(
        self, dag_id: str, run_id: str, environment: str, state: str, at: datetime, action: str = "deploy"
    ) -> Any:
        """A run without task instances."""
        from airflow.models.dagrun import DagRun

        found = DagRun(
            dag_id=dag_id,
            run_id=run_id,
            run_type="manual",
            state=state,
            run_after=at,
            start_date=at,
            conf={"environment": environment, "action": action},
            triggering_user_name="alice",
        )
        if state in ("success", "failed"):
            found.end_date = at + timedelta(minutes=3)
        self.session.add(found)
        self.session.flush()
        return found

    def tasks(
        self, dag_id: str, run_id: str, states: Mapping[str, str], usual: str | None, limit: int = 150
    ) -> None:
        """The task instances of a run: those that ``states`` names in their state, and so many others in the usual one."""
        from airflow.models.dagrun import DagRun
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.models.taskinstance import TaskInstance
        from sqlalchemy import select

        dag = SerializedDagModel.get_dag(dag_id, session=self.session)
        version = SerializedDagModel.get(dag_id, session=self.session).dag_version_id
        run = self.session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        others = [task for task in dag.tasks if task.task_id not in states][:limit]
        for task in (*(dag.get_task(name) for name in states), *others):
            instance = TaskInstance(task, run_id=run_id, dag_version_id=version)
            state = states.get(task.task_id, usual)
            instance.state = None if state == "none" else state
            if instance.state not in (None, "skipped"):
                instance.try_number = 1
                instance.start_date = run.start_date
            if instance.state in ("success", "failed"):
                instance.end_date = instance.start_date + timedelta(seconds=20)
            self.session.add(instance)
        self.session.flush()

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, value: Any) -> None:
        """What a task has pushed."""
        from airflow.models.xcom import XComModel

        XComModel.set(
            key, value, dag_id=dag_id, task_id=task_id, run_id=run_id, serialize=False, session=self.session
        )

    def asking(self, environment: str, run_id: str, revision: str, at: datetime, lines: int) -> None:
        """A parent run of alice's that waits for two people."""
        from airflow.models.hitl import HITLDetail
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.models.taskinstance import TaskInstance

        from triplane.approval import form, review

        self.run("deploy", run_id, environment, "running", at)
        before = ("queue", "freeze", "change_sets", *(f"plan.{cloud}" for cloud in CLOUDS))
        self.tasks("deploy", run_id, dict.fromkeys(before, "success") | {"approval": "removed"}, None)
        sets = [self.change_set(cloud, environment, revision, lines) for cloud in CLOUDS]
        digests = {each.cloud: settings.put_change_set(each) for each in sets}
        for cloud in CLOUDS:
            child = plan_run_id(run_id, cloud)
            self.run(f"deploy_{cloud}", child, environment, "success", at, action="deploy")
            self.tasks(f"deploy_{cloud}", child, {"change_set": "success"}, "success")
            self.xcom(f"deploy_{cloud}", child, "change_set", "change_sets", {cloud: digests[cloud]})
        self.xcom("deploy", run_id, "change_sets", "change_sets", digests)
        votes = [{"vote": vote, "votes": 2, "change_sets": digests} for vote in range(2)]
        self.xcom("deploy", run_id, "change_sets", "return_value", votes)
        dag = SerializedDagModel.get_dag("deploy", session=self.session)
        version = SerializedDagModel.get("deploy", session=self.session).dag_version_id
        params = {name: param.serialize() for name, param in form.params(sets).items()}
        for vote in range(2):
            task = dag.get_task("approval")
            instance = TaskInstance(
                task, run_id=run_id, map_index=vote, state="awaiting_input", dag_version_id=version
            )
            instance.try_number, instance.start_date = 1, at
            instance.trigger_timeout = at + timedelta(hours=20)
            instance.next_method, instance.next_kwargs = "execute_complete", {}
            self.session.add(instance)
            self.session.flush()
            self.session.add(
                HITLDetail(
                    ti_id=instance.id,
                    options=["Approve", "Reject"],
                    subject=f"{review.subject(sets)} {HOSTILE}",
                    body=review.body(sets, "alice"),
                    params=params,
                    multiple=False,
                )
            )
        self.session.flush()

    def failing(self, environment: str, run_id: str, at: datetime) -> None:
        """A parent run whose Google Cloud has failed while AWS goes on."""
        self.run("deploy", run_id, environment, "running", at)
        self.tasks(
            "deploy",
            run_id,
            {
                "apply.aws": "deferred",
                "apply.gcp": "failed",
                "apply.azure": "deferred",
                "settle": "none",
                "report": "none",
            },
            "success",
        )
        first = next(
            task.task_id for task in self.dags["deploy_aws"].tasks if task.task_id.endswith(".deploy")
        )
        for cloud, state in (("aws", "running"), ("gcp", "failed"), ("azure", "running")):
            child = apply_run_id(run_id, cloud)
            self.run(f"deploy_{cloud}", child, environment, state, at, action="apply")
            now = "failed" if cloud == "gcp" else "running"
            self.tasks(
                f"deploy_{cloud}",
                child,
                {
                    "queue": "success",
                    "freeze": "skipped",
                    "authorize": "success",
                    "infrastructure.network.apply": now,
                    **({first: "none"} if cloud == "aws" else {}),
                },
                None,
            )
        shifts = [
            {"at": (at + timedelta(minutes=index)).isoformat(), "version": f"2 {HOSTILE}", "percent": percent}
            for index, percent in enumerate((10, 50, 100))
        ]
        self.xcom(
            "deploy_aws",
            apply_run_id(run_id, "aws"),
            first,
            "traffic",
            shifts,
        )

    def drifted(self, environment: str, at: datetime) -> None:
        """Reports of drift checks: one component has drifted, one is not known, one drift is ignored."""
        from triplane.drift import kept, report
        from triplane.drift.alarms import groups, raised

        for day in range(6):
            components = list(self._checks(day))
            found = report.summary(
                components, [address for cloud in CLOUDS for address in self.addresses[cloud]]
            )
            run_id = f"scheduled__{at.date()}_{day}"
            state = kept.state(environment)
            alarms = raised(found["components"], state["alarms"], alarm_after=1, run_id=run_id)
            found |= {
                "platform": "shop",
                "environment": environment,
                "dag_id": "drift_check",
                "run_id": run_id,
                "at": (at - timedelta(days=5 - day)).isoformat(),
                "revision": REVISIONS[0],
                "alarm_after": 1,
                "repair": None,
                "alarms": {name: len(getattr(alarms, name)) for name in ("known", "new", "cured")},
                "coverage": report.coverage(found["components"]),
                "groups": groups(found["components"], alarms),
                "kept_as": kept.name(environment, run_id),
            }
            kept.put(found)
            history = kept.with_entry(state["history"], found)
            kept.put_state(environment, {"alarms": alarms.known, "notified": "", "history": history})

    def _checks(self, day: int) -> Iterator[dict[str, Any]]:
        ignore = drift.Ignore(resource="*", attribute="tags", reason=HOSTILE, until=datetime.now(UTC).date())
        for cloud in CLOUDS:
            for index, address in enumerate(self.addresses[cloud]):
                attributes = [{"name": "tags", "before": "a", "after": HOSTILE}]
                if index == 0 and day > 2:
                    attributes.append({"name": "size", "before": "1", "after": "2"})
                if index == 1 and cloud == "gcp":
                    yield drift.unknown(address, f"no credentials {HOSTILE}", None).to_json()
                    continue
                seen = [drift.finding(f"resource {HOSTILE}", "update", attributes)] if index == 0 else []
                yield drift.judge(address, seen, ignores=[ignore]).to_json()

    def _policy(self, environment: str) -> Mapping[str, Any]:
        from triplane.core.approval import Policy

        reason_from = "high" if environment == "staging" else "never"
        return Policy(
            votes=POLICY, reason_from=reason_from, required={"high": {"security": ["bob", "carol"]}}
        ).to_json()


def fill(spec: Path, rollouts: int, lines: int = 500) -> World:
    """All of it: so many rollouts, of which one asks, one fails, and all others went well."""
    from airflow.utils.session import create_session

    now = datetime.now(UTC)
    with create_session() as session:
        world = World(session, spec)
        world.write_dags()
        for index in range(rollouts):
            at = now - timedelta(hours=rollouts - index + 4)
            name = DONE if index == rollouts - 1 else f"manual__{index:04d}"
            world.rolled_out("staging", name, REVISIONS[index % 2], at)
        world.asking("staging", ASKING, REVISIONS[rollouts % 2], now - timedelta(hours=1), lines)
        world.failing("prod", FAILING, now - timedelta(minutes=10))
        world.drifted("staging", now - timedelta(hours=3))
    return world


def _is_component_plan(task: Any) -> bool:
    return task.task_id.endswith(".plan") and getattr(task, "address", None) is not None


def _lines(count: int) -> Iterator[str]:
    yield f"! aws_db_instance.main[{HOSTILE}]: its data is lost, and no rollback brings it back"
    for index in range(count):
        sign = ("+", "~", "-/+", "-")[index % 4]
        yield f"{sign} aws_thing.number[{index}]"
        yield f"  ~ size: {index} -> {index + 1}"


def main(argv: Sequence[str] | None = None) -> None:
    """Fill what this process is configured for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--rollouts", type=int, default=3)
    parser.add_argument("--lines", type=int, default=500)
    arguments = parser.parse_args(argv)
    fill(arguments.spec, arguments.rollouts, arguments.lines)


if __name__ == "__main__":
    main()
