"""``platform.yaml`` as frozen values. Everything a user can write is here and nowhere else."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from triplane.spec.approvals import Approval, DeploymentFreeze, DeploymentWindow
from triplane.spec.drift import Drift, DriftPolicy
from triplane.spec.forge import Source
from triplane.spec.functions import AwsFunction, AzureFunction, GcpFunction
from triplane.spec.gates import Gate, GateNames
from triplane.spec.graph import order, waves
from triplane.spec.images import Image, Signing
from triplane.spec.machines import Machines
from triplane.spec.manifests import Manifests
from triplane.spec.markers import Markers
from triplane.spec.notify import Notification
from triplane.spec.pipelines import AwsPipeline, AzureAnyPipeline, GcpPipeline
from triplane.spec.release import EnvironmentRelease, Release
from triplane.spec.schedules import AwsSchedule, AzureSchedule, GcpSchedule
from triplane.spec.secrets import Secret
from triplane.spec.streams import AwsStream, AzureStream, GcpStream
from triplane.spec.values import (
    AirflowName,
    ChartRepository,
    ChartVersion,
    DnsName,
    Duration,
    Name,
    SourcePath,
    ToolPath,
    Value,
    ValuesFile,
    VersionConstraint,
)

CLOUDS = ("aws", "gcp", "azure")


class Environment(Value):
    """One place the platform runs in. ``variables`` are read as ``${env.<name>}``."""

    variables: dict[str, Any] = {}
    approval: Annotated[Approval, Field(default_factory=Approval)]
    release: EnvironmentRelease | None = None
    """Instead of what the platform says; the order is the platform's."""
    windows: Annotated[tuple[DeploymentWindow, ...], Field(strict=False)] = ()
    """When it may be changed; at any time where there is none."""
    freezes: Annotated[tuple[DeploymentFreeze, ...], Field(strict=False)] = ()
    drift: Annotated[DriftPolicy, Field(default_factory=DriftPolicy)]


class Tests(Value):
    """Commands that must end well before anything is deployed; in the source, or in an image."""

    commands: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    """Lines of a shell script, which ends at the first that fails."""
    path: SourcePath = "."
    """The folder of the source to run in."""
    image: Name | None = None
    runner: Literal["buildah", "docker", "kubernetes"] = "buildah"
    """What runs the image."""
    cloud: Literal["aws", "gcp", "azure"] | None = None
    """Whose cluster, for ``kubernetes``."""
    namespace: DnsName = "default"
    report: str | None = None
    """JUnit XML that the commands write; in the source a glob."""
    environment: dict[str, str] = {}
    timeout: Duration = timedelta(minutes=10)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.runner == "kubernetes") != (self.cloud is not None):
            raise ValueError("'cloud' and 'runner: kubernetes' need each other")
        if self.image is None and self.runner != "buildah":
            raise ValueError(f"'runner: {self.runner}' needs an 'image' to run")
        if self.image is not None and self.path != ".":
            raise ValueError("tests run in a 'path' of the source or in an 'image', not in both")
        return self


class Stack(Value):
    """A Terraform root module with a state of its own."""

    path: SourcePath
    after: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    variables: dict[str, Any] = {}
    secrets: dict[str, Name] = {}
    """Terraform variable -> name of a secret."""
    gate: GateNames = ()
    """What must be good after it was applied."""
    drift: Annotated[Drift, Field(default_factory=Drift)]
    credential_lifetime: Duration = timedelta(minutes=15)
    """How long the cloud's credentials must last when an apply begins."""


class Terraform(Value):
    """Which Terraform or OpenTofu plans and applies all stacks. What is left out, each worker says."""

    binary: ToolPath | None = None
    """``terraform``, ``tofu``, a path on the workers, or ``bundled``."""
    required_version: VersionConstraint | None = None
    """As in HCL: ``~> 1.9``."""
    lock_timeout: Duration = timedelta(minutes=5)
    """How long to wait for a state that somebody else has locked."""
    init_timeout: Duration = timedelta(minutes=5)
    command_timeout: Duration | None = None
    """How long one call may take."""
    stop_grace: Duration = timedelta(minutes=10)
    """How long an interrupted call may take to save the state."""
    max_plan_bytes: Annotated[int, Field(ge=1_000_000)] = 100_000_000
    """How large a plan may be, as JSON."""


