"""Functions and serverless containers in a spec: webhooks, services, on each cloud's own kinds of them."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from triplane.spec.drift import Drift
from triplane.spec.gates import GateNames
from triplane.spec.values import Duration, Name, SourcePath, Value

Reference = Annotated[str, StringConstraints(pattern=r"^\$\{[^}]+\}$")]
Names = Annotated[tuple[str, ...], Field(strict=False)] | Reference
"""A list, or a reference to an output that is one."""
Percent = Annotated[int, Field(ge=1, le=99)]
Instances = Annotated[int, Field(ge=0)] | Reference


class Traffic(Value):
    """How traffic goes over to a new version: ``canary`` through ``steps`` percent, ``linear`` by ``step`` percent each
    time. ``wait`` is the time after a step, before the smoke test is asked again and the next step is made.
    """

    strategy: Literal["all_at_once", "canary", "linear"] = "all_at_once"
    steps: Annotated[tuple[Percent, ...], Field(strict=False, min_length=1)] = (10,)
    step: Percent = 20
    wait: Duration = timedelta(minutes=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("'steps' must rise, for example [10, 50]; 100 comes by itself at the end")
        return self


class Smoke(Value):
    """One request to a new version, before it gets traffic and after each step, and what it must answer.

    ``payload`` is sent as JSON. ``path`` and ``method`` are for what speaks HTTP. A function that ends well counts as 200.
    """

    payload: Any = None
    path: str = "/"
    method: Literal["GET", "POST", "PUT", "HEAD"] = "GET"
    status: Annotated[int, Field(ge=100, le=599)] = 200
    contains: str = ""
    timeout: Duration = timedelta(seconds=30)
    """How long the answer may take."""


class Function(Value):
    """Runs a package made of the folder ``path``, or ``image``; ``runs`` says what the target can.

    ``name`` is its name at the cloud, by default ``<platform>-<environment>-<key>``.
    """

    runs: ClassVar[tuple[str, ...]] = ("path",)

    name: str | None = None
    environment: dict[str, str] = {}
    path: SourcePath | None = None
    image: Name | None = None
    dependencies: bool = False
    """Whether the Python packages that the folder names are installed into its package."""
    traffic: Annotated[Traffic, Field(default_factory=Traffic)]
    smoke: Smoke | None = None
    gate: GateNames = ()
    """What must be good after each step of the traffic; what is not puts back what served before."""
    ready: Duration = timedelta(minutes=15)
    """How long a version may take to become ready."""
    drift: Annotated[Drift, Field(default_factory=Drift)]

    @model_validator(mode="after")
    def _code(self) -> Self:
        given = tuple(name for name in ("path", "image") if getattr(self, name) is not None)
        if len(given) != 1 or given[0] not in self.runs:
            known = {"path": "'path' (a folder that becomes its package)", "image": "'image'"}
            raise ValueError(
                f"give {' or '.join(known[name] for name in self.runs)}, and nothing else to run"
            )
        return self

    def options(self) -> dict[str, Any]:
        """What the target calls its options: all but name, code and environment; durations in seconds."""
        ours = {*Function.model_fields, "target"}
        return {key: value for key, value in self.asdict().items() if key not in ours}


class LambdaFunction(Function):
    """AWS Lambda."""

    runs = ("path", "image")

    target: Literal["lambda"]
    handler: str | None = None
    """``app.handler``; an image says it itself."""
    runtime: str | None = None
    role: str
    memory: Annotated[int, Field(ge=128, le=10240)] = 128
    """MiB."""
    timeout: Duration = timedelta(seconds=30)
    architecture: Literal["x86_64", "arm64"] | None = None
    layers: Names | None = None
    """ARNs of layer versions."""
    ephemeral_storage: Annotated[int, Field(ge=512, le=10240)] | None = None
    """MiB of ``/tmp``."""
    reserved_concurrency: Instances | None = None
    subnets: Names | None = None
    security_groups: Names | None = None
    url: Literal["none", "aws_iam", "public"] | None = None
    """Whether it has a URL, and for whom."""
    invokers: Names | None = None
    """Who else may invoke it: services (``s3.amazonaws.com``), accounts, ARNs."""
    bucket: str | None = None
    """Where packages of more than 50 MB go on their way."""

    @model_validator(mode="after")
    def _started(self) -> Self:
        if self.path is not None and not (self.handler and self.runtime):
            raise ValueError("a package needs 'handler' and 'runtime'")
        return self


class FargateFunction(Function):
    """A service of Amazon ECS on Fargate, replaced by rolling deployments."""

    runs = ("image",)

    target: Literal["fargate"]
    cluster: str
    execution_role: str
    """As whom ECS pulls the image and reads secrets."""
    role: str | None = None
    """As whom the code runs."""
    cpu: Annotated[int, Field(ge=256)] = 256
    """1024 are one vCPU."""
    memory: Annotated[int, Field(ge=512)] = 512
    """MiB."""
    architecture: Literal["x86_64", "arm64"] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    desired_count: Instances | None = None
    subnets: Names
    security_groups: Names
    public_ip: bool | None = None
    target_group: str | None = None
    health_check: str | None = None
    """A command in the container that must end well."""
    minimum_healthy_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """How much of what runs stays while it is replaced."""
    maximum_percent: Annotated[int, Field(ge=100, le=200)] | None = None
    log_group: str | None = None
    url: str | None = None
    """Where the smoke test asks."""


class CloudRunFunction(Function):
    """A Google Cloud Run service."""

    runs = ("image",)

    target: Literal["cloud_run"]
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    service_account: str | None = None
    memory: str | None = None
    """``512Mi``."""
    cpu: str | None = None
    """``1`` or ``500m``."""
    timeout: Duration | None = None
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests that one instance takes at a time."""
    min_instances: Instances | None = None
    max_instances: Instances | None = None
    ingress: Literal["all", "internal", "internal-and-cloud-load-balancing"] | None = None
    execution_environment: Literal["gen1", "gen2"] | None = None
    vpc_connector: str | None = None
    """Full name; or ``network`` and ``subnetwork`` for direct VPC."""
    network: str | None = None
    subnetwork: str | None = None
    egress: Literal["private-ranges-only", "all-traffic"] | None = None
    invokers: Names | None = None
    """Who may call it: ``allUsers``, ``serviceAccount:...``."""


