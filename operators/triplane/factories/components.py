"""Each component of the spec as two tasks: one plans it, one applies what was approved.

Both take the same arguments; :class:`Component` keeps them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow.sdk import TaskGroup

from triplane.approval.sensors import ApprovalSensor
from triplane.factories.context import Build, retries
from triplane.factories.gates import checks_in, terms
from triplane.factories.images import DESTROYS
from triplane.factories.releases import chart_options
from triplane.factories.values import function_environment, per_environment, secret_reference
from triplane.gates.sensors import GateSensor
from triplane.kubernetes.operators import (
    HelmPlanOperator,
    HelmUninstallOperator,
    HelmUpgradeOperator,
    ImageParityOperator,
)
from triplane.serverless.operators import (
    ServerlessDeleteOperator,
    ServerlessDeployOperator,
    ServerlessPlanOperator,
)
from triplane.spec.model import AnyCloud, AwsCloud, AzureCloud, GcpCloud, Terraform
from triplane.terraform.backends import state_key
from triplane.terraform.operators import (
    TerraformApplyOperator,
    TerraformApplyOrAskOperator,
    TerraformDestroyOperator,
    TerraformPlanOperator,
)

ENVIRONMENT = "{{ params.environment }}"
INTENT = "{{ params.action }}"
STAGES = {
    "stack": "infrastructure",
    "machines": "machines",
    "manifests": "manifests",
    "chart": "applications",
    "function": "functions",
    "stream": "streams",
    "schedule": "schedules",
    "pipeline": "pipelines",
}
"""Kind of component -> the stage, a group of tasks, that applies it."""
OPTIONAL = ("machines", "manifests", "streams", "schedules", "pipelines")
"""Stages that are there only where they are used."""
ORDER = (
    ("stack",),
    ("machines",),
    ("manifests",),
    ("chart",),
    ("function",),
    ("stream", "schedule"),
    ("pipeline",),
)
"""The kinds that are applied side by side, the earlier ones first."""
APPLY = "apply"
ACTS = {"chart": "deploy", "function": "deploy", "pipeline": "run"}

Groups = Mapping[str, TaskGroup]


class Component(NamedTuple):
    """``options`` are the arguments that planning and applying share, ``after`` the addresses it waits for."""

    address: str
    plan: Any
    apply_operator: Any
    destroy_operator: Any
    options: Mapping[str, Any]
    after: tuple[str, ...] = ()
    takes_source: bool = True
    gate: Mapping[str, Any] | None = None
    """What a task of its own after the apply is given to judge it, of what cannot be rolled back by itself."""

    @property
    def kind(self) -> str:
        """``stack``, ``machines``, ``manifests``, ``chart``, ``function``, ``stream``, ``schedule`` or ``pipeline``."""
        return self.address.split("/")[1]

    @property
    def name(self) -> str:
        """Its name in the spec."""
        return self.address.split("/")[2]

    def apply(self, authorize: Any, groups: Groups) -> list[Any]:
        """The tasks that apply this component, in order, after ``authorize``, whose result they take."""
        shared = self._shared(authorize)
        with groups[STAGES[self.kind]]:
            task = self.apply_operator(
                task_id=f"{self.name}.{ACTS.get(self.kind, APPLY)}", **approved(authorize), **shared
            )
            if self.kind != "stack":
                return [task]
            tasks = [task, _ask_again(self.name, task, shared)]
            return [*tasks, *([self._judge(tasks)] if self.gate else [])]

    def _judge(self, tasks: list[Any]) -> GateSensor:
        """A rollback is not judged, nor what was not changed."""
        assert self.gate
        state = f"(ti.xcom_pull(task_ids='{tasks[0].task_id}', key='result') or {{}}).get('state')"
        gate = GateSensor(
            task_id=f"{self.name}.gate",
            checks=self.gate["gate"],
            ask=self.gate["ask"],
            scopes=[f"{ENVIRONMENT}/{self.address.partition('/')[0]}"],
            before="{{ dag_run.start_date }}",
            skip=f"{{{{ ti.xcom_pull(task_ids='authorize', key='intent') == 'rollback' or {state} == 'unchanged' }}}}",
            trigger_rule="none_failed_min_one_success",
            **retries(),
        )
        tasks >> gate
        return gate

    def destroy(self, authorize: Any) -> Any:
        """The task that destroys this component, after ``authorize``."""
        return self.destroy_operator(
            task_id=f"{self.kind}.{self.name}", **approved(authorize), **self._shared(authorize)
        )

    def _shared(self, authorize: Any) -> dict[str, Any]:
        return {
            "address": self.address,
            **({"source": authorize.output["source"]} if self.takes_source else {}),
            "trigger_rule": "none_failed_min_one_success",
            **self.options,
            **retries(),
        }


def approved(authorize: Any) -> dict[str, Any]:
    """The approved change set, as the operators that apply it take it."""
    return {
        "change_set": authorize.output["change_set"],
        "authorization": {"decisions": authorize.output["decisions"]},
    }


def _ask_again(name: str, task: Any, options: Mapping[str, Any]) -> Any:
    """Ask about what ``task`` held back, and apply it. Skipped, at no cost, where it held nothing back."""
    approval: Any = ApprovalSensor.partial(task_id=f"{name}.approval", **retries()).expand_kwargs(task.output)
    again = TerraformApplyOperator(
        task_id=f"{name}.apply_again",
        change_set=task.output["change_set"],
        authorization={"decisions": approval.output},
        **{**options, "trigger_rule": "all_success"},
    )
    approval >> again
    return again


def task_ids(build: Build, cloud: str) -> dict[str, list[str]]:
    """Address -> ids of the tasks that apply it, the one whose result counts most last. Leftovers are one task."""
    found = {}
    for address in build.platform.addresses(cloud):
        _, kind, name = address.split("/")
        task_id = f"{STAGES[kind]}.{name}.{ACTS.get(kind, APPLY)}"
        again = [f"{task_id}_again"] if kind == "stack" else []
        found[address] = [task_id, *again, f"destroy.{kind}.{name}"]
    found[f"{cloud}/leftovers"] = ["leftovers.delete"]
    return found


def stacks(build: Build, cloud: str, frozen: Any) -> list[Component]:
    """A cloud's stacks, each planned after those whose outputs it reads."""
    found: dict[str, Component] = {}
    for name in build.platform.stack_order(cloud):
        options = stack_options(build, cloud, name)
        after = build.platform.cloud(cloud).stacks[name].after
        plan = TerraformPlanOperator(
            task_id=f"{name}.plan",
            address=f"{cloud}/stack/{name}",
            source=frozen.output["source"],
            after={other: found[other].plan.output for other in after},
            intent=INTENT,
            trigger_rule="none_failed_min_one_success",
            **options,
            **retries(),
        )
        found[name] = Component(
            address=f"{cloud}/stack/{name}",
            plan=plan,
            apply_operator=TerraformApplyOrAskOperator,
            destroy_operator=TerraformDestroyOperator,
            options=options,
            gate=gate_of(build, build.platform.cloud(cloud).stacks[name].gate) or None,
            after=tuple(f"{cloud}/stack/{other}" for other in after),
        )
    return list(found.values())


