"""Each component of the spec as two tasks: one plans it, one applies what was approved.

Both take the same arguments; :class:`Component` keeps them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow.sdk import TaskGroup

from triplane.factories.context import Build, retries
from triplane.factories.values import per_environment, secret_reference
from triplane.images.operators import ImageBuildOperator, ImagePushOperator
from triplane.kubernetes.operators import HelmPlanOperator, HelmUpgradeOperator, ImageParityOperator
from triplane.serverless.operators import ServerlessDeployOperator, ServerlessPlanOperator
from triplane.spec.model import AnyCloud, AwsCloud, AzureCloud, CloudRunFunction, GcpCloud
from triplane.terraform.backends import state_key
from triplane.terraform.operators import TerraformApplyOperator, TerraformPlanOperator

ENVIRONMENT = "{{ params.environment }}"
STAGES = {"stack": "infrastructure", "chart": "applications", "function": "functions"}
ACTS = {"stack": "apply", "chart": "deploy", "function": "deploy"}

Groups = Mapping[str, TaskGroup]


class Component(NamedTuple):
    """``options`` are the arguments that planning and applying share, ``after`` the addresses it waits for."""

    address: str
    plan: Any
    apply_operator: Any
    options: Mapping[str, Any]
    after: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``stack``, ``chart`` or ``function``."""
        return self.address.split("/")[1]

    def apply(self, authorize: Any, groups: Groups) -> Any:
        """The task that applies this component, after ``authorize``, whose result it takes."""
        name = self.address.split("/")[2]
        with groups[STAGES[self.kind]]:
            return self.apply_operator(
                task_id=f"{name}.{ACTS[self.kind]}",
                address=self.address,
                source=authorize.output["source"],
                change_set=authorize.output["change_set"],
                authorization={"decisions": authorize.output["decisions"]},
                **self.options,
                **retries(),
            )


def task_ids(build: Build, cloud: str) -> dict[str, str]:
    """Address -> id of the task that applies it."""
    found = {}
    for address in build.platform.addresses(cloud):
        _, kind, name = address.split("/")
        found[address] = f"{STAGES[kind]}.{name}.{ACTS[kind]}"
    return found


def build_image(build: Build, name: str, frozen: Any) -> Any:
    """The task that builds one image of the platform, or finds it built."""
    image = build.platform.images[name]
    return ImageBuildOperator(
        task_id=f"{name}.build",
        image=f"{build.platform.name}/{name}",
        source=frozen.output["source"],
        path=image.context,
        dockerfile=image.dockerfile,
        build_args=per_environment(build.platform, image.args),
        multiple_outputs=True,
        **retries(),
    )


def pushed_images(build: Build, cloud: str, frozen: Any) -> dict[str, Any]:
    """Name -> the task whose result is the image's reference in this cloud's registry."""
    spec = build.platform.cloud(cloud)
    pushed = {}
    for name in build.platform.images_of(cloud):
        built = build_image(build, name, frozen)
        pushed[name] = ImagePushOperator(
            task_id=f"{name}.push",
            image=f"{build.platform.name}/{name}",
            digest=built.output["digest"],
            registry=spec.registry or "",
            cloud=cloud,
            conn_id=spec.connection,
            **retries(),
        )
    return pushed


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
            **options,
            **retries(),
        )
        found[name] = Component(
            address=f"{cloud}/stack/{name}",
            plan=plan,
            apply_operator=TerraformApplyOperator,
            options=options,
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
        "cloud_options": _credential_options(spec),
    }


def _credential_options(spec: AnyCloud) -> dict[str, str]:
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
            "path": chart.path,
            "scope": f"{ENVIRONMENT}/{cloud}",
            "release": name,
            "namespace": chart.namespace,
            "values": per_environment(build.platform, chart.values),
            "timeout": chart.timeout.total_seconds(),
            **cluster_options(build, cloud),
        }
        plan = HelmPlanOperator(
            task_id=f"{name}.plan",
            address=f"{cloud}/chart/{name}",
            source=frozen.output["source"],
            images={key: pushed[image].output for key, image in chart.images.items()},
            **options,
            **retries(),
        )
        found.append(
            Component(
                address=f"{cloud}/chart/{name}",
                plan=plan,
                apply_operator=HelmUpgradeOperator,
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
                cloud: {**cluster_options(build, cloud), "scope": f"{ENVIRONMENT}/{cloud}"}
                for cloud in clouds
            },
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
        image = pushed[function.image].output if isinstance(function, CloudRunFunction) else None
        plan = ServerlessPlanOperator(
            task_id=f"{name}.plan",
            address=f"{cloud}/function/{name}",
            source=frozen.output["source"],
            **({"image": image} if image is not None else {}),
            **options,
            **retries(),
        )
        found.append(
            Component(
                address=f"{cloud}/function/{name}",
                plan=plan,
                apply_operator=ServerlessDeployOperator,
                options=options,
            )
        )
    return found


def function_options(build: Build, cloud: str, name: str) -> dict[str, Any]:
    """What planning and deploying a function need."""
    spec = build.platform.cloud(cloud)
    function = spec.functions[name]
    options = {
        "target": function.target,
        "name": per_environment(
            build.platform, function.name or f"{build.platform.name}-${{environment}}-{name}"
        ),
        "path": None if isinstance(function, CloudRunFunction) else function.path,
        "environment": per_environment(build.platform, function.environment),
        "options": per_environment(build.platform, function.options()),
        "scope": f"{ENVIRONMENT}/{cloud}",
        "conn_id": spec.connection,
    }
    match spec:
        case AwsCloud():
            return {**options, "region": spec.region}
        case GcpCloud():
            return {**options, "region": spec.region, "project": spec.project}
        case AzureCloud():
            return {**options, "region": spec.location, "resource_group": spec.resource_group}
