"""One builder, three clouds: the DAG ``deploy_<cloud>``."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain, pairwise
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from triplane import settings
from triplane.approval.reminder import ReminderOperator
from triplane.approval.sensors import ApprovalSensor
from triplane.core.runs import settle_run_id
from triplane.factories import components
from triplane.factories.components import Component
from triplane.factories.context import Build, policies, releases, retries, spec, with_params
from triplane.factories.events import KINDS, delete_leftovers, event_sources, plan_leftovers
from triplane.factories.images import built_images, pushed_images
from triplane.factories.machines import machines
from triplane.factories.manifests import manifests
from triplane.factories.markers import markers
from triplane.factories.notify import routes_of
from triplane.factories.pipelines import pipelines
from triplane.factories.secrets import used_secrets
from triplane.factories.testing import tasks_of_tests
from triplane.rollout.authorize import AuthorizeOperator
from triplane.rollout.marking import FailureMarker
from triplane.rollout.operators import ChangeSetOperator, RecordOperator
from triplane.rollout.queue import QueueOperator
from triplane.rollout.telling import FailureNotifier
from triplane.source.operators import FreezeOperator

ASKS = "params.action in ('deploy', 'rollback', 'destroy') and not params.dry_run"
ASK = f"{{{{ {ASKS} }}}}"


def takes_turn(cloud: str) -> str:
    """Whether a run of a cloud's DAG needs a turn of its own: those that a parent started go in its turn."""
    undoes = f"params.undo and run_id == '{settle_run_id('{}', cloud)}'.format(params.undo.run_id)"
    return f"{{{{ {ASKS} and not ({undoes}) }}}}"


def rollback_of(*clouds: str) -> str:
    """The scopes that a rollback goes back in, none for another action."""
    scopes = " ".join(f"{components.ENVIRONMENT}/{cloud}" for cloud in clouds)
    return f"{{% if params.action == 'rollback' %}}{scopes}{{% endif %}}"


def cloud_dag(cloud: str, platform: str | None = None, prefix: str = "") -> DAG | None:
    """The DAG that plans, asks and applies in one cloud; None if the platform does not use it.

    :param cloud: ``aws``, ``gcp`` or ``azure``
    :param platform: path of the platform spec, by default ``[triplane] platform``
    :param prefix: what the ids of all DAGs of this platform begin with, where Airflow holds several platforms
    """
    build = spec(platform, prefix)
    if cloud not in build.platform.used_clouds():
        return None
    with DAG(
        dag_id=build.dag_id("deploy", cloud),
        description=f"Deploy {build.platform.name} to {cloud}",
        schedule=None,
        catchup=False,
        max_active_runs=16,
        tags=["triplane", cloud],
        doc_md=__doc__,
        default_args={"on_failure_callback": _on_failure(build, cloud)} | _placed(cloud),
    ) as dag:
        _tasks(build, cloud)
    return with_params(dag, _params(build))


def _on_failure(build: Build, cloud: str) -> list[Any]:
    """What marks and tells of failures: for every task, but a run is marked and told of once."""
    marker = FailureMarker(places=markers(build.platform, cloud), tasks=components.task_ids(build, cloud))
    wanted = [route for route in routes_of(build) if not route["events"] or "failed" in route["events"]]
    return [marker, *([FailureNotifier(routes=wanted)] if wanted else [])]


def _placed(cloud: str) -> dict[str, Any]:
    """Where the Kubernetes executor runs the tasks of a cloud: as the cloud's identity alone, if there is a pod for it."""
    template = settings.pod_template(cloud)
    return {"executor_config": {"pod_template_file": template}} if template else {}


def freeze_task(build: Build, **conf: str) -> FreezeOperator:
    """The first task of every DAG: what is deployed, as one immutable archive."""
    return FreezeOperator(
        task_id="freeze",
        folder=str(build.folder),
        spec_file=build.file.name,
        spec=build.digest,
        multiple_outputs=True,
        revision="{{ params.revision }}",
        to="{{ params.get('to') or '' }}",
        remote=build.remote,
        **conf,
        **retries(),
    )


def reminder(build: Build, asked: Any) -> list[Any]:
    """The task that reminds people of the approvals that ``asked`` asks for, where any environment wants that."""
    if not any(environment.approval.remind for environment in build.platform.environments.values()):
        return []
    return [
        ReminderOperator.partial(task_id="remind", notify=routes_of(build), **retries()).expand_kwargs(
            asked.output
        )
    ]


def queue_task(build: Build, *children: str, deploys: str) -> QueueOperator:
    """What every run that deploys begins with: its turn in the environment."""
    return QueueOperator(
        task_id="queue",
        environment=components.ENVIRONMENT,
        deploys=deploys,
        supersede=releases(build.platform, lambda release: release.supersede),
        children=children,
        **retries(),
    )


def _params(build: Build) -> dict[str, Param]:
    return {
        **build.action_params("deploy", "plan", "rollback", "destroy", "apply"),
        "frozen": Param(None, type=["null", "object"], title="A source that another run has frozen"),
        "approved": Param(
            None,
            type=["null", "object"],
            title="For apply: change_set, dag_id and run_id of the approved change set",
        ),
        "undo": Param(
            None,
            type=["null", "object"],
            title="For the rollback of a release: its change_set, dag_id and run_id",
        ),
    }


