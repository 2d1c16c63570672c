"""Cloud Build that builds: its Docker steps run by buildah, on a source from Cloud Storage."""

from __future__ import annotations

import copy
import re
import shlex
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triplane.sandbox import builds
from triplane.sandbox.gcp.errors import ApiError, invalid, not_found
from triplane.sandbox.gcp.oauth import Tokens
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import PROJECT, PROJECT_NUMBER, Body, Call, Handler

PREFIX = "cloudbuild.projects.locations.builds"
METADATA = "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata"
DOCKER = "gcr.io/cloud-builders/docker"
STATUS = {"running": "WORKING", "succeeded": "SUCCESS", "failed": "FAILURE", "cancelled": "CANCELLED"}


class CloudBuilds:
    """``projects.locations.builds``. ``storage`` is the URL of the server that keeps the objects."""

    def __init__(self, runner: builds.Builds, tokens: Tokens, storage: str) -> None:
        self._runner = runner
        self._tokens = tokens
        self._storage = storage
        self._builds: dict[str, Body] = {}
        self._written: dict[str, int] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.create": self.create,
            f"{PREFIX}.get": lambda call: self._show(self._find(call.params["name"])),
            f"{PREFIX}.list": self.list,
            f"{PREFIX}.cancel": self.cancel,
        }

    def create(self, call: Call) -> Body:
        """Start a build."""
        body = copy.deepcopy(call.body)
        if "storageSource" not in body.get("source", {}):
            raise invalid(
                "build.source", "the sandbox's Cloud Build takes its source from Cloud Storage only"
            )
        for step in body.get("steps") or [{}]:
            if step.get("name", "").partition(":")[0] != DOCKER:
                raise invalid("build.steps", f"the sandbox's Cloud Build runs steps of {DOCKER} only")
        if body.get("serviceAccount") and not (
            body.get("logsBucket") or body.get("options", {}).get("logging")
        ):
            raise invalid(
                "build.service_account",
                "if 'build.service_account' is specified, the build must either (a) specify 'build.logs_bucket' "
                "or (b) use the logging options CLOUD_LOGGING_ONLY, or NONE",
            )
        identity = str(uuid.uuid4())
        name = f"{call.params['parent']}/builds/{identity}"
        bucket = body.get("logsBucket", f"gs://{PROJECT_NUMBER}.cloudbuild-logs.googleusercontent.com")
        body |= {
            "id": identity,
            "name": f"projects/{PROJECT_NUMBER}/{name.partition(f'{PROJECT}/')[2]}",
            "projectId": PROJECT,
            "createTime": timestamp(),
            "logsBucket": bucket,
            "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{identity}?project={PROJECT_NUMBER}",
        }
        self._builds[name] = body
        self._start(body)
        return {
            "name": f"operations/build/{PROJECT}/{identity}",
            "metadata": {"@type": METADATA, "build": self._show(body)},
        }

    def list(self, call: Call) -> Body:
        """The newest first, as the API does; of filters only that on one tag is known."""
        tag = None
        if text := call.params.get("filter"):
            match = re.fullmatch(r'tags ?= ?"([^"]+)"', text)
            if match is None:
                raise ApiError(400, f"the sandbox does not know the filter {text}")
            tag = match[1]
        prefix = f"{call.params['parent']}/builds/"
        found = [body for name, body in reversed(self._builds.items()) if name.startswith(prefix)]
        return {"builds": [self._show(body) for body in found if tag is None or tag in body.get("tags", ())]}

    def cancel(self, call: Call) -> Body:
        """End a build."""
        body = self._find(call.params["name"])
        build = self._runner.get(body["id"])
        assert build is not None
        if build.state != "running":
            raise ApiError(400, "cannot cancel a build that has ended", status="FAILED_PRECONDITION")
        build.cancel()
        return self._show(body)

    def _find(self, name: str) -> Body:
        if name not in self._builds:
            raise not_found(name)
        return self._builds[name]

    def _start(self, body: Body) -> None:
        images = body.get("images", [])
        token = self._tokens.issue(self._tokens.email)
        source = body["source"]["storageSource"]

        def prepare(folder: Path) -> Sequence[str]:
            archive = folder.parent / "source"
            archive.write_bytes(self._read(source["bucket"], source["object"]))
            builds.unpack(archive, folder)
            registries = sorted({image.partition("/")[0] for image in images})
            return [
                *(builds.login(host, "oauth2accesstoken", "BUILD_TOKEN") for host in registries),
                *(shlex.join(["docker", *step.get("args", ())]) for step in body["steps"]),
                *(shlex.join(["docker", "push", image]) for image in images),
            ]

        limit = float(body.get("timeout", "600s").rstrip("s"))
        self._runner.start(body["id"], prepare, env={"BUILD_TOKEN": token}, timeout=limit)

    def _show(self, body: Body) -> Body:
        """The build as it stands; its log so far goes to its bucket first."""
        build = self._runner.get(body["id"])
        assert build is not None
        state, log = build.state, build.log
        if len(log) != self._written.get(build.id):
            self._write(body["logsBucket"], f"log-{build.id}.txt", log)
            self._written[build.id] = len(log)
        shown = {**body, "status": STATUS[state]}
        if state == "failed":
            detail = f"Build failed: step exited with non-zero status: {build.returncode}"
            shown["failureInfo"] = {"type": "USER_BUILD_STEP", "detail": detail}
        if state == "succeeded":
            shown["results"] = {"images": [{"name": name, "digest": build.digest} for name in body["images"]]}
        return copy.deepcopy(shown)

    def _read(self, bucket: str, name: str) -> bytes:
        path = f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}?alt=media"
        return _open(urllib.request.Request(self._storage + path))

    def _write(self, place: str, name: str, data: bytes) -> None:
        bucket, _, folder = place.removeprefix("gs://").partition("/")
        full = f"{folder}/{name}" if folder else name
        query = urllib.parse.urlencode({"uploadType": "media", "name": full})
        headers = {"Content-Type": "text/plain"}
        url = f"{self._storage}/upload/storage/v1/b/{bucket}/o?{query}"
        _open(urllib.request.Request(url, data, headers, method="POST"))


def _open(request: Any) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        data: bytes = response.read()
    return data
