"""``platform.yaml`` as frozen values. Everything a user can write is here and nowhere else."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from triplane.spec.graph import order, waves
from triplane.spec.values import AirflowName, DnsName, Duration, Name, SourcePath, Value

CLOUDS = ("aws", "gcp", "azure")


class Approval(Value):
    """How many different people must approve a change of each risk; 0 passes without asking."""

    low: Annotated[int, Field(ge=0, le=10)] = 1
    medium: Annotated[int, Field(ge=0, le=10)] = 1
    high: Annotated[int, Field(ge=1, le=10)] = 1
    critical: Annotated[int, Field(ge=1, le=10)] = 1
    expires: Duration = timedelta(hours=24)
    requester_may_approve: bool = False
    approvers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """User names that may decide; empty means everybody who may answer in Airflow."""

    @model_validator(mode="after")
    def _enough_people(self) -> Self:
        needed = max(self.low, self.medium, self.high, self.critical)
        if self.approvers and needed > len(set(self.approvers)):
            raise ValueError(
                f"{needed} approvals are needed, but only {len(set(self.approvers))} may give one"
            )
        return self

    def policy(self) -> dict[str, Any]:
        """The same as :class:`triplane.core.approval.Policy` writes it in a change set."""
        return {
            "votes": {"low": self.low, "medium": self.medium, "high": self.high, "critical": self.critical},
            "expires": self.expires.total_seconds(),
            "requester_may_approve": self.requester_may_approve,
            "approvers": list(self.approvers),
        }


class Environment(Value):
    """One place the platform runs in. ``variables`` are read as ``${env.<name>}``."""

    variables: dict[str, Any] = {}
    approval: Annotated[Approval, Field(default_factory=Approval)]


class Secret(Value):
    """Where a secret is kept: one of an Airflow Variable and the password of a connection.

    Both may come from a secrets backend behind Airflow.
    """

    variable: AirflowName | None = None
    connection: AirflowName | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.variable is None) == (self.connection is None):
            raise ValueError("a secret needs exactly one of 'variable' and 'connection'")
        return self


class Image(Value):
    """A container image, built once for all clouds."""

    context: SourcePath
    dockerfile: SourcePath = "Dockerfile"
    """Relative to ``context``."""
    args: dict[str, str] = {}


class Stack(Value):
    """A Terraform root module with a state of its own."""

    path: SourcePath
    after: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    variables: dict[str, Any] = {}
    secrets: dict[str, Name] = {}
    """Terraform variable -> name of a secret."""


class Chart(Value):
    """A Helm release."""

    path: SourcePath
    namespace: DnsName = "default"
    images: dict[str, Name] = {}
    """Key in the values -> image name; ``<key>.repository`` and ``<key>.digest`` are set."""
    values: dict[str, Any] = {}
    timeout: Duration = timedelta(minutes=5)


class Function(Value):
    """A webhook. ``name`` is its name at the cloud, by default ``<platform>-<environment>-<key>``."""

    name: str | None = None
    environment: dict[str, str] = {}

    def options(self) -> dict[str, str | int | float]:
        """What the target calls its options: all but name, code and environment; durations in seconds."""
        code = {"name", "environment", "target", "path", "image"}
        written = {key: getattr(self, key) for key in type(self).model_fields if key not in code}
        plain = {k: int(v.total_seconds()) if isinstance(v, timedelta) else v for k, v in written.items()}
        return {key: value for key, value in plain.items() if value is not None}


class LambdaFunction(Function):
    """AWS Lambda with a zip package made of ``path``."""

    target: Literal["lambda"]
    path: SourcePath
    handler: str
    runtime: str
    role: str
    memory: Annotated[int, Field(ge=128, le=10240)] = 128
    """MiB."""
    timeout: Duration = timedelta(seconds=30)


class CloudRunFunction(Function):
    """A Google Cloud Run service."""

    target: Literal["cloud_run"]
    image: Name
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    service_account: str | None = None
    memory: str | None = None
    """``512Mi``."""
    cpu: str | None = None
    """``1`` or ``500m``."""
    timeout: Duration | None = None
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests that one instance takes at a time."""
    min_instances: Annotated[int, Field(ge=0)] | None = None
    max_instances: Annotated[int, Field(ge=1)] | None = None
    ingress: Literal["all", "internal", "internal-and-cloud-load-balancing"] | None = None


