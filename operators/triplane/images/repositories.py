"""Makes the repositories that images are pushed to, where the spec says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from triplane.core.errors import InputError, TransientError
from triplane.images.reference import Reference

Log = Callable[[str], None]
WAIT_SECONDS = 120.0
ARTIFACT_REGISTRY = "https://artifactregistry.googleapis.com/v1"


def ensure(cloud: str | None, conn_id: str, target: Reference, options: Mapping[str, Any], log: Log) -> None:
    """Create the repository of ``target`` if it is not there; one that is there stays as it is.

    ``options`` are ``immutable_tags`` and ``scan_on_push`` (ECR alone). Azure and other registries make
    repositories by themselves.
    """
    if cloud == "aws":
        from triplane.clouds import aws

        client = aws.client("ecr", conn_id, target.registry.split(".")[3])
        ecr(client, target.repository, options, log)
    elif cloud == "gcp":
        from google.auth.transport.requests import AuthorizedSession

        from triplane.clouds import gcp

        with AuthorizedSession(gcp.credentials(conn_id)) as session:
            artifact_registry(session, target, options, log)


def ecr(client: Any, repository: str, options: Mapping[str, Any], log: Log) -> None:
    """Create an ECR repository. ``client`` is boto3's of ``ecr``."""
    try:
        client.describe_repositories(repositoryNames=[repository])
    except client.exceptions.RepositoryNotFoundException:
        try:
            client.create_repository(
                repositoryName=repository,
                imageTagMutability="IMMUTABLE" if options.get("immutable_tags") else "MUTABLE",
                imageScanningConfiguration={"scanOnPush": bool(options.get("scan_on_push"))},
            )
            log(f"created the ECR repository {repository}")
        except client.exceptions.RepositoryAlreadyExistsException:
            pass  # another task was faster


def artifact_registry(session: Any, target: Reference, options: Mapping[str, Any], log: Log) -> None:
    """Create a Docker repository of Artifact Registry. ``session`` is a requests session with a login."""
    host, suffix = target.registry, "-docker.pkg.dev"
    project, _, rest = target.repository.partition("/")
    name = rest.partition("/")[0]
    if not host.endswith(suffix) or not name:
        raise InputError(
            f"{target.name}: repositories are made in Artifact Registry alone "
            "(<location>-docker.pkg.dev/<project>/<repository>); make this one by hand"
        )
    parent = f"projects/{project}/locations/{host.removesuffix(suffix)}"
    answer = session.get(f"{ARTIFACT_REGISTRY}/{parent}/repositories/{name}", timeout=60)
    if answer.status_code == 200:
        return
    if answer.status_code == 404:
        body = {"format": "DOCKER", "dockerConfig": {"immutableTags": bool(options.get("immutable_tags"))}}
        url = f"{ARTIFACT_REGISTRY}/{parent}/repositories"
        answer = session.post(url, params={"repositoryId": name}, json=body, timeout=60)
        if answer.status_code == 409:
            return  # another task was faster
    _finish(session, f"{parent}/repositories/{name}", answer)
    log(f"created the Artifact Registry repository {parent}/repositories/{name}")


def _finish(session: Any, name: str, answer: Any) -> None:
    """Wait for the end of a long-running operation."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        if answer.status_code == 429 or answer.status_code >= 500:
            raise TransientError(f"{name} was not created: {answer.status_code} {answer.text[:300]}")
        if answer.status_code != 200:
            raise InputError(f"{name} was not created: {answer.status_code} {answer.text[:300]}")
        operation = answer.json()
        if operation.get("done"):
            break
        if time.monotonic() > deadline:
            raise TransientError(f"{name} is still being created after {WAIT_SECONDS:g} s; try again")
        time.sleep(1)
        answer = session.get(f"{ARTIFACT_REGISTRY}/{operation['name']}", timeout=60)
    if error := operation.get("error"):
        raise InputError(f"{name} was not created: {error.get('message', error)}")
