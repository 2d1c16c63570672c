"""Tasks of a container registry: quick builds that really build, from a context in Blob Storage."""

from __future__ import annotations

import itertools
import json
import shlex
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient, generate_blob_sas

from triplane.sandbox import builds
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.kinds import Action
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.tokens import Directory
from triplane.sandbox.azure.world import TASKS_ACCOUNT, Resource, World, now

KIND = "Microsoft.ContainerRegistry/registries/runs"
SOURCES, LOGS = "sources", "logs"
STATUS = {"running": "Running", "succeeded": "Succeeded", "failed": "Failed", "cancelled": "Canceled"}
SCOPE = "https://containerregistry.azure.net"
TOKEN_USER = "00000000-0000-0000-0000-000000000000"


class Tasks:
    """Runs of all registries. ``gate`` is the URL of the registries themselves, ``blobs`` that of Blob Storage."""

    def __init__(
        self, world: World, directory: Directory, runner: builds.Builds, *, gate: str, blobs: str
    ) -> None:
        self._world = world
        self._directory = directory
        self._runner = runner
        self._gate = gate
        self._key = world.settings.tasks_key
        self._place = f"{blobs}/{TASKS_ACCOUNT}"
        self._numbers = itertools.count(1)
        self._written: dict[str, int] = {}

    @cached_property
    def _blobs(self) -> Any:
        return BlobServiceClient(self._place, credential=self._key)

    def actions(self) -> dict[tuple[str, str], Action]:
        """What is POSTed to registries and runs."""
        registry = "microsoft.containerregistry/registries"
        return {
            (registry, "listbuildsourceuploadurl"): self._upload_url,
            (registry, "schedulerun"): self._schedule,
            (f"{registry}/runs", "listlogsasurl"): self._log_url,
            (f"{registry}/runs", "cancel"): self._cancel,
        }

    def settle(self) -> None:
        """Write down how the runs stand, and their logs."""
        scope = f"/subscriptions/{self._world.settings.subscription}"
        for run in list(self._world.below(scope, KIND)):
            build = self._runner.get(run["id"])
            properties = run["properties"]
            if build is None or properties.get("finishTime"):
                continue
            state, log = build.state, build.log
            if log and len(log) != self._written.get(build.id):
                self._blob(LOGS, f"{run['name']}.log").upload_blob(log, overwrite=True)
                self._written[build.id] = len(log)
            properties |= {"status": STATUS[state], "lastUpdatedTime": now()}
            if state != "running":
                properties["finishTime"] = now()
            if state == "failed":
                properties["runErrorMessage"] = (
                    f"failed to run step ID: build: exit status {build.returncode}"
                )
            if state == "succeeded":
                properties["outputImages"] = [
                    {**image, "digest": build.digest} for image in properties.pop("images")
                ]
            self._world.put(run["id"], run)

    def _upload_url(self, world: World, target: Target, body: Mapping[str, Any]) -> Any:
        path = f"tasks-source/{now()[:10].replace('-', '')}/{world.identity(f'{target.id} {next(self._numbers)}')}.tar.gz"
        return {"uploadUrl": self._link(SOURCES, path, "cw"), "relativePath": path}

    def _schedule(self, world: World, target: Target, body: Mapping[str, Any]) -> Any:
        registry = world.get(target.id)
        assert registry is not None
        if body.get("type") != "DockerBuildRequest":
            raise ArmError(501, "NotImplemented", f"The sandbox does not run a {body.get('type')}.")
        if body["platform"].get("os", "").lower() != "linux":
            raise ArmError(400, "InvalidPlatform", f"No agent for {body['platform'].get('os')}.")
        name = f"ca{next(self._numbers)}"
        host = registry["properties"]["loginServer"]
        images = [
            dict(zip(("repository", "tag"), each.rpartition(":")[::2], strict=True))
            for each in body["imageNames"]
        ]
        run: Resource = {
            "id": f"{target.id}/runs/{name}",
            "name": name,
            "type": KIND,
            "properties": {
                "runId": name,
                "status": "Queued",
                "runType": "QuickBuild",
                "createTime": now(),
                "lastUpdatedTime": now(),
                "platform": body["platform"],
                "isArchiveEnabled": False,
                "images": [{"registry": host, **image} for image in images],
                "provisioningState": "Succeeded",
            },
        }
        world.put(run["id"], run)
        self._start(run["id"], host, body)
        return run

    def _start(self, name: str, host: str, body: Mapping[str, Any]) -> None:
        token = self._directory.issue(SCOPE)

        def prepare(folder: Path) -> Sequence[str]:
            archive = folder.parent / "source"
            archive.write_bytes(self._blob(SOURCES, body["sourceLocation"]).download_blob().readall())
            builds.unpack(archive, folder)
            # Where the run's shell reads the password from, not where anybody sees it.
            (folder.parent / "password").write_text(self._exchange(host, token))
            return [
                'BUILD_PASSWORD=$(cat "$BUILD_FOLDER/password"); rm "$BUILD_FOLDER/password"',
                builds.login(host, TOKEN_USER, "BUILD_PASSWORD"),
                shlex.join(["docker", *docker_args(host, body)]),
                *(shlex.join(["docker", "push", f"{host}/{image}"]) for image in body["imageNames"]),
            ]

        self._runner.start(name, prepare, timeout=body.get("timeout") or 3600)

    def _exchange(self, host: str, token: str) -> str:
        form = {"grant_type": "access_token", "service": host, "access_token": token}
        data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(f"{self._gate}/oauth2/exchange", data, {"Host": host})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return str(json.loads(answer.read())["refresh_token"])

    def _log_url(self, world: World, target: Target, body: Mapping[str, Any]) -> Any:
        return {"logLink": self._link(LOGS, f"{target.name}.log", "r")}

    def _cancel(self, world: World, target: Target, body: Mapping[str, Any]) -> None:
        build = self._runner.get(target.id)
        if build is None or build.state != "running":
            raise ArmError(409, "RunNotCancellable", f"The run {target.name} has ended.")
        build.cancel()

    def _blob(self, container: str, name: str) -> Any:
        try:
            self._blobs.create_container(container)
        except ResourceExistsError:
            pass
        return self._blobs.get_blob_client(container, name)

    def _link(self, container: str, name: str, permission: str) -> str:
        self._blob(container, name)
        ends = datetime.now(UTC) + timedelta(hours=1)
        signature = generate_blob_sas(
            TASKS_ACCOUNT, container, name, account_key=self._key, permission=permission, expiry=ends
        )
        return f"https://{TASKS_ACCOUNT}.blob.core.windows.net/{container}/{name}?{signature}"


def docker_args(host: str, body: Mapping[str, Any]) -> list[str]:
    """``docker build`` as the request says."""
    wanted = body["platform"]
    platform = [wanted["os"].lower(), wanted.get("architecture") or "amd64", wanted.get("variant")]
    arguments = [f"{each['name']}={each['value']}" for each in body.get("arguments") or ()]
    return [
        *("build", "--file", body["dockerFilePath"]),
        *("--platform", "/".join(part for part in platform if part)),
        *(word for image in body["imageNames"] for word in ("--tag", f"{host}/{image}")),
        *(word for argument in arguments for word in ("--build-arg", argument)),
        ".",
    ]
