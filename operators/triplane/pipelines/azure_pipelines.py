"""Azure Pipelines over the REST API of Azure DevOps: runs, stages, approvals and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from triplane.core.errors import InputError
from triplane.forge.rest import Client, NotThere, Rejected
from triplane.pipelines.pipeline import TAIL, Approval, Stage, Standing, State, Wanted, failed_first, only

API = "https://dev.azure.com"
RESOURCE = "499b84ac-1321-427f-aa17-267ca6975798"
"""Azure DevOps, as Entra ID knows it."""
VERSION = "7.1"
RESULTS: dict[str, State] = {
    "succeeded": "succeeded",
    "partiallySucceeded": "succeeded",
    "canceled": "cancelled",
}
RECORDS = {
    "succeeded": "succeeded",
    "succeededWithIssues": "succeeded",
    "skipped": "skipped",
    "canceled": "cancelled",
    "abandoned": "cancelled",
    "failed": "failed",
}
CLOCKS_DIFFER = timedelta(seconds=5)


class AzurePipelines:
    """One pipeline, by its name or number. Inputs are the parameters of its YAML.

    ``ref`` is the branch or tag to run, by default the pipeline's own. ``token_parameter`` names a parameter of the YAML
    that takes our token: with it a run is found again beyond doubt.
    """

    def __init__(
        self,
        client: Client,
        *,
        organization: str,
        project: str,
        pipeline: str,
        ref: str = "",
        token_parameter: str = "",
        url: str = API,
    ) -> None:
        self._client = client
        self.pipeline = pipeline
        self.ref = ref if not ref or ref.startswith("refs/") else f"refs/heads/{ref}"
        self.token_parameter = token_parameter
        self._base = f"/{quote(organization)}/{quote(project)}"
        self._url = url
        self._id = pipeline if pipeline.isdigit() else ""

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        """By the token, else the one that was queued since then with the same parameters for the same source."""
        asked = {
            "definitions": self._number(),
            "reasonFilter": "manual",
            "queryOrder": "queueTimeAscending",
            "minTime": (since - CLOCKS_DIFFER).isoformat(),
        }
        parameters = self._parameters(wanted)
        found = [
            str(build["id"])
            for build in self._call("GET", "build/builds", **asked)["value"]
            if (build.get("templateParameters") or {}) == parameters
            and wanted.revision in ("", build.get("sourceVersion"))
            and self.ref in ("", build.get("sourceBranch"))
        ]
        return only(found, f"pipeline {self.pipeline}")

    def start(self, wanted: Wanted) -> str:
        source = {
            **({"refName": self.ref} if self.ref else {}),
            **({"version": wanted.revision} if wanted.revision else {}),
        }
        body: dict[str, Any] = {"templateParameters": self._parameters(wanted)}
        if source:
            body["resources"] = {"repositories": {"self": source}}
        return str(self._call("POST", f"pipelines/{self._number()}/runs", body)["id"])

    def standing(self, run: str) -> Standing:
        try:
            build = self._call("GET", f"build/builds/{run}")
        except NotThere as error:
            raise InputError(f"pipeline {self.pipeline} has no run {run} any more") from error
        records = self._records(run)
        ended = build["status"] == "completed"
        state = RESULTS.get(build.get("result", ""), "failed") if ended else "running"
        stages = tuple(_stages(records))
        return Standing(
            state=state,
            reason=""
            if state in ("running", "succeeded")
            else " ".join([build["result"], *failed_first(stages)]),
            stages=stages,
            waits=() if ended else tuple(_waits(records)),
            revision=str(build.get("sourceVersion") or ""),
            results=self._artifacts(run) if ended else {},
        )

    def log(self, run: str) -> list[str]:
        failed = [
            record
            for record in self._records(run)
            if record["type"] == "Task" and record.get("result") == "failed" and record.get("log")
        ]
        if not failed:
            return []
        lines = self._call("GET", f"build/builds/{run}/logs/{failed[-1]['log']['id']}")["value"]
        return [str(line) for line in lines[-TAIL:]]

    def cancel(self, run: str) -> None:
        try:
            self._call("PATCH", f"build/builds/{run}", {"status": "cancelling"})
        except Rejected:
            if self.standing(run).state == "running":
                raise

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        status = "approved" if approved else "rejected"
        body = [{"approvalId": approval.id, "status": status, "comment": comment}]
        self._call("PATCH", "pipelines/approvals", body)

    def link(self, run: str) -> str:
        return f"{self._url}{self._base}/_build/results?buildId={run}"

    def newest(self) -> str | None:
        asked = {"resultFilter": "succeeded", "queryOrder": "finishTimeDescending", "$top": "1"}
        found = self._call("GET", "build/builds", definitions=self._number(), **asked)["value"]
        return str(found[0]["id"]) if found else None

    def _call(self, verb: str, path: str, body: Any = None, **query: str) -> Any:
        asked = urlencode({**query, "api-version": VERSION})
        return self._client.call(verb, f"{self._base}/_apis/{path}?{asked}", body)

    def _number(self) -> str:
        if not self._id:
            named = [
                str(each["id"])
                for each in self._call("GET", "pipelines")["value"]
                if each["name"] == self.pipeline
            ]
            if len(named) != 1:
                raise InputError(
                    f"there are {len(named)} pipelines called {self.pipeline}: correct `pipeline`, or give its number"
                )
            self._id = named[0]
        return self._id

    def _parameters(self, wanted: Wanted) -> dict[str, str]:
        own = {self.token_parameter: wanted.token} if self.token_parameter else {}
        return {**wanted.inputs, **own}

    def _records(self, run: str) -> list[Mapping[str, Any]]:
        """The timeline; there is none before the run has begun."""
        try:
            found = self._call("GET", f"build/builds/{run}/timeline") or {}
        except NotThere:
            return []
        return sorted(found.get("records", ()), key=lambda record: record.get("order") or 0)

    def _artifacts(self, run: str) -> dict[str, str]:
        found = self._call("GET", f"build/builds/{run}/artifacts")["value"]
        return {each["name"]: each.get("resource", {}).get("downloadUrl", "") for each in found}


def _stages(records: list[Mapping[str, Any]]) -> Iterator[Stage]:
    parents = {record["id"]: record for record in records}
    for stage in records:
        if stage["type"] != "Stage":
            continue
        inside = [record for record in records if _above(record, parents) == stage["id"]]
        checked = [record for record in inside if record["type"].startswith("Checkpoint.")]
        held = [record["name"] for record in checked if record["state"] == "inProgress"]
        state = RECORDS.get(stage.get("result") or "", "running")
        if state == "running" and stage["state"] == "pending":
            state = "waiting" if held else "pending"
        said = [f"check {record['name']} failed" for record in checked if record.get("result") == "failed"]
        said += [
            issue.get("message", "")
            for record in inside
            if record["type"] in ("Task", "Job")
            for issue in record.get("issues") or ()
            if issue.get("type") == "error"
        ]
        waits = [f"for {name}" for name in held] if state == "waiting" else []
        yield Stage(name=stage["name"], state=state, reason=" ".join(dict.fromkeys([*waits, *said])))


def _waits(records: list[Mapping[str, Any]]) -> Iterator[Approval]:
    """An approval has the id of its record; it is named after the stage that it holds up."""
    parents = {record["id"]: record for record in records}
    for record in records:
        if record["type"] == "Checkpoint.Approval" and record["state"] == "inProgress":
            stage = parents.get(_above(record, parents), {})
            yield Approval(name=str(stage.get("name") or record.get("name")), id=record["id"])


def _above(record: Mapping[str, Any], parents: Mapping[str, Mapping[str, Any]]) -> str:
    """The id of the stage that a record belongs to."""
    current: Mapping[str, Any] | None = record
    while current is not None and current["type"] != "Stage":
        current = parents.get(current.get("parentId") or "")
    return "" if current is None else str(current["id"])
