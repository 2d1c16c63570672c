"""CodePipeline that runs: its CodeBuild actions build, its approvals wait, its sources take the revision asked for.

What it does not know to do (deploy actions and the like) succeeds at once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moto.codepipeline.exceptions import (
    InvalidStructureException,
    PipelineExecutionNotFoundException,
    PipelineNotFoundException,
)
from moto.codepipeline.models import codepipeline_backends
from moto.codepipeline.responses import CodePipelineResponse
from moto.core.exceptions import JsonRESTError
from moto.s3.models import s3_backends

from triplane.sandbox.aws_server import codebuild
from triplane.sandbox.aws_server.accounts import ACCOUNT

BUILD_STATES = {"IN_PROGRESS": "InProgress", "SUCCEEDED": "Succeeded"}
REVISION_TYPES = {"S3": ("S3_OBJECT_VERSION_ID", "S3_OBJECT_KEY"), "ECR": ("IMAGE_DIGEST",)}


@dataclass
class Action:
    """One action of an execution. ``token`` answers it, where it is an approval; ``build`` is its build's id."""

    stage: str
    definition: dict[str, Any]
    status: str = ""
    began: float = 0.0
    changed: float = 0.0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str = ""
    build: str = ""
    summary: str = ""
    error: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def kind(self) -> tuple[str, str]:
        """Category and provider."""
        found = self.definition["actionTypeId"]
        return found["category"], found["provider"]

    def set(self, status: str) -> None:
        """Only what changes counts as a change."""
        if status != self.status:
            self.status, self.changed = status, time.time()


@dataclass
class Execution:
    """One execution; ``actions`` are those of all stages, in the order in which they run."""

    id: str
    pipeline: dict[str, Any]
    actions: list[Action]
    revisions: dict[str, str]
    variables: dict[str, str]
    status: str = "InProgress"
    summary: str = ""
    began: float = field(default_factory=time.time)

    def action(self, stage: str, name: str) -> Action | None:
        return next((each for each in self.actions if (each.stage, each.name) == (stage, name)), None)