def stack_options(build: Build, cloud: str, name: str) -> dict[str, Any]:
    """What every Terraform operator of a stack needs."""
    spec = build.platform.cloud(cloud)
    stack = spec.stacks[name]
    secrets = {key: secret_reference(build.platform, secret) for key, secret in stack.secrets.items()}
    backend = None
    if spec.state is not None:
        key = state_key(build.platform.name, ENVIRONMENT, name)
        backend = {**{name: value for name, value in spec.state if value is not None}, "key": key}
    return {
        "path": stack.path,
        "scope": f"{ENVIRONMENT}/{cloud}",
        "variables": per_environment(build.platform, {**stack.variables, **secrets}),
        "backend": backend,
        "cloud": cloud,
        "cloud_conn_id": spec.connection,
        "cloud_options": credential_options(spec),
        "policies": build.platform.policies,
        "credential_lifetime": stack.credential_lifetime.total_seconds(),
        **_terraform_options(build.platform.terraform),
    }


def _terraform_options(spec: Terraform) -> dict[str, Any]:
    limit = spec.command_timeout
    return {
        "terraform_bin": spec.binary,
        "required_version": spec.required_version,
        "lock_timeout": spec.lock_timeout.total_seconds(),
        "init_timeout": spec.init_timeout.total_seconds(),
        "command_timeout": None if limit is None else limit.total_seconds(),
        "stop_grace": spec.stop_grace.total_seconds(),
        "max_plan_bytes": spec.max_plan_bytes,
    }


def credential_options(spec: AnyCloud) -> dict[str, str]:
    """What a cloud's credentials are asked for with, beside its connection."""
    match spec:
        case AwsCloud():
            return {"region": spec.region}
        case GcpCloud():
            return {"region": spec.region, "project": spec.project}
        case AzureCloud():
            return {}


