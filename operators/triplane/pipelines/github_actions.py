"""GitHub Actions: a workflow started by ``workflow_dispatch``, its run found beyond doubt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from triplane.core.errors import InputError, TransientError
from triplane.forge.rest import Client, NotThere, Rejected
from triplane.pipelines.pipeline import Approval, Stage, Standing, State, Wanted, failed_first, only, tail

API = "https://api.github.com"
STATES: dict[str, State] = {
    "success": "succeeded",
    "neutral": "succeeded",
    "skipped": "succeeded",
    "cancelled": "cancelled",
}
JOBS = {"success": "succeeded", "neutral": "succeeded", "skipped": "skipped", "cancelled": "cancelled"}
CLOCKS_DIFFER = timedelta(seconds=5)
SHOWN_AFTER = timedelta(seconds=60)
"""A run may show only so long after it was asked for."""
LOOK_SECONDS = 5.0


class GitHubActions:
    """One workflow of a repository (``owner/name``), by its file's name or its number.

    ``ref`` is a branch or tag. A revision (a commit) goes to the input ``revision_input``; without one, ``ref`` has to be
    at that commit. ``token_input`` names an input that takes our token and that the workflow shows in its ``run-name``:
    with it, a run is found again beyond doubt.
    """

    def __init__(
        self,
        client: Client,
        *,
        repository: str,
        workflow: str,
        ref: str,
        revision_input: str = "",
        token_input: str = "",
        url: str = API,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self.repository = repository
        self.workflow = workflow
        self.ref = ref
        self.revision_input = revision_input
        self.token_input = token_input
        self._base = f"/repos/{repository}"
        self._actions = f"{self._base}/actions"
        self._url = url
        self._sleep = sleep

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        """By the token in its title. Without one, anything that was started since then may be it."""
        while (found := self._look(wanted, since)) is None and datetime.now(UTC) - since < SHOWN_AFTER:
            self._sleep(LOOK_SECONDS)
        return found

    def _look(self, wanted: Wanted, since: datetime) -> str | None:
        branch = self.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
        created = (since - CLOCKS_DIFFER).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = f"event=workflow_dispatch&branch={quote(branch)}&created=%3E%3D{quote(created)}&per_page=100"
        listed = self._client.call("GET", f"{self._actions}/workflows/{self.workflow}/runs?{query}")
        runs = listed["workflow_runs"]
        if self.token_input:
            runs = [run for run in runs if wanted.token in str(run.get("display_title"))]
        return only(
            [str(run["id"]) for run in runs], f"workflow {self.workflow}", sure=bool(self.token_input)
        )

    def start(self, wanted: Wanted) -> str:
        asked = datetime.now(UTC)
        body = {"ref": self.ref, "inputs": self._inputs(wanted), "return_run_details": True}
        path = f"{self._actions}/workflows/{self.workflow}/dispatches"
        answer = self._client.call("POST", path, body)
        if answer and answer.get("workflow_run_id"):
            return str(answer["workflow_run_id"])
        # An older GitHub Enterprise Server, which does not say.
        if found := self.find(wanted, asked):
            return found
        raise TransientError(f"the run of workflow {self.workflow} does not show yet")

    def standing(self, run: str) -> Standing:
        try:
            found = self._client.call("GET", f"{self._actions}/runs/{run}")
        except NotThere as error:
            raise InputError(f"{self.repository} has no run {run} any more") from error
        ended = found["status"] == "completed"
        state = STATES.get(found.get("conclusion") or "", "failed") if ended else "running"
        stages = tuple(map(_stage, self._jobs(run)))
        why = [str(found.get("conclusion")), *failed_first(stages)]
        return Standing(
            state=state,
            reason="" if state in ("running", "succeeded") else " ".join(why),
            stages=stages,
            waits=self._waits(run) if found["status"] == "waiting" else (),
            revision=str(found.get("head_sha") or ""),
            results=self._artifacts(run) if ended else {},
        )

    def log(self, run: str) -> list[str]:
        failed = [job for job in self._jobs(run) if job.get("conclusion") in ("failure", "timed_out")]
        if not failed:
            return []
        try:
            return tail(self._client.text(f"{self._actions}/jobs/{failed[-1]['id']}/logs"))
        except NotThere:  # it never began, or its log was deleted
            return []

    def cancel(self, run: str) -> None:
        try:
            self._client.call("POST", f"{self._actions}/runs/{run}/cancel")
        except Rejected as error:
            if error.status != 409:  # it has ended
                raise

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        state = "approved" if approved else "rejected"
        body = {"environment_ids": [int(approval.id)], "state": state, "comment": comment}
        self._client.call("POST", f"{self._actions}/runs/{run}/pending_deployments", body)

    def link(self, run: str) -> str:
        site = self._url.removesuffix("/api/v3").replace("://api.", "://")
        return f"{site}/{self.repository}/actions/runs/{run}"

    def newest(self) -> str | None:
        path = f"{self._actions}/workflows/{self.workflow}/runs?status=success&per_page=1"
        found = self._client.call("GET", path)["workflow_runs"]
        return str(found[0]["id"]) if found else None

    def _inputs(self, wanted: Wanted) -> dict[str, str]:
        own = {self.token_input: wanted.token} if self.token_input else {}
        if wanted.revision and self.revision_input:
            own[self.revision_input] = wanted.revision
        elif wanted.revision:
            there = self._client.call("GET", f"{self._base}/commits/{quote(self.ref, safe='')}")["sha"]
            if there != wanted.revision:
                raise InputError(
                    f"{self.repository}: {self.ref} is at {there}, not at {wanted.revision}; GitHub starts workflows at a "
                    "branch or tag: name one that is there with `ref`, or an input that takes the commit with "
                    "`revision_input`"
                )
        return {**wanted.inputs, **own}

    def _jobs(self, run: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = self._client.call(
            "GET", f"{self._actions}/runs/{run}/jobs?filter=latest&per_page=100"
        )["jobs"]
        return found

    def _waits(self, run: str) -> tuple[Approval, ...]:
        found = self._client.call("GET", f"{self._actions}/runs/{run}/pending_deployments")
        places = [each["environment"] for each in found]
        return tuple(Approval(name=str(place["name"]), id=str(place["id"])) for place in places)

    def _artifacts(self, run: str) -> dict[str, str]:
        found = self._client.call("GET", f"{self._actions}/runs/{run}/artifacts?per_page=100")["artifacts"]
        return {each["name"]: each["archive_download_url"] for each in found if not each.get("expired")}


def _stage(job: Mapping[str, Any]) -> Stage:
    ended = job["status"] == "completed"
    state = JOBS.get(job.get("conclusion") or "", "failed") if ended else "running"
    failed = [step["name"] for step in job.get("steps") or () if step.get("conclusion") == "failure"]
    return Stage(name=job["name"], state=state, reason=f"step {', '.join(failed)}" if failed else "")
