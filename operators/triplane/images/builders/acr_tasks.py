"""Builds with tasks of Azure Container Registry: the registry takes the context, builds, and keeps the image."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from triplane.core.errors import TransientError
from triplane.images.builders import BuildRequest
from triplane.images.builders.native import Status, archive, lines, one_platform
from triplane.images.reference import Reference

RUNNING = ("Queued", "Started", "Running")
CLOCKS_DIFFER = timedelta(minutes=5)
LOOKED_AT = 100


class AcrTasks:
    """``client`` is a ``ContainerRegistryTasksMgmtClient``."""

    def __init__(self, client: Any, *, resource_group: str, registry: str, subscription: str) -> None:
        self._client = client
        self._place = (resource_group, registry)
        self._id = (
            f"/subscriptions/{subscription}/resourceGroups/{resource_group}"
            f"/providers/Microsoft.ContainerRegistry/registries/{registry}"
        )

    def find(self, key: str, target: Reference, since: datetime | None) -> str | None:
        """A run tells its image only once it has ended: until then it may be anybody's."""
        active = []
        for run in islice(self._client.runs.list(*self._place, top=LOOKED_AT), LOOKED_AT):
            found = run.properties
            if any(_is(image, target) for image in found.output_images or ()) and found.status == "Succeeded":
                return str(found.run_id)
            if since and found.status in RUNNING and found.create_time >= since - CLOCKS_DIFFER:
                active.append(str(found.run_id))
        if active:
            raise TransientError(
                f"an earlier try was killed while it asked for {target}; run {', '.join(active)} may be its build: "
                "try again when that has ended"
            )
        return None

    def start(self, request: BuildRequest, key: str, target: Reference, timeout: float) -> str:
        from azure.mgmt.containerregistrytasks import models
        from azure.storage.blob import BlobClient

        system, _, machine = (one_platform(request, "acr_tasks") or "linux/amd64").partition("/")
        architecture, _, variant = machine.partition("/")
        place = self._client.registries.get_build_source_upload_url(*self._place)
        with BlobClient.from_blob_url(place.upload_url) as blob:
            blob.upload_blob(archive(request.context))
        run = self._client.registries.schedule_run(
            *self._place,
            models.DockerBuildRequest(
                docker_file_path=request.dockerfile,
                source_location=place.relative_path,
                image_names=[f"{target.repository}:{target.tag}"],
                is_push_enabled=True,
                arguments=[models.Argument(name=n, value=v) for n, v in sorted(request.args.items())],
                platform=models.PlatformProperties(
                    os=system.capitalize(), architecture=architecture, variant=variant or None
                ),
                timeout=min(28800, max(300, int(timeout))),
            ),
        )
        return str(run.properties.run_id)

    def status(self, build: str) -> Status:
        found = self._client.runs.get(*self._place, build).properties
        if found.status in RUNNING:
            return Status("running")
        if found.status != "Succeeded":
            state = getattr(found.status, "value", found.status)
            return Status("failed", f"{state} {found.run_error_message or ''}".strip())
        return Status("succeeded", digest=str(found.output_images[0].digest))

    def log(self, build: str, position: str) -> tuple[list[str], str]:
        from azure.core.exceptions import HttpResponseError
        from azure.storage.blob import BlobClient

        start = int(position or 0)
        try:
            link = self._client.runs.get_log_sas_url(*self._place, build).log_link
            with BlobClient.from_blob_url(link) as blob:
                return lines(blob.download_blob(offset=start).readall(), start)
        except HttpResponseError as error:
            if error.status_code in (404, 416):  # nothing yet, or nothing new
                return [], position
            raise

    def cancel(self, build: str) -> None:
        from azure.core.exceptions import ResourceExistsError

        if self.status(build).state != "running":
            return
        try:
            self._client.runs.cancel(*self._place, build)
        except ResourceExistsError:
            pass  # it ended meanwhile

    def link(self, build: str) -> str:
        return f"https://portal.azure.com/#resource{self._id}/runs/{build}"


def _is(image: Any, target: Reference) -> bool:
    return (image.repository, image.tag) == (target.repository, target.tag)