class CloudFunction(Function):
    """A Google Cloud Function of the second generation, with a package made of ``path``."""

    target: Literal["cloud_functions"]
    runtime: str
    """``python312``."""
    entry_point: str
    build_service_account: str | None = None
    service_account: str | None = None
    memory: str | None = None
    cpu: str | None = None
    timeout: Duration | None = None
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    min_instances: Instances | None = None
    max_instances: Instances | None = None
    ingress: Literal["all", "internal", "internal-and-cloud-load-balancing"] | None = None
    vpc_connector: str | None = None
    """Full name; or ``network`` and ``subnetwork`` for direct VPC."""
    network: str | None = None
    subnetwork: str | None = None
    egress: Literal["private-ranges-only", "all-traffic"] | None = None
    invokers: Names | None = None


class AzureFunctionApp(Function):
    """An Azure function app."""

    runs = ("path", "image")

    target: Literal["azure_functions"]
    runtime: str | None = None
    """Stack and version as Azure writes them: ``python|3.11``; an image says it itself."""
    plan: str | None = None
    """Resource id of an App Service plan; without it Azure makes a consumption plan."""
    health_path: str | None = None
    """A path that must answer below 400 after a deployment."""
    slot: str | None = None
    """Where a new version comes up before it is swapped in, ``staging`` by default; ``none`` deploys in place."""
    identity: Names | None = None
    """Resource ids of managed identities, or ``system``."""
    vnet_subnet: str | None = None
    """Its resource id."""
    min_tls: Literal["1.2", "1.3"] | None = None
    https_only: bool | None = None
    allow: Names | None = None
    """Networks that may call it (CIDR); an empty list lets everybody."""

    @model_validator(mode="after")
    def _started(self) -> Self:
        if self.path is not None and not self.runtime:
            raise ValueError("a package needs 'runtime', for example python|3.11")
        return self


class ContainerApp(Function):
    """An Azure Container App."""

    runs = ("image",)

    target: Literal["container_apps"]
    managed_environment: str
    """Its resource id."""
    port: Annotated[int, Field(ge=1, le=65535)] = 80
    cpu: float | None = None
    """Cores: ``0.5``."""
    memory: str | None = None
    """``1Gi``."""
    min_replicas: Instances | None = None
    max_replicas: Instances | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
    ingress: Literal["external", "internal", "none"] | None = None
    identity: Names | None = None
    """Resource ids of managed identities, or ``system``; the first reads secrets."""
    registry_identity: str | None = None
    """Which of them pulls the image."""
    health_path: str | None = None


AwsFunction = Annotated[LambdaFunction | FargateFunction, Field(discriminator="target")]
GcpFunction = Annotated[CloudRunFunction | CloudFunction, Field(discriminator="target")]
AzureFunction = Annotated[AzureFunctionApp | ContainerApp, Field(discriminator="target")]
