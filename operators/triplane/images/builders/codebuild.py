"""Builds with AWS CodeBuild, in a project that the account has: context from S3, image to ECR."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.images.builders import BuildRequest
from triplane.images.builders.native import (
    CONTEXT,
    Status,
    docker_args,
    object_name,
    one_platform,
    zipped,
)
from triplane.images.reference import Reference

LOG_PAGES = 20
KEY_VARIABLE, IMAGE_VARIABLE = "TRIPLANE_KEY", "TRIPLANE_IMAGE"


class CodeBuild:
    """``clients`` are boto3's of ``codebuild``, ``s3``, ``logs`` and ``ecr``. ``project`` runs with Docker
    (privileged mode) and its role may read ``bucket`` and push to ECR.
    """

    def __init__(self, clients: Mapping[str, Any], *, project: str, bucket: str) -> None:
        self._builds, self._s3, self._logs, self._ecr = (
            clients[name] for name in ("codebuild", "s3", "logs", "ecr")
        )
        self.project = project
        self.bucket = bucket

    def find(self, key: str, target: Reference, since: datetime | None) -> str | None:
        for build in self._of(key):
            if build["buildStatus"] in ("IN_PROGRESS", "SUCCEEDED"):
                return str(build["id"])
        return None

    def start(self, request: BuildRequest, key: str, target: Reference, timeout: float) -> str:
        one_platform(request, "codebuild")
        place = object_name(key, "zip")
        self._s3.put_object(Bucket=self.bucket, Key=place, Body=zipped(request.context))
        ended = (build["id"] for build in self._of(key) if build["buildStatus"] != "IN_PROGRESS")
        answer = self._builds.start_build(
            projectName=self.project,
            # Two tasks that ask at the same time get one build; one that failed may be asked for again.
            idempotencyToken=digest([key, next(ended, "")]).removeprefix("sha256:"),
            sourceTypeOverride="S3",
            sourceLocationOverride=f"{self.bucket}/{place}",
            artifactsOverride={"type": "NO_ARTIFACTS"},
            buildspecOverride=json.dumps(buildspec(request, target)),
            environmentVariablesOverride=[
                {"name": KEY_VARIABLE, "value": key},
                {"name": IMAGE_VARIABLE, "value": str(target)},
            ],
            privilegedModeOverride=True,
            timeoutInMinutesOverride=min(2160, max(5, math.ceil(timeout / 60))),
        )
        return str(answer["build"]["id"])

    def status(self, build: str) -> Status:
        found = self._get(build)
        state = found["buildStatus"]
        if state == "IN_PROGRESS":
            return Status("running")
        if state != "SUCCEEDED":
            return Status("failed", why(found))
        image = self._pushed(variable(found, IMAGE_VARIABLE))
        return Status("succeeded", digest=image) if image else Status("failed", "its image is gone from ECR")

    def log(self, build: str, position: str) -> tuple[list[str], str]:
        where = self._get(build).get("logs", {})
        if not where.get("streamName"):
            return [], position
        stream = {"logGroupName": where["groupName"], "logStreamName": where["streamName"]}
        found: list[str] = []
        for _ in range(LOG_PAGES):
            token = {"nextToken": position} if position else {}
            try:
                answer = self._logs.get_log_events(**stream, startFromHead=True, **token)
            except self._logs.exceptions.ResourceNotFoundException:
                break
            found += [event["message"].rstrip("\n") for event in answer["events"]]
            if answer["nextForwardToken"] == position:
                break
            position = str(answer["nextForwardToken"])
        return found, position

    def cancel(self, build: str) -> None:
        self._builds.stop_build(id=build)

    def link(self, build: str) -> str:
        return console(self._builds, build)

    def _get(self, build: str) -> Mapping[str, Any]:
        return get(self._builds, build)

    def _of(self, key: str) -> Iterator[Mapping[str, Any]]:
        return marked(self._builds, self.project, KEY_VARIABLE, key)

    def _pushed(self, image: str) -> str | None:
        target = Reference.parse(image)
        wanted = {"repositoryName": target.repository, "imageIds": [{"imageTag": target.tag}]}
        missing = (
            self._ecr.exceptions.ImageNotFoundException,
            self._ecr.exceptions.RepositoryNotFoundException,
        )
        try:
            return str(self._ecr.describe_images(**wanted)["imageDetails"][0]["imageDigest"])
        except missing:
            return None


def buildspec(request: BuildRequest, target: Reference) -> dict[str, Any]:
    """What CodeBuild runs; JSON is YAML."""
    login = f"docker login --username AWS --password-stdin {target.registry}"
    return {
        "version": 0.2,
        "phases": {
            "pre_build": {
                "commands": [
                    f'aws ecr get-login-password --region "$AWS_REGION" | {login}',
                    f"mkdir context && tar -xzf {CONTEXT} -C context && cd context",
                ]
            },
            "build": {
                "commands": [
                    shlex.join(["docker", *docker_args(request, target)]),
                    shlex.join(["docker", "push", str(target)]),
                ]
            },
        },
    }


def get(builds: Any, build: str) -> Mapping[str, Any]:
    """What CodeBuild says of ``build``. ``builds`` is boto3's client, here and below.

    :raises InputError: it does not know it any more
    """
    found = builds.batch_get_builds(ids=[build])["builds"]
    if not found:
        raise InputError(f"CodeBuild has no build {build} any more; clear the task to build again")
    only: Mapping[str, Any] = found[0]
    return only


def marked(builds: Any, project: str, name: str, value: str) -> Iterator[Mapping[str, Any]]:
    """The builds that got ``value`` in the variable ``name``, of the project's last hundred, the newest first."""
    ids = builds.list_builds_for_project(projectName=project, sortOrder="DESCENDING")["ids"]
    found = builds.batch_get_builds(ids=ids[:100])["builds"] if ids else []
    by_id = {build["id"]: build for build in found}
    yield from (by_id[i] for i in ids if i in by_id and variable(by_id[i], name) == value)


def why(build: Mapping[str, Any]) -> str:
    """Why a build did not succeed: its state, and what its failed phases say."""
    failed = [phase for phase in build.get("phases", ()) if phase.get("phaseStatus") == "FAILED"]
    said = [context.get("message", "") for phase in failed for context in phase.get("contexts", ())]
    return " ".join([build["buildStatus"], *said]).strip()


def console(builds: Any, build: str) -> str:
    """Where a person sees ``build``."""
    region, project = builds.meta.region_name, build.partition(":")[0]
    return (
        f"https://{region}.console.aws.amazon.com/codesuite/codebuild/projects/{project}"
        f"/build/{build}/log?region={region}"
    )


def variable(build: Mapping[str, Any], name: str) -> str:
    """The value that a build got for an environment variable, empty if it got none."""
    variables = build.get("environment", {}).get("environmentVariables", ())
    return next((str(each["value"]) for each in variables if each["name"] == name), "")