def _tasks(build: Build, cloud: str) -> None:
    queue = queue_task(build, deploys=takes_turn(cloud))
    frozen = freeze_task(
        build,
        frozen="{{ params.frozen | tojson }}",
        rollback_of=rollback_of(cloud),
        skip="{{ params.action == 'apply' }}",
    )
    queue >> frozen
    used = build.platform.cloud(cloud)
    stages = [
        name for name in components.STAGES.values() if name not in components.OPTIONAL or getattr(used, name)
    ]
    groups = {name: TaskGroup(name) for name in ("images", "tests", *stages, "leftovers")}
    planned, tested = _plan(build, cloud, frozen, groups)
    with groups["leftovers"]:
        left = plan_leftovers(build, cloud)
    frozen >> left
    change_set = ChangeSetOperator(
        task_id="change_set",
        platform=build.platform.name,
        cloud=cloud,
        environment=components.ENVIRONMENT,
        frozen=frozen.output,
        plans=[*(component.plan.output for component in planned), left.output],
        policies=policies(build.platform),
        action=components.INTENT,
        ask=ASK,
        tests={name: task.output for name, task in tested.items()},
        emergency="{{ params.emergency or '' }}",
        release=releases(build.platform, lambda release: release.promise()),
        in_release="{{ params.frozen is not none and params.dry_run }}",
        undo="{{ params.undo | tojson }}",
        secrets=used_secrets(build, cloud),
        **retries(),
    )
    approval: Any = ApprovalSensor.partial(
        task_id="approval", notify=routes_of(build), **retries()
    ).expand_kwargs(change_set.output)
    reminder(build, change_set)
    authorize = AuthorizeOperator(
        task_id="authorize",
        cloud=cloud,
        environment=components.ENVIRONMENT,
        action="{{ params.action }}",
        change_sets="{{ ti.xcom_pull(task_ids='change_set', key='change_sets') | tojson }}",
        approved="{{ params.approved | tojson }}",
        dry_run="{{ params.dry_run }}",
        folder=build.checkout,
        spec=build.digest,
        trigger_rule="none_failed",
        **retries(),
    )
    [change_set, approval] >> authorize
    applied = _apply(planned, authorize, groups)
    with groups["leftovers"]:
        deleted = delete_leftovers(build, cloud, authorize)
    destroyed = _destroy(planned, authorize, deleted)
    authorize.branches = {
        "deploy": {address: tasks[0].task_id for address, tasks in applied.items()},
        "destroy": {address: task.task_id for address, task in destroyed.items()},
    }
    record = RecordOperator(
        task_id="record",
        cloud=cloud,
        environment=components.ENVIRONMENT,
        change_set=authorize.output["change_set"],
        tasks=components.task_ids(build, cloud),
        notify=routes_of(build),
        platform=build.platform.name,
        decisions=authorize.output["decisions"],
        markers=markers(build.platform, cloud),
        unchanged=authorize.output["unchanged"],
        trigger_rule="none_failed_min_one_success",
        **retries(),
    )
    [*chain.from_iterable(applied.values()), *destroyed.values(), deleted] >> record


def _plan(
    build: Build, cloud: str, frozen: Any, groups: components.Groups
) -> tuple[list[Component], dict[str, Any]]:
    """The components, planned after the tests, and these."""
    with groups["images"]:
        built = built_images(build, cloud, frozen)
        pushed = pushed_images(build, cloud, built)
    with groups["tests"]:
        tested = tasks_of_tests(build, frozen, built, cloud=cloud, pushed=pushed)
    with groups["infrastructure"]:
        stacks = components.stacks(build, cloud, frozen)
    with groups.get("machines", nullcontext()):
        configured = machines(build, cloud, frozen, stacks)
    with groups.get("manifests", nullcontext()):
        applied = manifests(build, cloud, frozen, pushed)
    with groups["applications"]:
        charts = components.charts(build, cloud, frozen, pushed)
    with groups["functions"]:
        functions = components.functions(build, cloud, frozen, pushed)
    planned = [*stacks, *configured, *applied, *charts, *functions]
    for kind, stage in KINDS.items():
        with groups.get(stage, nullcontext()):
            planned += event_sources(build, cloud, kind)
    with groups.get("pipelines", nullcontext()):
        planned += pipelines(build, cloud, frozen, pushed)
    for test in tested.values():
        test >> [component.plan for component in planned]
    return planned, dict(tested)


def _apply(planned: list[Component], authorize: Any, groups: components.Groups) -> dict[str, list[Any]]:
    """Stacks wave by wave, then the kinds in their order: address -> the tasks of the component."""
    done: dict[str, list[Any]] = {}
    kinds: dict[str, list[list[Any]]] = {}
    for component in planned:
        tasks = component.apply(authorize, groups)
        for address in component.after:
            done[address] >> tasks[0]
        done[component.address] = tasks
        kinds.setdefault(component.kind, []).append(tasks)
    stages = [list(chain.from_iterable(kinds.get(kind, ()) for kind in side)) for side in components.ORDER]
    for earlier, later in pairwise(stage for stage in stages if stage):
        for first in earlier:
            for then in later:
                first >> then[0]
    return done


def _destroy(planned: list[Component], authorize: Any, left: Any) -> dict[str, Any]:
    """Address -> task: what calls functions, then all that is no stack, then the stacks from the last wave to the first."""
    with TaskGroup("destroy"):
        tasks = {component.address: component.destroy(authorize) for component in planned}
    stacks = [component for component in planned if component.kind == "stack"]
    callers = [left, *(tasks[component.address] for component in planned if component.kind in KINDS)]
    others = [tasks[component.address] for component in planned if component.kind not in ("stack", *KINDS)]
    for other in others:
        callers >> other
    for component in planned:
        for address in component.after:
            tasks[component.address] >> tasks[address]
    for stack in stacks:
        (others or callers) >> tasks[stack.address]
    return tasks
