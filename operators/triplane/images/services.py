"""The clouds' own build services, reached through Airflow connections."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from triplane import settings
from triplane.clouds import DEFAULT_CONNECTIONS
from triplane.core.digest import canonical_json
from triplane.core.errors import InputError, TransientError, TriplaneError
from triplane.images.builders import BuildRequest
from triplane.images.builders.native import NativeBuilder, tag
from triplane.images.reference import Reference

Options = Mapping[str, Any]
CLOUD_OF = {"codebuild": "aws", "cloud_build": "gcp", "acr_tasks": "azure"}
THROTTLED = (
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "InternalFailure",
)


def connect(builder: str, options: Options) -> NativeBuilder:
    """The service called ``builder``.

    ``options`` are ``registry``, ``create`` (how to make a missing repository, see
    :func:`triplane.images.repositories.ensure`; None leaves that to others), and for ``codebuild``: ``project``, ``bucket``, ``region``; for ``cloud_build``:
    ``region``, ``project`` (default: the connection's), ``bucket`` (default: ``<project>_cloudbuild``) and
    ``service_account``; for ``acr_tasks``: ``resource_group``. ``conn_id`` is by default the cloud's usual one.

    :raises InputError: one is missing
    """
    return SERVICES[builder](options)


def conn_id(builder: str, options: Options) -> str:
    """The Airflow connection that ``builder`` uses."""
    return str(options.get("conn_id") or DEFAULT_CONNECTIONS[CLOUD_OF[builder]])


def target(image: str, key: str, options: Options) -> Reference:
    """Where a service pushes the image of ``key``."""
    return Reference.of(need(options, "registry"), image).tagged(tag(key))


def need(options: Options, name: str) -> str:
    """The option ``name``. :raises InputError: it was not given"""
    if not options.get(name):
        raise InputError(f"this builder needs `{name}`; give it in `service`")
    return str(options[name])


class Begun:
    """The build of one key by one service, started once: what was asked for is noted in the artifact store."""

    def __init__(self, builder: str, key: str) -> None:
        self._name = f"image-build/{builder}/{key}"
        self._key = key

    def find(self, service: NativeBuilder, target: Reference) -> str | None:
        """The build that an earlier try, or somebody else, started and that did not fail."""
        note = json.loads(settings.artifact_store().get_named(self._name) or b"{}")
        if note.get("build") and _usable(service, note["build"]):
            return str(note["build"])
        since = datetime.fromisoformat(note["at"]) if note and not note["build"] else None
        found = service.find(self._key, target, since)
        return found if found and _usable(service, found) else None

    def start(self, service: NativeBuilder, request: BuildRequest, target: Reference, timeout: float) -> str:
        """Start it. A kill at any moment leaves a note that :meth:`find` understands."""
        self._note("")
        build = service.start(request, self._key, target, timeout)
        self._note(build)
        return build

    def _note(self, build: str) -> None:
        note = {"build": build, "at": datetime.now(UTC).isoformat()}
        settings.artifact_store().put_named(self._name, canonical_json(note))


def _usable(service: NativeBuilder, build: str) -> bool:
    """Whether the build runs or gave an image; a service forgets old builds."""
    try:
        return service.status(build).state != "failed"
    except InputError:
        return False
    except Exception as error:
        if status_of(error) == 404:
            return False
        raise


@contextlib.contextmanager
def translated(builder: str) -> Iterator[None]:
    """A service's refusal as ``InputError``, what may pass as ``TransientError``."""
    try:
        yield
    except TriplaneError:
        raise
    except Exception as error:
        code = status_of(error)
        if code is None:
            raise
        text = f"{builder}: {settings.redactor()(str(error))}"
        if code == 429 or code >= 500:
            raise TransientError(text) from error
        raise InputError(f"{text}; correct the builder's settings or the rights of its connection") from error


def status_of(error: Exception) -> int | None:
    """The HTTP status of an SDK's error, 503 when there was no answer, None for an error of another kind."""
    module = type(error).__module__.partition(".")[0]
    if module == "botocore":
        response = getattr(error, "response", None)
        if not response:
            return 503
        throttled = response["Error"]["Code"] in THROTTLED
        return 429 if throttled else int(response["ResponseMetadata"]["HTTPStatusCode"])
    if module == "google":
        return int(getattr(error, "code", None) or 503)
    if module == "azure":
        return int(getattr(error, "status_code", None) or 503)
    return 503 if module in ("requests", "urllib3") else None


def _codebuild(options: Options) -> NativeBuilder:
    from triplane.clouds import aws
    from triplane.images.builders.codebuild import CodeBuild

    connection, region = conn_id("codebuild", options), options.get("region")
    clients = {name: aws.client(name, connection, region) for name in ("codebuild", "s3", "logs", "ecr")}
    return CodeBuild(clients, project=need(options, "project"), bucket=need(options, "bucket"))


def _cloud_build(options: Options) -> NativeBuilder:
    from google.cloud.devtools.cloudbuild_v1 import CloudBuildClient

    from triplane.clouds import gcp
    from triplane.images.builders.cloud_build import CloudBuild

    connection = conn_id("cloud_build", options)
    project = str(options.get("project") or gcp.project_id(connection))
    return CloudBuild(
        gcp.client(CloudBuildClient, connection),
        gcp.storage(connection),
        project=project,
        region=need(options, "region"),
        bucket=str(options.get("bucket") or f"{project}_cloudbuild"),
        service_account=str(options.get("service_account") or ""),
    )


def _acr_tasks(options: Options) -> NativeBuilder:
    from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient

    from triplane.clouds import azure
    from triplane.images.builders.acr_tasks import AcrTasks

    connection = conn_id("acr_tasks", options)
    return AcrTasks(
        azure.client(ContainerRegistryTasksMgmtClient, connection),
        resource_group=need(options, "resource_group"),
        registry=need(options, "registry").partition(".")[0],
        subscription=azure.subscription_id(connection),
    )


SERVICES: dict[str, Callable[[Options], NativeBuilder]] = {
    "codebuild": _codebuild,
    "cloud_build": _cloud_build,
    "acr_tasks": _acr_tasks,
}
