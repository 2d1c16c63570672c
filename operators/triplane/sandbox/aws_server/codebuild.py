"""CodeBuild that builds: runs the commands of the buildspec on the source from S3, with Docker and the AWS CLI."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from moto.codebuild import responses
from moto.codebuild.exceptions import InvalidInputException, ResourceNotFoundException
from moto.codebuild.models import codebuild_backends
from moto.codebuild.responses import CodeBuildResponse
from moto.core.responses import ActionResult
from moto.logs.models import logs_backends
from moto.s3.models import s3_backends

from triplane.sandbox.aws_server.accounts import ACCOUNT, Tokens
from triplane.sandbox.builds import Build, Builds

TOKEN_SECONDS = 300.0
STATUS = {"running": "IN_PROGRESS", "succeeded": "SUCCEEDED", "failed": "FAILED", "cancelled": "STOPPED"}


class Service:
    """``StartBuild``, ``BatchGetBuilds``, ``ListBuildsForProject`` and ``StopBuild`` over moto's projects."""

    def __init__(self, builds: Builds, tokens: Tokens) -> None:
        self._builds = builds
        self._tokens = tokens
        self._asked: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}
        self._logged: dict[str, int] = {}

    def install(self) -> None:
        """Put it in place of moto's."""
        service = self

        def start_build(self: Any) -> ActionResult:
            return ActionResult({"build": service.start(self.region, json.loads(self.body))})

        def batch_get_builds(self: Any) -> ActionResult:
            found = [service.show(self.region, each) for each in service.all(self.region)]
            wanted = self._get_param("ids")
            known = {build["id"]: build for build in found}
            missing = [name for name in wanted if name not in known]
            builds = [known[name] for name in wanted if name in known]
            return ActionResult({"builds": builds, "buildsNotFound": missing})

        def list_builds_for_project(self: Any) -> ActionResult:
            project = self._get_param("projectName")
            _project(self.region, project)
            found = [each["id"] for each in service.all(self.region) if each["projectName"] == project]
            newest_first = self._get_param("sortOrder") != "ASCENDING"
            return ActionResult({"ids": found[::-1] if newest_first else found})

        def stop_build(self: Any) -> ActionResult:
            return ActionResult({"build": service.stop(self.region, self._get_param("id"))})

        required = responses._validate_required_params_source

        def validate_source(source: dict[str, Any]) -> None:
            """These two have no location in the real API."""
            if source.get("type") not in ("NO_SOURCE", "CODEPIPELINE"):
                required(source)

        responses._validate_required_params_source = validate_source
        for method in (start_build, batch_get_builds, list_builds_for_project, stop_build):
            setattr(CodeBuildResponse, method.__name__, method)

    def all(self, region: str) -> list[dict[str, Any]]:
        """The builds of a region, the oldest first."""
        history = codebuild_backends[ACCOUNT][region].build_metadata_history
        return sorted(
            (each for builds in history.values() for each in builds), key=lambda each: each["order"]
        )

    def start(self, region: str, asked: dict[str, Any], *, from_pipeline: bool = False) -> dict[str, Any]:
        """Start a build, or find the one that the same token started within the last five minutes."""
        project = _project(region, asked["projectName"])
        token = asked.pop("idempotencyToken", "")
        began, found = self._asked.get((region, token), (0.0, {}))
        if token and time.monotonic() - began < TOKEN_SECONDS:
            if found["asked"] != asked:
                raise InvalidInputException("The idempotency token was used with other parameters")
            return self.show(region, found)
        described = _described(project.project_metadata, asked, from_pipeline=from_pipeline)
        metadata: dict[str, Any] = codebuild_backends[ACCOUNT][region].start_build(asked["projectName"])
        metadata |= {**described, "asked": asked, "order": time.monotonic()}
        metadata["logs"] = {
            "groupName": f"/aws/codebuild/{asked['projectName']}",
            "streamName": metadata["id"].rpartition(":")[2],
            "cloudWatchLogs": {"status": "ENABLED"},
        }
        self._asked[region, token] = (time.monotonic(), metadata)
        self._run(region, metadata)
        return self.show(region, metadata)

    def stop(self, region: str, name: str) -> dict[str, Any]:
        """Stop a build."""
        found = next((each for each in self.all(region) if each["id"] == name), None)
        build = self._builds.get(name)
        if found is None or build is None:
            raise ResourceNotFoundException(f"Build {name} does not exist")
        build.cancel()
        return self.show(region, found)

    def show(self, region: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """The build as the API shows it; what it wrote since the last time goes to CloudWatch Logs first."""
        build = self._builds.get(metadata["id"])
        assert build is not None
        state = build.state
        self._write_log(region, metadata, build, last=state != "running")
        metadata["buildStatus"] = STATUS[state]
        metadata["buildComplete"] = state != "running"
        metadata["currentPhase"] = "BUILD" if state == "running" else "COMPLETED"
        if state == "failed":
            context = {
                "statusCode": "COMMAND_EXECUTION_ERROR",
                "message": f"Reason: exit status {build.returncode}",
            }
            metadata["phases"] = [{"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": [context]}]
        return {name: value for name, value in metadata.items() if name not in ("asked", "order")}

    def _run(self, region: str, metadata: dict[str, Any]) -> None:
        environment = metadata["environment"]
        variables = {each["name"]: each["value"] for each in environment["environmentVariables"]}
        if not environment.get("privilegedMode"):
            variables["DOCKER_HOST"] = "none"
        own = {"AWS_REGION": region, "BUILD_ECR_PASSWORD": self._tokens.make()[0]}
        source = metadata["source"]

        def prepare(folder: Path) -> Sequence[str]:
            if source["type"] != "S3":
                return commands(yaml.safe_load(source["buildspec"]))
            bucket, _, key = source["location"].partition("/")
            file = folder.parent / "source.zip"
            file.write_bytes(s3_backends[ACCOUNT]["aws"].get_object(bucket, key).value)
            with zipfile.ZipFile(file) as packed:
                packed.extractall(folder)
            return commands(yaml.safe_load(source["buildspec"]))

        limit = 60.0 * metadata["timeoutInMinutes"]
        self._builds.start(metadata["id"], prepare, env={**variables, **own}, timeout=limit)

    def _write_log(self, region: str, metadata: dict[str, Any], build: Build, *, last: bool) -> None:
        written = self._logged.get(build.id, 0)
        text = build.log[written:]
        if not last:
            text = text[: text.rfind(b"\n") + 1]
        if not text:
            return
        self._logged[build.id] = written + len(text)
        group, stream = metadata["logs"]["groupName"], metadata["logs"]["streamName"]
        backend = logs_backends[ACCOUNT][region]
        if group not in backend.groups:
            backend.create_log_group(group, {})
        if stream not in backend.groups[group].streams:
            backend.create_log_stream(group, stream)
        now = int(time.time() * 1000)
        lines = text.decode(errors="replace").splitlines()
        backend.put_log_events(group, stream, [{"timestamp": now, "message": f"{line}\n"} for line in lines])


def commands(buildspec: dict[str, Any]) -> list[str]:
    """The commands of a buildspec in their order."""
    phases = buildspec["phases"]
    if unknown := set(phases) - {"install", "pre_build", "build", "post_build"}:
        raise ValueError(f"YAML_FILE_ERROR: unknown phases {', '.join(sorted(unknown))}")
    names = ("install", "pre_build", "build", "post_build")
    return [command for name in names for command in phases.get(name, {}).get("commands", ())]


def _project(region: str, name: str) -> Any:
    project = codebuild_backends[ACCOUNT][region].codebuild_projects.get(name)
    if project is None:
        raise ResourceNotFoundException(f"Project cannot be found: {name}")
    return project


def _described(
    project: dict[str, Any], asked: dict[str, Any], *, from_pipeline: bool = False
) -> dict[str, Any]:
    """Source and environment of a build: the project's, with what was asked for over it."""
    environment = {
        **project["environment"],
        "privilegedMode": project["environment"].get("privilegedMode", False),
    }
    environment["environmentVariables"] = [
        *environment.get("environmentVariables", ()),
        *asked.get("environmentVariablesOverride", ()),
    ]
    if "privilegedModeOverride" in asked:
        environment["privilegedMode"] = asked["privilegedModeOverride"]
    source = {
        "type": asked.get("sourceTypeOverride", project["source"]["type"]),
        "location": asked.get("sourceLocationOverride", project["source"].get("location", "")),
        "buildspec": asked.get("buildspecOverride", project["source"].get("buildspec", "")),
    }
    if source["type"] == "CODEPIPELINE" and not from_pipeline:
        raise InvalidInputException("Project type CODEPIPELINE is started by CodePipeline only")
    if source["type"] not in ("S3", "NO_SOURCE", "CODEPIPELINE"):
        raise InvalidInputException("The sandbox's CodeBuild takes its source from S3 only")
    version = asked.get("sourceVersion", "")
    return {
        **({"sourceVersion": version, "resolvedSourceVersion": version} if version else {}),
        "source": source,
        "environment": environment,
        "timeoutInMinutes": asked.get("timeoutInMinutesOverride", 60),
        "phases": [{"phaseType": "SUBMITTED", "phaseStatus": "SUCCEEDED"}],
    }