class Service:
    """The executions of all pipelines, over moto's definitions and the sandbox's CodeBuild."""

    def __init__(self, builds: codebuild.Service) -> None:
        self._builds = builds
        self._all: dict[tuple[str, str], list[Execution]] = {}
        self._tokens: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}

    def install(self) -> None:
        """Put it in place of moto's."""
        service = self
        methods: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "start_pipeline_execution": service.start,
            "get_pipeline_execution": service.get,
            "list_pipeline_executions": service.list,
            "list_action_executions": service.actions,
            "get_pipeline_state": service.state,
            "stop_pipeline_execution": service.stop,
            "put_approval_result": service.answer,
        }

        def wrapped(method: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Callable[[Any], str]:
            return lambda response: json.dumps(method(response.region, json.loads(response.body)))

        for name, method in methods.items():
            setattr(CodePipelineResponse, name, wrapped(method))

    def start(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Start one, or find the one that the same token started."""
        pipeline = _pipeline(region, asked["name"])
        token = asked.get("clientRequestToken", "")
        before, found = self._tokens.get((region, token), ({}, ""))
        if token and found:
            if before != asked:
                raise Refused("ConflictException", "The token was used with other parameters")
            return {"pipelineExecutionId": found}
        actions = [
            Action(stage["name"], action)
            for stage in pipeline["stages"]
            for action in sorted(stage["actions"], key=lambda each: each["runOrder"])
        ]
        revisions = _revisions(actions, asked.get("sourceRevisions") or ())
        variables = _variables(pipeline, asked.get("variables") or ())
        execution = Execution(str(uuid.uuid4()), pipeline, actions, revisions, variables)
        self._all.setdefault((region, asked["name"]), []).append(execution)
        self._tokens[region, token] = (asked, execution.id)
        return {"pipelineExecutionId": execution.id}

    def get(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        execution = self._find(region, asked)
        sources = [each for each in execution.actions if each.kind[0] == "Source" and each.status]
        return {
            "pipelineExecution": {
                "pipelineName": asked["pipelineName"],
                "pipelineVersion": execution.pipeline["version"],
                "pipelineExecutionId": execution.id,
                "status": execution.status,
                "statusSummary": execution.summary,
                "artifactRevisions": [
                    {"name": each.name, "revisionId": _revision(execution, each)} for each in sources
                ],
                "variables": [{"name": n, "resolvedValue": v} for n, v in execution.variables.items()],
                "trigger": {"triggerType": "StartPipelineExecution", "triggerDetail": ""},
                "executionMode": "SUPERSEDED",
            }
        }

    def list(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        _pipeline(region, asked["pipelineName"])
        found = self._all.get((region, asked["pipelineName"]), [])[::-1]
        shown = [
            {
                "pipelineExecutionId": each.id,
                "status": self._settled(region, each).status,
                "startTime": each.began,
            }
            for each in found
        ]
        return {"pipelineExecutionSummaries": shown[: asked.get("maxResults", 100)]}

    def actions(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The newest first."""
        wanted = (asked.get("filter") or {}).get("pipelineExecutionId")
        if not wanted:
            raise Refused("ValidationException", "the sandbox lists the actions of one execution only")
        execution = self._find(region, {**asked, "pipelineExecutionId": wanted})
        begun = [each for each in execution.actions if each.status]
        return {"actionExecutionDetails": [self._detail(execution, each) for each in begun[::-1]]}

    def state(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The stages with their latest executions; an approval's token is shown here alone."""
        pipeline = _pipeline(region, asked["name"])
        stages = []
        for stage in pipeline["stages"]:
            executions = [self._settled(region, each) for each in self._all.get((region, asked["name"]), [])]
            ours = [
                each
                for each in executions
                if any(a.stage == stage["name"] and a.status for a in each.actions)
            ]
            shown: dict[str, Any] = {"stageName": stage["name"], "actionStates": []}
            if ours:
                latest = ours[-1]
                actions = [each for each in latest.actions if each.stage == stage["name"]]
                shown["latestExecution"] = {
                    "pipelineExecutionId": latest.id,
                    "status": _stage_status(actions),
                }
                shown["actionStates"] = [_action_state(each) for each in actions]
            stages.append(shown)
        return {"pipelineName": asked["name"], "pipelineVersion": pipeline["version"], "stageStates": stages}

    def stop(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        execution = self._find(region, asked)
        if execution.status == "Stopping":
            raise Refused("DuplicatedStopRequestException", "The execution is being stopped already")
        if execution.status != "InProgress":
            raise Refused(
                "PipelineExecutionNotStoppableException", f"Unable to stop: it is in state {execution.status}"
            )
        execution.summary = asked.get("reason", "")
        execution.status = "Stopping"
        if asked.get("abandon"):
            for action in execution.actions:
                if action.status == "InProgress":
                    action.set("Abandoned")
        self._settled(region, execution)
        return {"pipelineExecutionId": execution.id}

    def answer(self, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        _pipeline(region, asked["pipelineName"])
        for execution in self._all.get((region, asked["pipelineName"]), []):
            action = execution.action(asked["stageName"], asked["actionName"])
            if action is None or action.token != asked["token"]:
                continue
            if action.status != "InProgress":
                raise Refused("ApprovalAlreadyCompletedException", "The approval has a result already")
            approved = asked["result"]["status"] == "Approved"
            action.summary = asked["result"]["summary"]
            if not approved:
                action.error = {"code": "Rejected", "message": f"Rejected: {action.summary}"}
            action.set("Succeeded" if approved else "Failed")
            return {"approvedAt": time.time()}
        raise Refused("InvalidApprovalTokenException", "The approval token is not valid")

    def _find(self, region: str, asked: dict[str, Any]) -> Execution:
        _pipeline(region, asked["pipelineName"])
        found = self._all.get((region, asked["pipelineName"]), [])
        for execution in found:
            if execution.id == asked["pipelineExecutionId"]:
                return self._settled(region, execution)
        raise PipelineExecutionNotFoundException(f"there is no execution {asked['pipelineExecutionId']}")

    def _settled(self, region: str, execution: Execution) -> Execution:
        """Go on as far as it can go now."""
        for action in execution.actions:
            if action.status == "InProgress":
                self._look(region, action)
            if not action.status and execution.status == "InProgress":
                self._begin(region, execution, action)
            if action.status in ("Failed", "Abandoned"):
                if execution.status == "InProgress":
                    execution.status = "Failed"
                break
            if action.status != "Succeeded":
                break
        else:
            if execution.status == "InProgress":
                execution.status = "Succeeded"
        if execution.status == "Stopping" and not any(a.status == "InProgress" for a in execution.actions):
            execution.status = "Stopped"
        return execution

    def _begin(self, region: str, execution: Execution, action: Action) -> None:
        action.began = time.time()
        action.set("InProgress")
        category, provider = action.kind
        if category == "Approval":
            action.token = str(uuid.uuid4())
        elif provider == "CodeBuild":
            self._build(region, execution, action)
        else:
            action.set("Succeeded")

    def _build(self, region: str, execution: Execution, action: Action) -> None:
        settings = action.definition["configuration"]
        variables = json.loads(settings.get("EnvironmentVariables") or "[]")
        for variable in variables:
            for name, value in execution.variables.items():
                variable["value"] = variable["value"].replace(f"#{{variables.{name}}}", value)
        source = next((each for each in execution.actions if each.kind[0] == "Source"), None)
        if source is not None:
            resolved = {"name": "CODEBUILD_RESOLVED_SOURCE_VERSION", "value": _revision(execution, source)}
            variables.append({**resolved, "type": "PLAINTEXT"})
        try:
            asked = {"projectName": settings["ProjectName"], "environmentVariablesOverride": variables}
            action.build = self._builds.start(region, asked, from_pipeline=True)["id"]
        except JsonRESTError as error:
            action.error = {"code": "JobFailed", "message": str(error.message)}
            action.set("Failed")

    def _look(self, region: str, action: Action) -> None:
        if not action.build:
            return
        found = next(each for each in self._builds.all(region) if each["id"] == action.build)
        status = self._builds.show(region, found)["buildStatus"]
        action.set(BUILD_STATES.get(status, "Failed"))
        if action.status == "Failed":
            action.error = {"code": "JobFailed", "message": f"Build terminated with state: {status}"}

    def _detail(self, execution: Execution, action: Action) -> dict[str, Any]:
        result: dict[str, Any] = {"errorDetails": action.error} if action.error else {}
        if action.build:
            result |= {
                "externalExecutionId": action.build,
                "externalExecutionUrl": f"https://console/{action.build}",
            }
        if action.summary:
            result["externalExecutionSummary"] = action.summary
        return {
            "pipelineExecutionId": execution.id,
            "actionExecutionId": action.id,
            "pipelineVersion": execution.pipeline["version"],
            "stageName": action.stage,
            "actionName": action.name,
            "startTime": action.began,
            "lastUpdateTime": action.changed,
            "status": action.status,
            "input": {
                "actionTypeId": action.definition["actionTypeId"],
                "configuration": action.definition["configuration"],
            },
            "output": {"outputArtifacts": [], "executionResult": result},
        }


class Refused(JsonRESTError):
    """One of the service's own errors."""

    code = 400


def _pipeline(region: str, name: str) -> dict[str, Any]:
    found = codepipeline_backends[ACCOUNT][region].pipelines.get(name)
    if found is None:
        raise PipelineNotFoundException(f"Account '{ACCOUNT}' does not have a pipeline with name '{name}'")
    pipeline: dict[str, Any] = found.pipeline
    return pipeline


def _revisions(actions: list[Action], overrides: Any) -> dict[str, str]:
    sources = {each.name: each.kind[1] for each in actions if each.kind[0] == "Source"}
    for each in overrides:
        name, kind = each["actionName"], each["revisionType"]
        if name not in sources:
            raise Refused("ValidationException", f"Source action {name} does not exist in the pipeline")
        if kind not in REVISION_TYPES.get(sources[name], ("COMMIT_ID",)):
            raise Refused("ValidationException", f"{kind} is not a revision type of {sources[name]}")
    return {each["actionName"]: each["revisionValue"] for each in overrides}


def _variables(pipeline: dict[str, Any], given: Any) -> dict[str, str]:
    declared = {each["name"]: each.get("defaultValue", "") for each in pipeline.get("variables") or ()}
    values = {each["name"]: each["value"] for each in given}
    if values and pipeline.get("pipelineType") != "V2":
        raise InvalidStructureException("Pipeline variables are supported by pipelines of type V2 only")
    if unknown := set(values) - set(declared):
        raise Refused("ValidationException", f"The pipeline does not have the variables {', '.join(unknown)}")
    return {**declared, **values}


def _revision(execution: Execution, source: Action) -> str:
    """What was asked for, else what the bucket holds, else a commit that belongs to the pipeline."""
    if source.name in execution.revisions:
        return execution.revisions[source.name]
    settings = source.definition["configuration"]
    if source.kind[1] == "S3":
        try:
            found = s3_backends[ACCOUNT]["aws"].get_object(settings["S3Bucket"], settings["S3ObjectKey"])
        except JsonRESTError:
            return ""
        return str(found.version_id or found.etag) if found else ""
    return uuid.uuid5(uuid.NAMESPACE_URL, execution.pipeline["name"]).hex + "0" * 8


def _stage_status(actions: list[Action]) -> str:
    states = [each.status for each in actions]
    for state in ("Failed", "InProgress"):
        if state in states:
            return state
    return "Stopped" if "Abandoned" in states else "Succeeded" if all(states) else "InProgress"


def _action_state(action: Action) -> dict[str, Any]:
    if not action.status:
        return {"actionName": action.name}
    latest: dict[str, Any] = {
        "actionExecutionId": action.id,
        "status": action.status,
        "lastStatusChange": action.changed,
    }
    if action.token and action.status == "InProgress":
        latest["token"] = action.token
    if action.error:
        latest["errorDetails"] = action.error
    return {"actionName": action.name, "latestExecution": latest}