class AzureFunction(Function):
    """An Azure function app with a zip package made of ``path``."""

    target: Literal["azure_functions"]
    path: SourcePath
    runtime: str
    """Stack and version as Azure writes them: ``python|3.11``."""
    plan: str | None = None
    """Resource id of an App Service plan; without it Azure makes a consumption plan."""
    health_path: str | None = None
    """A path that must answer below 400 after a deployment."""


class S3State(Value):
    """Terraform state in S3, locked in DynamoDB, or by a lock file where no table is named."""

    bucket: str
    lock_table: str | None = None


class GcsState(Value):
    """Terraform state in Google Cloud Storage."""

    bucket: str


class BlobState(Value):
    """Terraform state in Azure Blob Storage."""

    resource_group: str
    storage_account: str
    container: str


class Cloud(Value):
    """What is deployed to one cloud."""

    connection: str
    registry: str | None = None
    """Host, and the path where the cloud has one: images go to ``<registry>/<image name>``."""
    cluster: str | None = None
    stacks: dict[Name, Stack] = {}
    charts: dict[DnsName, Chart] = {}


class AwsCloud(Cloud):
    """Amazon Web Services."""

    connection: str = "aws_default"
    region: str
    state: S3State | None = None
    functions: dict[DnsName, LambdaFunction] = {}


class GcpCloud(Cloud):
    """Google Cloud."""

    connection: str = "google_cloud_default"
    project: str
    region: str
    state: GcsState | None = None
    functions: dict[DnsName, CloudRunFunction] = {}


class AzureCloud(Cloud):
    """Microsoft Azure."""

    connection: str = "azure_default"
    resource_group: str
    location: str
    state: BlobState | None = None
    functions: dict[DnsName, AzureFunction] = {}


AnyCloud = AwsCloud | GcpCloud | AzureCloud


class Clouds(Value):
    """The clouds in use: at least one."""

    aws: AwsCloud | None = None
    gcp: GcpCloud | None = None
    azure: AzureCloud | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any((self.aws, self.gcp, self.azure)):
            raise ValueError("name at least one of aws, gcp and azure")
        return self


class Platform(Value):
    """One platform, deployed to several clouds and environments."""

    version: Literal[1]
    name: DnsName
    environments: Annotated[dict[Name, Environment], Field(min_length=1)]
    secrets: dict[Name, Secret] = {}
    images: dict[DnsName, Image] = {}
    clouds: Clouds

    def cloud(self, name: str) -> AnyCloud:
        """The cloud ``aws``, ``gcp`` or ``azure``; ``KeyError`` where the spec does not use it."""
        return self.used_clouds()[name]

    def used_clouds(self) -> dict[str, AnyCloud]:
        """The clouds in use, always in the order aws, gcp, azure."""
        named = ((name, getattr(self.clouds, name)) for name in CLOUDS)
        return {name: cloud for name, cloud in named if cloud}

    def addresses(self, cloud: str | None = None) -> tuple[str, ...]:
        """``aws/stack/network`` and so on of one cloud or of all, in the order they are deployed."""
        names = (cloud,) if cloud else tuple(self.used_clouds())
        return tuple(address for name in names for address in self._addresses(name))

    def _addresses(self, name: str) -> Iterable[str]:
        cloud = self.cloud(name)
        yield from (f"{name}/stack/{stack}" for stack in self.stack_order(name))
        yield from (f"{name}/chart/{chart}" for chart in cloud.charts)
        yield from (f"{name}/function/{function}" for function in cloud.functions)

    def stack_order(self, cloud: str) -> tuple[str, ...]:
        """The stacks of a cloud, each after those it comes ``after``."""
        return order(self._graph(cloud))

    def stack_waves(self, cloud: str) -> tuple[tuple[str, ...], ...]:
        """The same as waves: the stacks of one wave can be applied side by side."""
        return waves(self._graph(cloud))

    def images_of(self, cloud: str) -> tuple[str, ...]:
        """The images that the charts and functions of a cloud use, in the spec's order."""
        part = self.cloud(cloud)
        used = {image for chart in part.charts.values() for image in chart.images.values()}
        used |= {f.image for f in part.functions.values() if isinstance(f, CloudRunFunction)}
        return tuple(image for image in self.images if image in used)

    def _graph(self, cloud: str) -> Mapping[str, tuple[str, ...]]:
        return {name: stack.after for name, stack in self.cloud(cloud).stacks.items()}
