"""AWS CodeBuild: a build of a project as a step of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from triplane.images.builders import codebuild as builds
from triplane.pipelines.pipeline import TAIL, Approval, Stage, Standing, State, Wanted, no_approvals

VARIABLE = "TRIPLANE_RUN"
"""The environment variable by which our builds are found again."""
STATES: dict[str, State] = {"IN_PROGRESS": "running", "SUCCEEDED": "succeeded", "STOPPED": "cancelled"}
PHASES = {"SUCCEEDED": "succeeded", "FAILED": "failed", "FAULT": "failed", "TIMED_OUT": "failed"}
SHORTEST, LONGEST = 5, 2160
"""Minutes that a build may be given."""


class CodeBuild:
    """One project. ``clients`` gives boto3's of ``codebuild`` and ``logs``."""

    def __init__(self, clients: Callable[[str], Any], *, project: str) -> None:
        self._clients = clients
        self._client = clients("codebuild")
        self.project = project

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        found = next(builds.marked(self._client, self.project, VARIABLE, wanted.token), None)
        return str(found["id"]) if found else None

    def start(self, wanted: Wanted) -> str:
        variables = [{"name": name, "value": value} for name, value in sorted(wanted.inputs.items())]
        answer = self._client.start_build(
            projectName=self.project,
            idempotencyToken=wanted.token,
            environmentVariablesOverride=[*variables, {"name": VARIABLE, "value": wanted.token}],
            timeoutInMinutesOverride=min(LONGEST, max(SHORTEST, math.ceil(wanted.timeout / 60))),
            **({"sourceVersion": wanted.revision} if wanted.revision else {}),
        )
        return str(answer["build"]["id"])

    def standing(self, run: str) -> Standing:
        found = builds.get(self._client, run)
        state = STATES.get(found["buildStatus"], "failed")
        stages = tuple(
            Stage(
                name=phase["phaseType"],
                state=PHASES.get(phase.get("phaseStatus", ""), "running"),
                reason=" ".join(each.get("message", "") for each in phase.get("contexts", ())).strip(),
            )
            for phase in found.get("phases", ())
            if phase["phaseType"] != "COMPLETED"
        )
        return Standing(
            state=state,
            reason="" if state in ("running", "succeeded") else builds.why(found),
            stages=stages,
            revision=str(found.get("resolvedSourceVersion") or found.get("sourceVersion") or ""),
            results=_artifacts(found),
        )

    def log(self, run: str) -> list[str]:
        return log(self._clients, run)

    def cancel(self, run: str) -> None:
        self._client.stop_build(id=run)

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        raise no_approvals("CodeBuild")

    def link(self, run: str) -> str:
        return builds.console(self._client, run)

    def newest(self) -> str | None:
        ids = self._client.list_builds_for_project(projectName=self.project, sortOrder="DESCENDING")["ids"]
        found = self._client.batch_get_builds(ids=ids[:100])["builds"] if ids else []
        good = {build["id"] for build in found if build["buildStatus"] == "SUCCEEDED"}
        return next((each for each in ids if each in good), None)


def log(clients: Callable[[str], Any], build: str) -> list[str]:
    """The last lines that a build has written, none if its log is not kept in CloudWatch."""
    where = builds.get(clients("codebuild"), build).get("logs", {})
    if not where.get("streamName"):
        return []
    logs = clients("logs")
    try:
        answer = logs.get_log_events(
            logGroupName=where["groupName"],
            logStreamName=where["streamName"],
            startFromHead=False,
            limit=TAIL,
        )
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"].rstrip("\n") for event in answer["events"]][-TAIL:]


def _artifacts(build: Any) -> dict[str, str]:
    location = str(build.get("artifacts", {}).get("location") or "")
    return {"artifacts": location} if location else {}
