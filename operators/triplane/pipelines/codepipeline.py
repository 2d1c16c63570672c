"""AWS CodePipeline: executions, their stages, and the approvals that they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from triplane.core.errors import InputError
from triplane.pipelines import codebuild
from triplane.pipelines.pipeline import TAIL, Approval, Stage, Standing, State, Wanted

STATES: dict[str, State] = {
    "InProgress": "running",
    "Stopping": "running",
    "Succeeded": "succeeded",
    "Stopped": "cancelled",
    "Cancelled": "cancelled",
}
ACTIONS = {"InProgress": "running", "Succeeded": "succeeded", "Abandoned": "cancelled", "Failed": "failed"}
REVISIONS = {"S3": "S3_OBJECT_VERSION_ID", "ECR": "IMAGE_DIGEST"}
"""A source's provider -> what its revisions are; all others have commits."""
SEPARATOR = "/"


class CodePipeline:
    """One pipeline. ``clients`` gives boto3's of ``codepipeline``, ``codebuild`` and ``logs``.

    ``source`` is the action that a revision is for, needed where the pipeline has several sources.
    """

    def __init__(self, clients: Callable[[str], Any], *, pipeline: str, source: str = "") -> None:
        self._clients = clients
        self._client = clients("codepipeline")
        self.name = pipeline
        self.source = source

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        """None: the token makes sure that starting again gives the same execution."""
        return None

    def start(self, wanted: Wanted) -> str:
        asked: dict[str, Any] = {"name": self.name, "clientRequestToken": wanted.token}
        if wanted.inputs:
            asked["variables"] = [
                {"name": name, "value": value} for name, value in sorted(wanted.inputs.items())
            ]
        if wanted.revision:
            asked["sourceRevisions"] = [{**self._source(), "revisionValue": wanted.revision}]
        return str(self._client.start_pipeline_execution(**asked)["pipelineExecutionId"])

    def standing(self, run: str) -> Standing:
        asked = {"pipelineName": self.name, "pipelineExecutionId": run}
        try:
            found = self._client.get_pipeline_execution(**asked)["pipelineExecution"]
        except self._client.exceptions.PipelineExecutionNotFoundException as error:
            raise InputError(f"pipeline {self.name} has no execution {run} any more") from error
        actions = self._actions(run)
        state = STATES.get(found["status"], "failed")
        revisions = found.get("artifactRevisions", ())
        ours = [each for each in revisions if not self.source or each.get("name") == self.source]
        return Standing(
            state=state,
            reason=_reason(found, actions) if state in ("failed", "cancelled") else "",
            stages=tuple(_stages(actions)),
            waits=tuple(self._waits(run, actions)) if state == "running" else (),
            revision=str((ours or revisions or [{}])[0].get("revisionId", "")),
            results={
                f"{action['stageName']}/{action['actionName']}": url
                for action in actions
                if (url := _result(action).get("externalExecutionUrl"))
            },
        )

    def log(self, run: str) -> list[str]:
        for action in reversed(self._actions(run)):
            if action["status"] != "Failed":
                continue
            if build := _build(action):
                return codebuild.log(self._clients, build)
            return _why(action).splitlines()[-TAIL:]
        return []

    def cancel(self, run: str) -> None:
        """Stop at once. A build that CodePipeline would leave to itself is stopped too."""
        builds = [
            build
            for action in self._actions(run)
            if action["status"] == "InProgress" and (build := _build(action))
        ]
        refused = (
            self._client.exceptions.DuplicatedStopRequestException,
            self._client.exceptions.PipelineExecutionNotStoppableException,
        )
        try:
            self._client.stop_pipeline_execution(
                pipelineName=self.name,
                pipelineExecutionId=run,
                abandon=True,
                reason="cancelled by Triplane: its task was stopped or ran out of time",
            )
        except refused:
            pass  # it has ended, or is about to
        for build in builds:
            self._clients("codebuild").stop_build(id=build)

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        stage, _, action = approval.name.partition(SEPARATOR)
        self._client.put_approval_result(
            pipelineName=self.name,
            stageName=stage,
            actionName=action,
            result={"summary": comment[:512], "status": "Approved" if approved else "Rejected"},
            token=approval.id,
        )

    def link(self, run: str) -> str:
        region = self._client.meta.region_name
        return (
            f"https://{region}.console.aws.amazon.com/codesuite/codepipeline/pipelines/{self.name}"
            f"/executions/{run}/visualization?region={region}"
        )

    def newest(self) -> str | None:
        listed = self._client.list_pipeline_executions(pipelineName=self.name, maxResults=100)
        runs = listed["pipelineExecutionSummaries"]
        return next((run["pipelineExecutionId"] for run in runs if run["status"] == "Succeeded"), None)

    def _source(self) -> dict[str, str]:
        """The source action to override, and what its revisions are."""
        stages = self._client.get_pipeline(name=self.name)["pipeline"]["stages"]
        sources = {
            action["name"]: action["actionTypeId"]["provider"]
            for stage in stages
            for action in stage["actions"]
            if action["actionTypeId"]["category"] == "Source"
        }
        if self.source and self.source not in sources:
            raise InputError(f"pipeline {self.name} has no source {self.source}; it has {', '.join(sources)}")
        if not self.source and len(sources) != 1:
            raise InputError(
                f"pipeline {self.name} has several sources ({', '.join(sources)}): name the one that the revision is for "
                "with `source`"
            )
        name = self.source or next(iter(sources))
        return {"actionName": name, "revisionType": REVISIONS.get(sources[name], "COMMIT_ID")}

    def _actions(self, run: str) -> list[Mapping[str, Any]]:
        """What the execution has done so far, the first first."""
        pages = self._client.get_paginator("list_action_executions").paginate(
            pipelineName=self.name, filter={"pipelineExecutionId": run}
        )
        found = [action for page in pages for action in page["actionExecutionDetails"]]
        return sorted(found, key=lambda action: action["startTime"])

    def _waits(self, run: str, actions: list[Mapping[str, Any]]) -> Iterator[Approval]:
        """The approvals that are open; only the pipeline's state has the token that answers one."""
        open_ones = {
            (action["stageName"], action["actionName"])
            for action in actions
            if action["status"] == "InProgress" and _category(action) == "Approval"
        }
        if not open_ones:
            return
        for stage in self._client.get_pipeline_state(name=self.name)["stageStates"]:
            if stage.get("latestExecution", {}).get("pipelineExecutionId") != run:
                continue
            for action in stage.get("actionStates", ()):
                token = action.get("latestExecution", {}).get("token")
                if token and (stage["stageName"], action["actionName"]) in open_ones:
                    yield Approval(name=f"{stage['stageName']}{SEPARATOR}{action['actionName']}", id=token)


