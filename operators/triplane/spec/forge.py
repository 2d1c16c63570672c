"""Where the source and its pull requests are: ``source:``."""

from typing import Annotated, Any, Self

from pydantic import StringConstraints, model_validator

from triplane.spec.values import AirflowName, SourcePath, Value

ApiUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@$]+$")]
GitHubRepository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+/[A-Za-z0-9._-]+$")]
GitLabProject = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)+|\d+)$")
]


class GitHub(Value):
    """A repository at GitHub; ``url`` is that of the API, else the connection's host is."""

    repository: GitHubRepository
    connection: AirflowName = "github_default"
    url: ApiUrl | None = None


class GitLab(Value):
    """A project at GitLab, by its path or number; ``url`` as for GitHub."""

    repository: GitLabProject
    connection: AirflowName = "gitlab_default"
    url: ApiUrl | None = None


class Fetch(Value):
    """How a run gets the commit that it deploys. ``path`` is the repository's folder that holds this spec."""

    path: SourcePath = "."
    deploy_key: AirflowName | None = None
    """Airflow connection of type SSH with the private key; else the forge's token is taken, over HTTPS."""


class Source(Value):
    """Where commits get a status and pull requests a comment, and where they are fetched from."""

    github: GitHub | None = None
    gitlab: GitLab | None = None
    fetch: Fetch | None = None
    """None: what is deployed is the folder of this spec, as the workers have it."""

    @model_validator(mode="after")
    def _one_forge(self) -> Self:
        if (self.github is None) == (self.gitlab is None):
            raise ValueError("the source is at exactly one of 'github' and 'gitlab'")
        if self.fetch and self.gitlab and self.gitlab.repository.isdigit():
            raise ValueError("to fetch the source, name the project by its path, such as 'group/shop'")
        return self

    def plain(self) -> dict[str, Any]:
        """What operators get, see ``triplane.forge``."""
        kind, forge = ("github", self.github) if self.github else ("gitlab", self.gitlab)
        assert forge is not None
        return {"kind": kind, **forge.asdict()}

    def remote(self) -> dict[str, Any] | None:
        """Where the freeze task fetches from, see ``triplane.source.forges``; None where it takes the spec's folder."""
        return None if self.fetch is None else {**self.plain(), **self.fetch.asdict()}
