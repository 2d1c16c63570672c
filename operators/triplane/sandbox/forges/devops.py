"""Azure DevOps: the pipelines of ``acme/platform``, after https://learn.microsoft.com/rest/api/azure/devops: it refuses what
the real one refuses.

The pipelines ``deploy``, ``fails``, ``hangs``, ``asks`` and ``refused-fails``, whose stage ``deploy`` a check refuses, have the parameters ``environment``, ``image`` and ``triplaneRun``.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from triplane.sandbox.forges.asked import Answer, Asked
from triplane.sandbox.forges.runs import BUILD, COMMIT, DEPLOY, LOG, REFS, Conflict, Run, Runs

PLACE = "/acme/platform/_apis/"
PIPELINES = {"1": "deploy", "2": "fails", "3": "hangs", "4": "asks", "5": "refused-fails"}
PARAMETERS = {"environment", "image", "triplaneRun"}
VERSIONS = ("7.1", "7.0", "6.0")
RESULTS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "canceled", "skipped": "skipped"}
TASK_LOG = 9
Record = dict[str, Any]


class DevOps:
    """The API. ``pat`` is its personal access token; ``audience`` says for whom Entra ID has given a token out, if it has."""

    RESOURCE = "499b84ac-1321-427f-aa17-267ca6975798"

    def __init__(self, pat: str, audience: Callable[[str], str]) -> None:
        self._basic = "Basic " + base64.b64encode(f":{pat}".encode()).decode()
        self._audience = audience
        self._runs = Runs(100)

    def answer(self, asked: Asked) -> Answer:
        if refused := self._check(asked):
            return refused
        path = asked.path.removeprefix(PLACE)
        if path == asked.path:
            return _error(
                404, "ProjectDoesNotExistWithNameException", "TF200016: The project does not exist."
            )
        try:
            return self._route(asked, path.split("/"))
        except Conflict as error:
            return _error(400, "InvalidOperationException", str(error))

    def _check(self, asked: Asked) -> Answer | None:
        """Who does not get in is led to a page to sign in, unless that is suppressed."""
        given = asked.headers.get("Authorization", "")
        scheme, _, token = given.partition(" ")
        if given != self._basic and not (scheme == "Bearer" and self._audience(token) == self.RESOURCE):
            if asked.headers.get("X-TFS-FedAuthRedirect") == "Suppress":
                return Answer(
                    401, "<html>Access Denied: The access token used has expired or is not valid</html>"
                )
            return Answer(302, None, {"Location": "https://spsprodeus1.vssps.visualstudio.com/_signin"})
        if asked.query.get("api-version") not in VERSIONS:
            said = "No api-version was supplied for the request, or it is out of range."
            return _error(400, "VssVersionNotSpecifiedException", said)
        return None

    def _route(self, asked: Asked, parts: list[str]) -> Answer:
        match (asked.method, *parts):
            case ("GET", "pipelines"):
                return _list([{"id": int(number), "name": name} for number, name in PIPELINES.items()])
            case ("POST", "pipelines", number, "runs"):
                return self._start(asked, number)
            case ("PATCH", "pipelines", "approvals"):
                return self._decide(asked)
            case ("GET", "build", "builds"):
                return self._builds(asked)
            case (_, "build", "builds", identity, *rest):
                run = self._runs.get(identity)
                if run is None:
                    said = f"The requested build {identity} could not be found."
                    return _error(404, "BuildNotFoundException", said)
                return self._build(asked, run, rest)
        return _error(404, "PageNotFoundException", "Page not found.")

    def _start(self, asked: Asked, number: str) -> Answer:
        if number not in PIPELINES:
            return _error(404, "PipelineNotFoundException", f"Pipeline {number} not found")
        body = asked.json()
        known = {"previewRun", "resources", "stagesToSkip", "templateParameters", "variables", "yamlOverride"}
        if unknown := set(body) - known:
            return _error(400, "ArgumentException", f"unknown: {', '.join(unknown)}")
        parameters = body.get("templateParameters") or {}
        for name in sorted(set(parameters) - PARAMETERS):
            return _error(
                400, "PipelineValidationException", f"/azure-pipelines.yml: Unexpected parameter '{name}'"
            )
        source = ((body.get("resources") or {}).get("repositories") or {}).get("self") or {}
        ref = source.get("refName", "refs/heads/main")
        name = re.sub(r"^refs/(heads|tags)/", "", ref)
        if name not in REFS:
            said = f"Could not get the latest source version for repository with ref {ref}."
            return _error(400, "InvalidPipelineOperationException", said)
        run = self._runs.start(
            PIPELINES[number], ref, source.get("version") or REFS.get(name, COMMIT), parameters
        )
        return Answer(200, {"id": run.id, "name": f"20260101.{run.id}", "state": "inProgress"})

    def _builds(self, asked: Asked) -> Answer:
        """The oldest first, unless the newest are asked for."""
        name = PIPELINES.get(asked.query.get("definitions", ""), "")
        after = asked.query.get("minTime", "")
        earliest = datetime.fromisoformat(after) if after else datetime.fromtimestamp(0, UTC)
        found = [_shown(run) for run in self._runs.of(name) if run.began >= earliest.timestamp()]
        if result := asked.query.get("resultFilter"):
            found = [build for build in found if build.get("result") == result]
        if asked.query.get("queryOrder") == "finishTimeDescending":
            found.reverse()
        return _list(found[: int(asked.query.get("$top", 1000))])

    def _build(self, asked: Asked, run: Run, rest: list[str]) -> Answer:
        match (asked.method, *rest):
            case ("GET",):
                return Answer(200, _shown(run))
            case ("GET", "timeline"):
                return Answer(200, {"records": _records(run)}) if run.state != "pending" else Answer(204)
            case ("GET", "logs", number) if number == str(TASK_LOG):
                return _list(list(LOG))
            case ("GET", "artifacts"):
                url = f"https://dev.azure.com{PLACE}build/builds/{run.id}/artifacts?artifactName=report"
                return _list([{"id": 1, "name": "report", "resource": {"downloadUrl": f"{url}&$format=zip"}}])
            case ("PATCH",):
                if asked.json() != {"status": "cancelling"}:
                    return _error(
                        400, "ArgumentException", "only the status of a build that runs can be changed"
                    )
                run.cancel()
                return Answer(200, _shown(run))
        return _error(404, "PageNotFoundException", "Page not found.")

    def _decide(self, asked: Asked) -> Answer:
        body = asked.json()
        if not isinstance(body, list) or any(
            set(each) - {"approvalId", "status", "comment"} for each in body
        ):
            return _error(400, "ArgumentException", "Value cannot be null. (Parameter 'updateParameters')")
        for each in body:
            run = next(
                (run for run in self._runs.of("asks") if _id(run, "approval") == each["approvalId"]), None
            )
            if run is None or each["status"] not in ("approved", "rejected"):
                return _error(
                    404, "ApprovalNotFoundException", f"Approval {each['approvalId']} does not exist."
                )
            run.decide(each["status"] == "approved")
        return _list([{"id": each["approvalId"], "status": each["status"]} for each in body])


def _shown(run: Run) -> Record:
    status = "completed" if run.ended else "notStarted" if run.state == "pending" else "inProgress"
    return {
        "id": run.id,
        "status": status,
        **({"result": RESULTS[run.state]} if run.ended else {}),
        "reason": "manual",
        "sourceBranch": run.ref,
        "sourceVersion": run.sha,
        "templateParameters": dict(run.inputs),
        "queueTime": datetime.fromtimestamp(run.began, UTC).isoformat(),
    }


def _records(run: Run) -> list[Record]:
    found: list[Record] = []
    for order, (name, state) in enumerate(zip((BUILD, DEPLOY), run.stages, strict=True), 1):
        stage = _record(run, name, "Stage", state, order)
        job = _record(run, f"{name}-job", "Job", state, 1, stage["id"])
        task = _record(run, f"{name}-task", "Task", state, 1, job["id"])
        if state == "failed":
            task |= {"log": {"id": TASK_LOG}, "issues": [{"type": "error", "message": LOG[-1]}]}
        found += [stage, job, task]
        if name == DEPLOY and "refused" in run.name:
            task |= {"log": None, "issues": []}
            gate = _record(run, "checkpoint", "Checkpoint", state, 1, stage["id"])
            found += [gate, _record(run, "Branch control", "Checkpoint.TaskCheck", state, 1, gate["id"])]
        if name == DEPLOY and "asks" in run.name:
            gate = _record(run, "checkpoint", "Checkpoint", state, 1, stage["id"])
            approval = _record(run, "approval", "Checkpoint.Approval", state, 1, gate["id"])
            if run.approved or run.rejected:
                approval |= {"state": "completed", "result": "succeeded" if run.approved else "failed"}
            found += [gate, approval]
    return found


def _record(run: Run, name: str, kind: str, state: str, order: int, parent: str | None = None) -> Record:
    shown = "completed" if state in RESULTS else "pending" if state == "pending" else "inProgress"
    if kind in ("Stage", "Job", "Task") and state == "waiting":
        shown = "pending"
    own = {"id": _id(run, name), "parentId": parent, "type": kind, "name": name, "order": order}
    return {**own, "state": shown, "result": RESULTS.get(state), "issues": [], "log": None}


def _id(run: Run, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run.id}/{name}"))


def _list(items: list[Any]) -> Answer:
    return Answer(200, {"count": len(items), "value": items})


def _error(status: int, kind: str, message: str) -> Answer:
    return Answer(status, {"$id": "1", "message": message, "typeKey": kind, "errorCode": 0})