def charts(build: Build, cloud: str, frozen: Any, pushed: Mapping[str, Any]) -> list[Component]:
    """A cloud's Helm releases."""
    found = []
    for name, chart in build.platform.cloud(cloud).charts.items():
        options = {
            "scope": f"{ENVIRONMENT}/{cloud}",
            **chart_options(build.platform, name, chart),
            **gate_of(build, chart.gate),
            **cluster_options(build, cloud),
        }
        plan = HelmPlanOperator(
            task_id=f"{name}.plan",
            address=f"{cloud}/chart/{name}",
            source=frozen.output["source"],
            images={key: pushed[image].output for key, image in chart.images.items()},
            intent=INTENT,
            trigger_rule="none_failed_min_one_success",
            **options,
            **retries(),
        )
        found.append(
            Component(
                address=f"{cloud}/chart/{name}",
                plan=plan,
                apply_operator=HelmUpgradeOperator,
                destroy_operator=HelmUninstallOperator,
                options=options,
            )
        )
    return found


def cluster_options(build: Build, cloud: str) -> dict[str, Any]:
    """How to reach a cloud's cluster."""
    spec = build.platform.cloud(cloud)
    cluster = per_environment(build.platform, spec.cluster)
    common = {"cloud": cloud, "conn_id": spec.connection, "cluster": cluster}
    match spec:
        case AwsCloud():
            return {**common, "region": spec.region}
        case GcpCloud():
            return {**common, "region": spec.region, "project": spec.project}
        case AzureCloud():
            return {**common, "resource_group": spec.resource_group}


def parity(build: Build) -> list[ImageParityOperator]:
    """One task for each release that several clouds have: the same image digests must serve in all."""
    used = build.platform.used_clouds()
    releases: dict[str, list[str]] = {}
    for cloud, spec in used.items():
        for name in spec.charts:
            releases.setdefault(name, []).append(cloud)
    return [
        ImageParityOperator(
            task_id=name,
            release=name,
            namespace=used[clouds[0]].charts[name].namespace,
            clusters={
                cloud: {
                    **cluster_options(build, cloud),
                    "scope": f"{ENVIRONMENT}/{cloud}",
                    "namespace": used[cloud].charts[name].namespace,
                }
                for cloud in clouds
            },
            skip=DESTROYS,
            **retries(),
        )
        for name, clouds in releases.items()
        if len(clouds) > 1
    ]


def functions(build: Build, cloud: str, frozen: Any, pushed: Mapping[str, Any]) -> list[Component]:
    """A cloud's webhooks."""
    found = []
    for name, function in build.platform.cloud(cloud).functions.items():
        options = function_options(build, cloud, name)
        image = pushed[function.image].output if function.image else None
        plan = ServerlessPlanOperator(
            task_id=f"{name}.plan",
            address=f"{cloud}/function/{name}",
            source=frozen.output["source"],
            intent=INTENT,
            trigger_rule="none_failed_min_one_success",
            **({"image": image} if image is not None else {}),
            **options,
            **retries(),
        )
        found.append(
            Component(
                address=f"{cloud}/function/{name}",
                plan=plan,
                apply_operator=ServerlessDeployOperator,
                destroy_operator=ServerlessDeleteOperator,
                options=options,
            )
        )
    return found


def function_options(build: Build, cloud: str, name: str) -> dict[str, Any]:
    """What planning and deploying a function need."""
    function = build.platform.cloud(cloud).functions[name]
    return {
        "target": function.target,
        "name": per_environment(build.platform, function_name(build, cloud, name)),
        "path": function.path,
        "dependencies": function.dependencies,
        "environment": function_environment(build.platform, function.environment),
        "options": per_environment(build.platform, function.options()),
        "traffic": function.traffic.asdict(),
        "smoke": per_environment(build.platform, function.smoke.asdict()) if function.smoke else None,
        **gate_of(build, function.gate),
        "limit": function.ready.total_seconds(),
        **place(build, cloud),
    }


def gate_of(build: Build, names: tuple[str, ...]) -> dict[str, Any]:
    """What judges a component, and who is asked where there is no data; empty where nothing does."""
    return {"gate": checks_in(build.platform, names), "ask": terms(build, names)} if names else {}


def function_name(build: Build, cloud: str, name: str) -> str:
    """A function's name at the cloud, as it is written."""
    written = build.platform.cloud(cloud).functions[name].name
    return written or f"{build.platform.name}-${{environment}}-{name}"


def place(build: Build, cloud: str) -> dict[str, Any]:
    """Where what has no servers is deployed to."""
    spec = build.platform.cloud(cloud)
    common = {"scope": f"{ENVIRONMENT}/{cloud}", "conn_id": spec.connection}
    match spec:
        case AwsCloud():
            return {**common, "region": spec.region}
        case GcpCloud():
            return {**common, "region": spec.region, "project": spec.project}
        case AzureCloud():
            return {**common, "region": spec.location, "resource_group": spec.resource_group}