class Chart(Value):
    """A Helm release: of a chart in the source (``path``), or of one in a repository."""

    path: SourcePath | None = None
    repository: ChartRepository | None = None
    """``https://…``, or ``oci://…`` without the chart's name."""
    chart: str | None = None
    """Its name in the repository."""
    version: ChartVersion | None = None
    connection: AirflowName | None = None
    """Airflow connection with the login for charts and their dependencies."""
    namespace: DnsName = "default"
    images: dict[str, Name] = {}
    """Key in the values -> image name; ``<key>.repository`` and ``<key>.digest`` are set."""
    images_as: Literal["digest", "tag", "reference"] = "digest"
    """How the chart is told the digest: see the guide."""
    values_files: Annotated[tuple[ValuesFile, ...], Field(strict=False)] = ()
    """Files of the source, later ones over earlier ones, ``values`` over them all."""
    values: dict[str, Any] = {}
    crds: Literal["install", "update", "skip"] = "install"
    test: bool = False
    """Run the chart's tests after each change; a failing one rolls back."""
    gate: GateNames = ()
    """What must be good after each change; what is not rolls back."""
    history_max: Annotated[int, Field(ge=2)] = 10
    """Revisions that Helm keeps."""
    timeout: Duration = timedelta(minutes=5)
    drift: Annotated[Drift, Field(default_factory=Drift)]

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None:
            if self.repository or self.chart or self.version:
                raise ValueError("a chart has either 'path', or 'repository', 'chart' and 'version'")
        elif not (self.repository and self.chart and self.version):
            raise ValueError("a chart needs 'path', or all of 'repository', 'chart' and 'version'")
        return self


class CodeBuild(Value):
    """Where AWS CodeBuild builds images: a project of the account, and a bucket that its role may read."""

    project: str
    """Its name."""
    bucket: str
    """For contexts of images."""


class CloudBuild(Value):
    """Where Google Cloud Build builds images."""

    bucket: str | None = None
    """For contexts and logs; default ``<project>_cloudbuild``."""
    service_account: str | None = None
    """Email of who builds; default is the project's own."""


class S3State(Value):
    """Terraform state in S3, locked in DynamoDB, or by a lock file where no table is named."""

    bucket: str
    """Where the states lie."""
    lock_table: str | None = None
    """DynamoDB table for locks."""


class GcsState(Value):
    """Terraform state in Google Cloud Storage."""

    bucket: str
    """Where the states lie."""


class BlobState(Value):
    """Terraform state in Azure Blob Storage."""

    resource_group: str
    """Of the storage account."""
    storage_account: str
    """Where the container is."""
    container: str
    """Where the states lie."""


class Cloud(Value):
    """What is deployed to one cloud."""

    connection: str
    registry: str | None = None
    """Host, and the path where the cloud has one: images go to ``<registry>/<image name>``."""
    cluster: str | None = None
    stacks: dict[Name, Stack] = {}
    machines: dict[DnsName, Machines] = {}
    manifests: dict[DnsName, Manifests] = {}
    charts: dict[DnsName, Chart] = {}


class Repositories(Value):
    """Whether repositories of the registry are made where they are missing, and how."""

    create: bool = False
    immutable_tags: bool = False
    """A tag stays with the image that it was first given to."""

    def options(self) -> dict[str, bool] | None:
        """How to make one, None where that is left to others."""
        options = self.asdict()
        return options if options.pop("create") else None


class EcrRepositories(Repositories):
    """The same in ECR."""

    scan_on_push: bool = False


class AwsCloud(Cloud):
    """Amazon Web Services."""

    connection: str = "aws_default"
    repositories: Annotated[EcrRepositories, Field(default_factory=EcrRepositories)]
    region: str
    state: S3State | None = None
    codebuild: CodeBuild | None = None
    functions: dict[DnsName, AwsFunction] = {}
    streams: dict[DnsName, AwsStream] = {}
    schedules: dict[DnsName, AwsSchedule] = {}
    pipelines: dict[Name, AwsPipeline] = {}


class GcpCloud(Cloud):
    """Google Cloud."""

    connection: str = "google_cloud_default"
    repositories: Annotated[Repositories, Field(default_factory=Repositories)]
    project: str
    region: str
    state: GcsState | None = None
    cloud_build: Annotated[CloudBuild, Field(default_factory=CloudBuild)]
    functions: dict[DnsName, GcpFunction] = {}
    streams: dict[DnsName, GcpStream] = {}
    schedules: dict[DnsName, GcpSchedule] = {}
    pipelines: dict[Name, GcpPipeline] = {}


