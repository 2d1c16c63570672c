"""The systems that run pipelines, reached through Airflow connections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from triplane import settings
from triplane.core.errors import InputError, TransientError, TriplaneError
from triplane.forge.rest import Client, Unauthenticated, bearer
from triplane.images.services import status_of
from triplane.pipelines.pipeline import Pipeline

Options = Mapping[str, Any]
CONNECTIONS = {
    "codebuild": "aws_default",
    "codepipeline": "aws_default",
    "cloud_deploy": "google_cloud_default",
    "azure_pipelines": "azure_default",
    "github_actions": "github_default",
    "gitlab": "gitlab_default",
}
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId")
GOOGLE_PAUSE = 10.0
"""Seconds to wait where Google asks for it: it does not say how long."""


def connect(system: str, options: Options) -> Pipeline:
    """The pipeline that ``options`` name, of ``system``.

    All have ``conn_id`` (by default the system's usual one, :data:`CONNECTIONS`), and of their own:

    - ``codebuild``: ``project``, ``region``
    - ``codepipeline``: ``pipeline``, ``region``, ``source`` (the action that a revision is for)
    - ``cloud_deploy``: ``pipeline``, ``region``, ``project``, ``target``, ``release``, ``source``, ``config``, ``images``,
      ``rollback``, see :class:`triplane.pipelines.cloud_deploy.CloudDeploy`
    - ``azure_pipelines``: ``organization``, ``project``, ``pipeline``, ``ref``, ``token_parameter``, ``url``. The
      connection is one of type ``azure``, or of another type with a personal access token as password.
    - ``github_actions``: ``repository``, ``workflow``, ``ref``, ``revision_input``, ``token_input``, ``url``
    - ``gitlab``: ``project``, ``ref``, ``url``

    :raises InputError: an option is missing or unknown
    """
    if system not in SYSTEMS:
        raise InputError(f"{system!r} runs no pipelines that Triplane knows; use one of {', '.join(SYSTEMS)}")
    given = {name: value for name, value in options.items() if value not in (None, "", {})}
    conn_id = str(given.pop("conn_id", CONNECTIONS[system]))
    return SYSTEMS[system](system, conn_id, given)


@contextlib.contextmanager
def translated(system: str) -> Iterator[None]:
    """A system's refusal as ``InputError``, what may pass as ``TransientError``."""
    try:
        yield
    except TriplaneError as error:
        text = settings.redactor()(str(error))
        if text.startswith(f"{system}: "):
            raise
        error.args = (f"{system}: {text}",)
        raise
    except Exception as error:
        status = status_of(error)
        if status is None:
            raise
        text = f"{system}: {settings.redactor()(str(error))}"
        if getattr(error, "response", None) and _aws_code(error) in EXPIRED:
            raise Unauthenticated(f"{text}; renew the credentials of the connection") from error
        if status == 429 or status >= 500:
            raise TransientError(text) from error
        raise InputError(
            f"{text}; correct the options of the pipeline, or the rights of its connection"
        ) from error


def _aws_code(error: Exception) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _build(system: str, kind: Callable[..., Pipeline], parts: tuple[Any, ...], options: Options) -> Pipeline:
    try:
        return kind(*parts, **options)
    except TypeError as error:
        said = str(error).partition(") ")[2] or str(error)
        said = said.removeprefix("missing ").replace("required keyword-only argument", "needs the option")
        raise InputError(f"{system}: {said}") from error


def _codebuild(system: str, conn_id: str, options: Options) -> Pipeline:
    from triplane.pipelines.codebuild import CodeBuild

    own = dict(options)
    return _build(system, CodeBuild, (_aws(conn_id, own.pop("region", None)),), own)


def _codepipeline(system: str, conn_id: str, options: Options) -> Pipeline:
    from triplane.pipelines.codepipeline import CodePipeline

    own = dict(options)
    return _build(system, CodePipeline, (_aws(conn_id, own.pop("region", None)),), own)


def _aws(conn_id: str, region: str | None) -> Callable[[str], Any]:
    """Clients, made when they are needed."""
    from functools import cache

    from triplane.clouds import aws

    return cache(lambda name: aws.client(name, conn_id, region))


def _cloud_deploy(system: str, conn_id: str, options: Options) -> Pipeline:
    from triplane.clouds import gcp
    from triplane.pipelines.cloud_deploy import API, LOGGING, CloudDeploy

    headers = bearer(gcp.tokens(conn_id))
    clients = tuple(Client(url, headers, pause=GOOGLE_PAUSE) for url in (API, LOGGING))
    project = options.get("project") or gcp.project_id(conn_id)
    return _build(system, CloudDeploy, clients, {**options, "project": project})


def _azure_pipelines(system: str, conn_id: str, options: Options) -> Pipeline:
    import base64

    from triplane.clouds import azure
    from triplane.forge.repository import connection
    from triplane.pipelines.azure_pipelines import API, RESOURCE, AzurePipelines

    if azure.is_connection(conn_id):
        headers = bearer(azure.tokens(conn_id, f"{RESOURCE}/.default"))
    else:
        secret = base64.b64encode(f":{connection(conn_id).password}".encode()).decode()
        basic = {"Authorization": f"Basic {settings.register_secret(secret)}"}
        headers = lambda: basic  # noqa: E731
    # Without it, a token that is not accepted leads to a page to sign in.
    more = {"Accept": "application/json", "X-TFS-FedAuthRedirect": "Suppress"}
    client = Client(str(options.get("url") or API), lambda: {**headers(), **more})
    return _build(system, AzurePipelines, (client,), options)


def _github_actions(system: str, conn_id: str, options: Options) -> Pipeline:
    from triplane.forge import github
    from triplane.pipelines.github_actions import GitHubActions

    client = github.client({**options, "connection": conn_id})
    return _build(system, GitHubActions, (client,), options)


def _gitlab(system: str, conn_id: str, options: Options) -> Pipeline:
    from triplane.forge import gitlab
    from triplane.pipelines.gitlab import GitLabPipelines

    client = gitlab.client({**options, "connection": conn_id})
    return _build(system, GitLabPipelines, (client,), options)


SYSTEMS: dict[str, Callable[[str, str, Options], Pipeline]] = {
    "codebuild": _codebuild,
    "codepipeline": _codepipeline,
    "cloud_deploy": _cloud_deploy,
    "azure_pipelines": _azure_pipelines,
    "github_actions": _github_actions,
    "gitlab": _gitlab,
}
