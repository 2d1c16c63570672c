"""The same operator under the names that people look for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.pipelines.operators import PipelineOperator


class CodeBuildRunOperator(PipelineOperator):
    """Run a build of an AWS CodeBuild project; ``inputs`` are environment variables, ``revision`` a source version.

    :param project: name of the project
    :param region: region, by default the connection's
    :param aws_conn_id: Airflow connection of type AWS
    """

    def __init__(
        self, *, project: str, region: str | None = None, aws_conn_id: str = "aws_default", **kwargs: Any
    ) -> None:
        options = {"project": project, "region": region, "conn_id": aws_conn_id}
        super().__init__(system="codebuild", options=options, **kwargs)


class CodePipelineRunOperator(PipelineOperator):
    """Run an AWS CodePipeline pipeline; ``inputs`` are its variables, ``revision`` is for its source action.

    :param pipeline: name of the pipeline
    :param region: region, by default the connection's
    :param source: the action that ``revision`` is for, where there are several
    :param aws_conn_id: Airflow connection of type AWS
    """

    def __init__(
        self,
        *,
        pipeline: str,
        region: str | None = None,
        source: str = "",
        aws_conn_id: str = "aws_default",
        **kwargs: Any,
    ) -> None:
        options = {"pipeline": pipeline, "region": region, "source": source, "conn_id": aws_conn_id}
        super().__init__(system="codepipeline", options=options, **kwargs)


class CloudDeployOperator(PipelineOperator):
    """Make a Google Cloud Deploy release and roll it out to a target; ``inputs`` are deploy parameters.

    :param pipeline: name of the delivery pipeline
    :param region: region
    :param project: project, by default the connection's
    :param target: where to roll out to, by default the pipeline's first target
    :param release: name of the release, by default a new one
    :param source: the archive with the Skaffold configuration; ``{revision}`` in it is replaced
    :param config: that file's path in the archive
    :param images: name of an image in ``skaffold.yaml`` -> reference
    :param gcp_conn_id: Airflow connection of type Google Cloud
    """

    more: Mapping[str, Any] = {}

    def __init__(
        self,
        *,
        pipeline: str,
        region: str,
        project: str | None = None,
        target: str = "",
        release: str = "",
        source: str = "",
        config: str = "",
        images: Mapping[str, str] | None = None,
        gcp_conn_id: str = "google_cloud_default",
        **kwargs: Any,
    ) -> None:
        place = {"pipeline": pipeline, "region": region, "project": project, "target": target}
        what = {"release": release, "source": source, "config": config, "images": images}
        options = {**place, **what, **self.more, "conn_id": gcp_conn_id}
        super().__init__(system="cloud_deploy", options=options, **kwargs)


class CloudDeployPromoteOperator(CloudDeployOperator):
    """Roll a ``release`` that is there out to the next ``target``.

    :param release: the release that is there
    :param target: the next target
    """

    def __init__(self, *, release: str, target: str, **kwargs: Any) -> None:
        super().__init__(release=release, target=target, **kwargs)


class CloudDeployRollbackOperator(CloudDeployOperator):
    """Go back in ``target`` to ``release``, by default to the one that was good there before.

    :param target: where to go back
    """

    more = {"rollback": True}

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(target=target, **kwargs)


class AzurePipelinesRunOperator(PipelineOperator):
    """Run an Azure Pipelines pipeline; ``inputs`` are the parameters of its YAML.

    :param organization: name of the organization
    :param project: name of the project
    :param pipeline: name or number of the pipeline
    :param ref: branch or tag, by default the pipeline's own
    :param token_parameter: a parameter that takes our token, by which a run is found again
    :param url: the API, for a server of your own
    :param azure_conn_id: Airflow connection of type Azure, or another one with a personal access token as password
    """

    def __init__(
        self,
        *,
        organization: str,
        project: str,
        pipeline: str,
        ref: str = "",
        token_parameter: str = "",
        url: str = "",
        azure_conn_id: str = "azure_default",
        **kwargs: Any,
    ) -> None:
        place = {"organization": organization, "project": project, "pipeline": pipeline, "url": url}
        options = {**place, "ref": ref, "token_parameter": token_parameter, "conn_id": azure_conn_id}
        super().__init__(system="azure_pipelines", options=options, **kwargs)


class GitHubActionsRunOperator(PipelineOperator):
    """Run a GitHub Actions workflow by ``workflow_dispatch``; ``inputs`` are its own.

    :param repository: ``owner/name``
    :param workflow: name of the workflow's file
    :param ref: branch or tag
    :param revision_input: the input that gets ``revision``
    :param token_input: the input that takes our token, by which a run is found again
    :param url: the API, for a server of your own
    :param github_conn_id: Airflow connection with the token
    """

    def __init__(
        self,
        *,
        repository: str,
        workflow: str,
        ref: str,
        revision_input: str = "",
        token_input: str = "",
        url: str = "",
        github_conn_id: str = "github_default",
        **kwargs: Any,
    ) -> None:
        place = {"repository": repository, "workflow": workflow, "ref": ref, "url": url}
        found = {"revision_input": revision_input, "token_input": token_input}
        options = {**place, **found, "conn_id": github_conn_id}
        super().__init__(system="github_actions", options=options, **kwargs)


class GitLabPipelineOperator(PipelineOperator):
    """Run a GitLab pipeline; ``inputs`` are variables.

    :param project: path or number of the project
    :param ref: branch or tag
    :param url: the API, for a server of your own
    :param gitlab_conn_id: Airflow connection with the token
    """

    def __init__(
        self, *, project: str, ref: str, url: str = "", gitlab_conn_id: str = "gitlab_default", **kwargs: Any
    ) -> None:
        options = {"project": project, "ref": ref, "url": url, "conn_id": gitlab_conn_id}
        super().__init__(system="gitlab", options=options, **kwargs)