class AzureCloud(Cloud):
    """Microsoft Azure."""

    connection: str = "azure_default"
    resource_group: str
    location: str
    state: BlobState | None = None
    functions: dict[DnsName, AzureFunction] = {}
    streams: dict[DnsName, AzureStream] = {}
    schedules: dict[DnsName, AzureSchedule] = {}
    pipelines: dict[Name, AzureAnyPipeline] = {}


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
    groups: dict[Name, Annotated[tuple[str, ...], Field(min_length=1, strict=False)]] = {}
    """Name -> users, for the approvals of environments."""
    secrets: dict[Name, Secret] = {}
    images: dict[DnsName, Image] = {}
    signing: Signing | None = None
    tests: dict[Name, Tests] = {}
    terraform: Annotated[Terraform, Field(default_factory=Terraform)]
    release: Annotated[Release, Field(default_factory=Release)]
    policies: SourcePath | None = None
    """A folder of Rego policies that every Terraform plan has to pass."""
    gates: dict[Name, Gate] = {}
    """What is asked before a deployment goes on."""
    markers: Annotated[Markers, Field(default_factory=Markers)]
    """Where each rollout leaves a mark in monitoring."""
    notify: dict[Name, Notification] = {}
    """Who is told what, by the names of routes."""
    source: Source | None = None
    """Where commits get a status, and pull requests a comment."""
    clouds: Clouds

    def cloud(self, name: str) -> AnyCloud:
        """The cloud ``aws``, ``gcp`` or ``azure``; ``KeyError`` where the spec does not use it."""
        return self.used_clouds()[name]

    def used_clouds(self) -> dict[str, AnyCloud]:
        """The clouds in use, always in the order aws, gcp, azure."""
        named = ((name, getattr(self.clouds, name)) for name in CLOUDS)
        return {name: cloud for name, cloud in named if cloud}

    def release_of(self, environment: str) -> EnvironmentRelease:
        """What a release means in an environment."""
        return self.environments[environment].release or self.release

    def release_stages(self) -> tuple[tuple[str, ...], ...]:
        """The clouds in use, stage by stage."""
        return self.release.stages(tuple(self.used_clouds()))

    @model_validator(mode="after")
    def _every_cloud_has_its_stage(self) -> Self:
        used = set(self.used_clouds())
        ordered = [cloud for stage in self.release_stages() for cloud in stage]
        if len(ordered) != len(set(ordered)) or set(ordered) != used:
            raise ValueError(
                f"'release.order' must name each cloud in use once ({', '.join(sorted(used))}), "
                f"and names {', '.join(ordered)}"
            )
        for name in self.environments:
            if (self.release_of(name).quorum or 0) > len(used):
                raise ValueError(
                    f"{name}: the quorum is larger than the number of clouds in use, {len(used)}"
                )
        return self

    def addresses(self, cloud: str | None = None) -> tuple[str, ...]:
        """``aws/stack/network`` and so on of one cloud or of all, in the order they are deployed."""
        names = (cloud,) if cloud else tuple(self.used_clouds())
        return tuple(address for name in names for address in self._addresses(name))

    def _addresses(self, name: str) -> Iterable[str]:
        cloud = self.cloud(name)
        yield from (f"{name}/stack/{stack}" for stack in self.stack_order(name))
        yield from (f"{name}/machines/{machines}" for machines in self.machine_order(name))
        yield from (f"{name}/manifests/{manifests}" for manifests in cloud.manifests)
        yield from (f"{name}/chart/{chart}" for chart in cloud.charts)
        yield from (f"{name}/function/{function}" for function in cloud.functions)
        yield from (f"{name}/stream/{stream}" for stream in cloud.streams)
        yield from (f"{name}/schedule/{schedule}" for schedule in cloud.schedules)
        yield from (f"{name}/pipeline/{pipeline}" for pipeline in cloud.pipelines)

    def stack_order(self, cloud: str) -> tuple[str, ...]:
        """The stacks of a cloud, each after those it comes ``after``."""
        return order(self._graph(cloud))

    def machine_order(self, cloud: str) -> tuple[str, ...]:
        """The machines of a cloud, each after those they come ``after``."""
        return order({name: body.after for name, body in self.cloud(cloud).machines.items()})

    def stack_waves(self, cloud: str) -> tuple[tuple[str, ...], ...]:
        """The same as waves: the stacks of one wave can be applied side by side."""
        return waves(self._graph(cloud))

    def images_of(self, cloud: str) -> tuple[str, ...]:
        """The images that the manifests, charts, functions and pipelines of a cloud, and tests in its cluster, use, in order."""
        part = self.cloud(cloud)
        used = {image for chart in part.charts.values() for image in chart.images.values()}
        used |= {image for manifests in part.manifests.values() for image in manifests.images.values()}
        used |= {function.image for function in part.functions.values() if function.image}
        used |= {image for pipeline in part.pipelines.values() for image in pipeline.images.values()}
        used |= {test.image for test in self.tests.values() if test.image and test.cloud == cloud}
        return tuple(image for image in self.images if image in used)

    def _graph(self, cloud: str) -> Mapping[str, tuple[str, ...]]:
        return {name: stack.after for name, stack in self.cloud(cloud).stacks.items()}
