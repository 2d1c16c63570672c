"""Builds with Google Cloud Build: context and log in Cloud Storage, image to Artifact Registry."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from triplane.images.builders import BuildRequest
from triplane.images.builders.native import (
    FOLDER,
    Status,
    archive,
    docker_args,
    lines,
    object_name,
    one_platform,
)
from triplane.images.reference import Reference

DOCKER = "gcr.io/cloud-builders/docker"
RUNNING = ("STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING")
FOUND = (*RUNNING, "SUCCESS")


class CloudBuild:
    """``client`` is a ``CloudBuildClient``, ``storage`` a ``google.cloud.storage.Client``.

    Contexts and logs are kept in ``bucket``. Without ``service_account`` (an email) builds run as the
    project's default.
    """

    def __init__(
        self, client: Any, storage: Any, *, project: str, region: str, bucket: str, service_account: str = ""
    ) -> None:
        self._client = client
        self._bucket = storage.bucket(bucket)
        self.project = project
        self.region = region
        self.service_account = service_account
        self.parent = f"projects/{project}/locations/{region}"

    def find(self, key: str, target: Reference, since: datetime | None) -> str | None:
        found = self._of(key, FOUND)
        return found[-1] if found else None

    def start(self, request: BuildRequest, key: str, target: Reference, timeout: float) -> str:
        platform = one_platform(request, "cloud_build")
        place = object_name(key, "tar.gz")
        self._bucket.blob(place).upload_from_string(archive(request.context), "application/gzip")
        build = {
            "source": {"storage_source": {"bucket": self._bucket.name, "object_": place}},
            "steps": [
                {
                    "name": DOCKER,
                    "args": list(docker_args(request, target)),
                    "env": ["DOCKER_BUILDKIT=1"] if platform else [],
                }
            ],
            "images": [str(target)],
            "tags": ["triplane", _tag(key)],
            "logs_bucket": f"gs://{self._bucket.name}/{FOLDER}",
            "options": {"logging": "GCS_ONLY"},
            "timeout": {"seconds": int(timeout)},
        }
        if self.service_account:
            build["service_account"] = f"projects/{self.project}/serviceAccounts/{self.service_account}"
        operation = self._client.create_build(request={"parent": self.parent, "build": build})
        mine = str(operation.metadata.build.id)
        first = next(iter(self._of(key, RUNNING)), mine)
        if first != mine:
            # Somebody asked for the same image at the same time, and came first.
            self.cancel(mine)
        return first

    def status(self, build: str) -> Status:
        found = self._get(build)
        if found.status.name in RUNNING:
            return Status("running")
        if found.status.name != "SUCCESS":
            said = found.failure_info.detail or found.status_detail
            return Status("failed", f"{found.status.name} {said}".strip())
        return Status("succeeded", digest=str(found.results.images[0].digest))

    def log(self, build: str, position: str) -> tuple[list[str], str]:
        from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

        start = int(position or 0)
        blob = self._bucket.blob(f"{FOLDER}/log-{build}.txt")
        try:
            return lines(blob.download_as_bytes(start=start, raw_download=True), start)
        except (NotFound, RequestRangeNotSatisfiable):
            return [], position

    def cancel(self, build: str) -> None:
        from google.api_core.exceptions import BadRequest

        try:
            self._client.cancel_build(request={"name": f"{self.parent}/builds/{build}"})
        except BadRequest:
            pass  # it has ended

    def link(self, build: str) -> str:
        return f"https://console.cloud.google.com/cloud-build/builds;region={self.region}/{build}?project={self.project}"

    def _of(self, key: str, states: Collection[str]) -> list[str]:
        """The builds of ``key`` in one of these states, the oldest first."""
        wanted = {"parent": self.parent, "filter": f'tags="{_tag(key)}"', "page_size": 50}
        builds = [build for build in self._client.list_builds(request=wanted) if build.status.name in states]
        return [str(build.id) for build in sorted(builds, key=lambda build: (build.create_time, build.id))]

    def _get(self, build: str) -> Any:
        return self._client.get_build(request={"name": f"{self.parent}/builds/{build}"})


def _tag(key: str) -> str:
    return f"triplane-{key.removeprefix('sha256:')}"
