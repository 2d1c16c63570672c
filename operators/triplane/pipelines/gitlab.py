"""GitLab: pipelines of a project, their jobs, and the manual jobs that hold them up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from triplane.core.errors import InputError
from triplane.forge.rest import Client, NotThere
from triplane.pipelines.pipeline import Approval, Stage, Standing, State, Wanted, failed_first, tail

API = "https://gitlab.com/api/v4"
VARIABLE = "TRIPLANE_RUN"
"""The variable by which our pipelines are found again."""
STATES: dict[str, State] = {
    "success": "succeeded",
    "skipped": "succeeded",
    "canceled": "cancelled",
    "failed": "failed",
}
JOBS = {**STATES, "skipped": "skipped", "manual": "waiting", "created": "pending"}
WORST = ("failed", "cancelled", "waiting", "running", "pending", "succeeded", "skipped")
CLOCKS_DIFFER = timedelta(seconds=5)


class GitLabPipelines:
    """One project, by its path or number. Inputs are variables. ``ref`` is a branch or tag, which has to be at the revision
    that is asked for.
    """

    def __init__(self, client: Client, *, project: str, ref: str, url: str = API) -> None:
        self._client = client
        self.project = project
        self.ref = ref
        self._base = f"/projects/{quote(project, safe='')}"
        self._url = url

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        """By the token among its variables."""
        after = quote((since - CLOCKS_DIFFER).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        query = f"ref={quote(self.ref, safe='')}&source=api&updated_after={after}&per_page=100"
        for pipeline in self._client.pages(f"{self._base}/pipelines?{query}"):
            variables = self._client.call("GET", f"{self._base}/pipelines/{pipeline['id']}/variables")
            if any((each["key"], each["value"]) == (VARIABLE, wanted.token) for each in variables):
                return str(pipeline["id"])
        return None

    def start(self, wanted: Wanted) -> str:
        if wanted.revision:
            self._check(wanted.revision)
        values = {**wanted.inputs, VARIABLE: wanted.token}
        variables = [{"key": key, "value": value} for key, value in sorted(values.items())]
        body = {"ref": self.ref, "variables": variables}
        return str(self._client.call("POST", f"{self._base}/pipeline", body)["id"])

    def standing(self, run: str) -> Standing:
        try:
            found = self._client.call("GET", f"{self._base}/pipelines/{run}")
        except NotThere as error:
            raise InputError(f"{self.project} has no pipeline {run} any more") from error
        jobs = self._jobs(run)
        state = STATES.get(found["status"], "running")
        stages = tuple(_stages(jobs))
        return Standing(
            state=state,
            reason=""
            if state in ("running", "succeeded")
            else " ".join([found["status"], *failed_first(stages)]),
            stages=stages,
            waits=tuple(_waits(jobs)) if found["status"] == "manual" else (),
            revision=str(found.get("sha") or ""),
            results={
                job["name"]: f"{job['web_url']}/artifacts/download"
                for job in jobs
                if job.get("artifacts_file")
            },
        )

    def log(self, run: str) -> list[str]:
        failed = [
            job for job in self._jobs(run) if job["status"] == "failed" and not job.get("allow_failure")
        ]
        if not failed:
            return []
        return tail(self._client.text(f"{self._base}/jobs/{failed[-1]['id']}/trace"))

    def cancel(self, run: str) -> None:
        self._client.call("POST", f"{self._base}/pipelines/{run}/cancel")

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        """Play the manual job, or cancel the pipeline: GitLab keeps no comment, and a job cannot be refused."""
        if approved:
            self._client.call("POST", f"{self._base}/jobs/{approval.id}/play")
        else:
            self.cancel(run)

    def link(self, run: str) -> str:
        return f"{self._url.removesuffix('/api/v4')}/{self.project}/-/pipelines/{run}"

    def newest(self) -> str | None:
        query = f"status=success&ref={quote(self.ref, safe='')}&order_by=id&sort=desc&per_page=1"
        found = self._client.call("GET", f"{self._base}/pipelines?{query}")
        return str(found[0]["id"]) if found else None

    def _check(self, revision: str) -> None:
        there = self._client.call("GET", f"{self._base}/repository/commits/{quote(self.ref, safe='')}")["id"]
        if there != revision:
            raise InputError(
                f"{self.project}: {self.ref} is at {there}, not at {revision}; GitLab runs pipelines at a branch or tag: "
                "name one that is there with `ref`"
            )

    def _jobs(self, run: str) -> list[Mapping[str, Any]]:
        """The oldest first."""
        jobs = self._client.pages(f"{self._base}/pipelines/{run}/jobs?per_page=100")
        return sorted(jobs, key=lambda job: job["id"])


def _stages(jobs: list[Mapping[str, Any]]) -> Iterator[Stage]:
    for name in dict.fromkeys(job["stage"] for job in jobs):
        ones = [job for job in jobs if job["stage"] == name]
        failed = [job for job in ones if job["status"] == "failed" and not job.get("allow_failure")]
        states = [JOBS.get(job["status"], "running") for job in ones if job["status"] != "failed"]
        state = "failed" if failed else min(states, key=WORST.index, default="succeeded")
        said = "; ".join(f"{job['name']} {job.get('failure_reason') or ''}".strip() for job in failed)
        yield Stage(name=name, state=state, reason=said)


def _waits(jobs: list[Mapping[str, Any]]) -> Iterator[Approval]:
    for job in jobs:
        if job["status"] == "manual" and not job.get("allow_failure"):
            yield Approval(name=job["name"], id=str(job["id"]))