def _stages(actions: list[Mapping[str, Any]]) -> Iterator[Stage]:
    """Each stage with the state of its worst action: of each action the last execution counts."""
    latest = {(action["stageName"], action["actionName"]): action for action in actions}
    order = ("failed", "cancelled", "running", "succeeded")
    for name in dict.fromkeys(stage for stage, _ in latest):
        ones = [action for (stage, _), action in latest.items() if stage == name]
        worst = min(ones, key=lambda action: order.index(ACTIONS.get(action["status"], "running")))
        state = ACTIONS.get(worst["status"], "running")
        yield Stage(name=name, state=state, reason=_why(worst) if state == "failed" else "")


def _reason(found: Mapping[str, Any], actions: list[Mapping[str, Any]]) -> str:
    said = [f"{a['stageName']}/{a['actionName']}: {_why(a)}" for a in actions if a["status"] == "Failed"]
    return " ".join([found["status"], *said[-1:], found.get("statusSummary") or ""]).strip()


def _result(action: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = action.get("output", {}).get("executionResult", {})
    return found


def _why(action: Mapping[str, Any]) -> str:
    result = _result(action)
    error = result.get("errorDetails", {})
    said = (result.get("externalExecutionSummary"), error.get("message"), error.get("code"))
    return str(next((each for each in said if each), action["status"]))


def _category(action: Mapping[str, Any]) -> str:
    return str(action.get("input", {}).get("actionTypeId", {}).get("category", ""))


def _build(action: Mapping[str, Any]) -> str:
    """The CodeBuild build of an action, empty if it is of another kind."""
    provider = action.get("input", {}).get("actionTypeId", {}).get("provider")
    return str(_result(action).get("externalExecutionId") or "") if provider == "CodeBuild" else ""
