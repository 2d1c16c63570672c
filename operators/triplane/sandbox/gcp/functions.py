"""Cloud Functions (2nd gen): a build of the package, then a revision of the function's Cloud Run service."""

from __future__ import annotations

import copy
import hashlib
import re
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path

from triplane.sandbox.gcp import function_code
from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.function_checks import check, service_template
from triplane.sandbox.gcp.logs import Logs
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.run import Run
from triplane.sandbox.gcp.run_checks import LATEST
from triplane.sandbox.gcp.state import PROJECT, PROJECT_NUMBER, Body, Call, Handler, State, merge

PREFIX = "cloudfunctions.projects.locations"
TYPE = "type.googleapis.com/google.cloud.functions.v2.Function"
METADATA = "type.googleapis.com/google.cloud.functions.v2.OperationMetadata"
UPLOADS = "/gcf-v2-uploads-"
OWN = {"name", "state", "stateMessages", "updateTime", "createTime", "url"}


@dataclass(frozen=True)
class Built:
    """One build: its image, the unpacked package, and what is called in it."""

    image: str
    root: Path
    runtime: str
    entry_point: str


class Functions:
    """``projects.locations.functions`` and their operations."""

    def __init__(self, state: State, run: Run, logs: Logs) -> None:
        self._state = state
        self._logs = logs
        self._run = run
        self._uploads: dict[str, bytes] = {}
        self._signatures: dict[str, str] = {}
        self._built: dict[str, Built] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.functions.generateUploadUrl": self.upload_url,
            f"{PREFIX}.functions.create": self.create,
            f"{PREFIX}.functions.get": lambda call: self._state.get(call.params["name"]),
            f"{PREFIX}.functions.list": lambda call: {
                "functions": self._state.below(f"{call.params['parent']}/functions")
            },
            f"{PREFIX}.functions.patch": self.patch,
            f"{PREFIX}.functions.delete": self.delete,
            f"{PREFIX}.operations.get": lambda call: self._state.operations.get(call.params["name"]),
            f"{PREFIX}.operations.list": self.operations,
        }

    def built(self, image: str) -> Built | None:
        """What an image was built from, None when no function's build made it."""
        return self._built.get(image)

    def digest(self, image: str) -> str | None:
        found = self._built.get(image)
        return found.image.rpartition("@")[2] if found else None

    def start_failure(self, revision: Body) -> str | None:
        """Why the container of a revision does not listen, None when it does, or is not a function's."""
        container = revision["containers"][0]
        built = self._built.get(container["image"])
        if built is None:
            return None
        found, log = function_code.failure(
            built.root, built.runtime, built.entry_point, container.get("env", [])
        )
        self._logs.add(revision["name"], log)
        if not found:
            return None
        return (
            "The user-provided container failed to start and listen on the port defined provided by the "
            f"PORT=8080 environment variable within the allocated timeout. {found}"
        )

    def upload_url(self, call: Call) -> Body:
        location = call.params["parent"].rpartition("/")[2]
        bucket = f"gcf-v2-uploads-{PROJECT_NUMBER}.{location}.cloudfunctions.appspot.com"
        name = f"{uuid.uuid4()}.zip"
        path = f"/{bucket}/{name}"
        self._signatures[path] = secrets.token_hex(16)
        query = (
            f"X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Expires=1800&X-Goog-Signature={self._signatures[path]}"
        )
        url = f"https://storage.googleapis.com{path}?{query}"
        return {"uploadUrl": url, "storageSource": {"bucket": bucket, "object": name}}

    def upload(self, path: str, signature: str, content_type: str, data: bytes) -> None:
        """What a client sends to a signed upload URL. Raises 403 for another URL or content type."""
        if not secrets.compare_digest(self._signatures.get(path, "-"), signature):
            raise ApiError(403, "The request signature we calculated does not match the signature provided.")
        if content_type != "application/zip":
            raise ApiError(403, "SignatureDoesNotMatch: the content type must be application/zip")
        self._uploads[path] = data

    def operations(self, call: Call) -> Body:
        """The newest first."""
        found = self._state.operations.below(call.params["name"])
        wanted = [body for body in found if body.get("metadata", {}).get("@type") == METADATA]
        return {"operations": wanted[::-1]}

    def create(self, call: Call) -> Body:
        identity = call.params.get("functionId", "")
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", identity):
            raise invalid("function_id", f"Invalid function_id '{identity}'.")
        full = f"{call.params['parent']}/functions/{identity}"
        self._state.require_absent(full)
        wanted = self._checked(call.body)
        now = timestamp()
        self._state.resources[full] = {
            **wanted, "name": full, "state": "DEPLOYING", "createTime": now, "updateTime": now
        }  # fmt: skip
        return self._start("create", full, wanted, call)

    def patch(self, call: Call) -> Body:
        full = call.params["name"]
        live = self._state.live(full)
        _check_idle(live)
        wanted = {key: copy.deepcopy(value) for key, value in live.items() if key not in OWN}
        merge(wanted, call.body, call.params.get("updateMask"))
        wanted = self._checked(wanted)
        live |= {"state": "DEPLOYING", "updateTime": timestamp()}
        return self._start("update", full, wanted, call)

    def delete(self, call: Call) -> Body:
        full = call.params["name"]
        live = self._state.live(full)
        _check_idle(live)
        live["state"] = "DELETING"

        def finish() -> Body:
            if service := self._service(full):
                self._run.remove(service)
            return self._state.remove(full)

        return self._operation("delete", full, finish, {})

    def _checked(self, wanted: Body) -> Body:
        wanted = check(copy.deepcopy(wanted))
        if self._path(wanted) not in self._uploads:
            source = wanted["buildConfig"]["source"]["storageSource"]
            text = f"Source object gs://{source.get('bucket')}/{source.get('object')} does not exist."
            raise invalid("build_config.source.storage_source", text)
        return wanted

    def _path(self, wanted: Body) -> str:
        source = wanted["buildConfig"].get("source", {}).get("storageSource", {})
        return f"/{source.get('bucket')}/{source.get('object')}"

    def _start(self, verb: str, full: str, wanted: Body, call: Call) -> Body:
        ordered = self._state.operations.failure
        return self._operation(verb, full, lambda: self._finish(full, wanted, call.caller, ordered), wanted)

    def _operation(self, verb: str, full: str, finish: function_code.Finish, request: Body) -> Body:
        metadata = {
            "@type": METADATA,
            "createTime": timestamp(),
            "target": full,
            "verb": verb,
            "apiVersion": "v2",
            "operationType": f"{verb.upper()}_FUNCTION",
            "requestResource": {"@type": TYPE, "name": full, **copy.deepcopy(request)},
            "stages": [{"name": "BUILD", "state": "IN_PROGRESS", "message": "Build in progress"}],
        }
        parent = full.rpartition("/functions/")[0]
        return self._state.operations.start(
            parent, "longrunning", verb, full, finish, type=TYPE, metadata=metadata
        )

    def _finish(self, full: str, wanted: Body, caller: str, ordered: ApiError | None) -> Body:
        """Build and serve. What fails leaves the function FAILED, with what was asked for, and its traffic."""
        live = self._state.live(full)
        kept = {key: live["serviceConfig"][key] for key in ("revision", "service", "uri")
                if key in live.get("serviceConfig", {})}  # fmt: skip
        live |= copy.deepcopy(wanted) | {"updateTime": timestamp()}
        live["serviceConfig"] |= kept
        try:
            if ordered is not None:
                raise ordered
            built = self._build(full, wanted)
            self._serve(full, live, built, caller)
        except ApiError as error:
            live["state"] = "FAILED"
            live["stateMessages"] = [
                {"severity": "ERROR", "type": "CloudRunServiceNotFound", "message": error.message}
            ]
            raise
        live["state"] = "ACTIVE"
        live.pop("stateMessages", None)
        return self._state.get(full)

    def _build(self, full: str, wanted: Body) -> Built:
        build = str(uuid.uuid4())
        location, name = full.split("/")[3], full.rpartition("/")[2]
        root = self._state.home / "gcp" / "functions" / name / build
        package = self._uploads[self._path(wanted)]
        config = wanted["buildConfig"]
        if reason := function_code.unpack(package, root, config["runtime"]):
            log = f"https://console.cloud.google.com/cloud-build/builds;region={location}/{build}?project={PROJECT_NUMBER}"
            text = f"Build failed with status: FAILURE and message: {reason}. For more details see the logs at {log}."
            raise ApiError(400, text)
        digest = hashlib.sha256(package + build.encode()).hexdigest()
        image = f"{location}-docker.pkg.dev/{PROJECT}/gcf-artifacts/{name}:version@sha256:{digest}"
        self._built[image] = Built(image, root, config["runtime"], config["entryPoint"])
        return self._built[image]

    def _serve(self, full: str, live: Body, built: Built, caller: str) -> None:
        config = live["serviceConfig"]
        service = full.replace("/functions/", "/services/")
        wanted = service_template(live, built.image)
        there = self._state.resources.get(service)
        config["service"] = service
        if there is None or config.get("allTrafficOnLatestRevision"):
            wanted["traffic"] = [{"type": LATEST, "percent": 100}]
        try:
            config["revision"] = self._run.bring_up(service, wanted, caller)
        except ApiError as error:
            text = f"Could not create or update Cloud Run service {service.rpartition('/')[2]}, Container Healthcheck failed. {error.message}"
            raise ApiError(400, text) from error
        uri = self._state.live(service)["uri"]
        config["uri"] = live["url"] = uri

    def _service(self, full: str) -> str | None:
        service = full.replace("/functions/", "/services/")
        return service if service in self._state.resources else None


def _check_idle(live: Body) -> None:
    if live["state"] in {"DEPLOYING", "DELETING"}:
        text = f"An operation on function {live['name']} is already in progress. Please try again later."
        raise ApiError(409, text, status="ABORTED")
