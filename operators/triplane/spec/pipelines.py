"""Native pipelines in a spec: what else runs, after everything else was deployed."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from triplane.spec.values import AirflowName, Duration, Name, Value

_OURS = frozenset(
    {
        "kind",
        "inputs",
        "images",
        "revision",
        "revision_input",
        "approves",
        "risk",
        "rollback",
        "timeout",
        "interval",
    }
)


class Pipeline(Value):
    """One pipeline; what a subclass adds says which one."""

    inputs: dict[str, str | int | float | bool] = {}
    """What it is given: variables or parameters."""
    images: dict[str, Name] = {}
    """Name of an input (for Cloud Deploy: of an image in ``skaffold.yaml``) -> image name; it is given the digest."""
    revision: Literal["source", "newest"] = "source"
    """The commit that is deployed, or whatever the pipeline's own source has."""
    revision_input: str | None = None
    """The commit goes to this input instead of to the pipeline's source."""
    approves: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The pipeline's own approvals that ours covers."""
    risk: Literal["low", "medium", "high", "critical"] = "medium"
    rollback: Literal["run", "leave"] = "run"
    """Whether a rollback runs it at the earlier revision."""
    timeout: Duration = timedelta(hours=1)
    interval: Duration = timedelta(seconds=15)
    """How often it is looked at."""

    def options(self) -> dict[str, Any]:
        """Which pipeline, as the operators take it."""
        return {
            "conn_id" if name == "connection" else name: value
            for name, value in self.asdict().items()
            if name not in _OURS
        }


class CodeBuildProject(Pipeline):
    """A project of AWS CodeBuild."""

    kind: Literal["codebuild"]
    project: str
    """Its name."""


class CodePipelinePipeline(Pipeline):
    """A pipeline of AWS CodePipeline."""

    kind: Literal["codepipeline"]
    pipeline: str
    """Its name."""
    source: str | None = None
    """The action that the revision is for, where there are several sources."""


class DeliveryPipeline(Pipeline):
    """A delivery pipeline of Google Cloud Deploy."""

    kind: Literal["cloud_deploy"]
    pipeline: str
    """Its name."""
    source: str
    """The archive with the Skaffold configuration: ``gs://…``."""
    config: str | None = None
    """The Skaffold configuration's path in it."""
    target: str | None = None
    """By default the first one."""


class AzurePipeline(Pipeline):
    """A pipeline of Azure DevOps."""

    kind: Literal["azure_pipelines"]
    organization: str
    """Name of the organization."""
    project: str
    """Name of the project."""
    pipeline: str
    """Name or number."""
    ref: str | None = None
    """Branch or tag."""
    token_parameter: str | None = None
    """The parameter that takes our token."""
    connection: AirflowName | None = None
    """Instead of the cloud's: one with a personal access token."""
    url: str | None = None
    """Where the API is, if not at the public place; so for the others."""


class GitHubWorkflow(Pipeline):
    """A workflow of GitHub Actions."""

    kind: Literal["github_actions"]
    repository: str
    """``owner/name``."""
    workflow: str
    """Name of its file."""
    ref: str
    """Branch or tag."""
    token_input: str | None = None
    """The input that takes our token."""
    connection: AirflowName = "github_default"
    """Connection with the token."""
    url: str | None = None
    """The API, for a server of your own."""


class GitLabPipeline(Pipeline):
    """A pipeline of a GitLab project."""

    kind: Literal["gitlab"]
    project: str
    """Path or number."""
    ref: str
    """Branch or tag."""
    connection: AirflowName = "gitlab_default"
    """Connection with the token."""
    url: str | None = None
    """The API, for a server of your own."""


_Anywhere = GitHubWorkflow | GitLabPipeline
AwsPipeline = Annotated[CodeBuildProject | CodePipelinePipeline | _Anywhere, Field(discriminator="kind")]
GcpPipeline = Annotated[DeliveryPipeline | _Anywhere, Field(discriminator="kind")]
AzureAnyPipeline = Annotated[AzurePipeline | _Anywhere, Field(discriminator="kind")]
