"""The repository ``acme/shop`` at GitHub, after https://docs.github.com/rest: it refuses what GitHub refuses.

The workflows ``deploy.yml``, ``fails.yml``, ``hangs.yml`` and ``asks.yml`` take the inputs ``environment``, ``commit`` and
``triplane``, which their ``run-name`` shows; ``plain.yml`` takes ``environment`` alone.
"""

from __future__ import annotations

import re

from triplane.sandbox.forges.asked import Answer, Asked, stamp
from triplane.sandbox.forges.reviews import GitHubReviews
from triplane.sandbox.forges.runs import BUILD, DEPLOY, LOG, REFS, Conflict, Run, Runs
from triplane.sandbox.forges.tokens import Tokens

REPOSITORY = "acme/shop"
NAMED = {"environment", "commit", "triplane"}
WORKFLOWS = {
    **dict.fromkeys(("deploy.yml", "fails.yml", "hangs.yml", "asks.yml"), NAMED),
    "plain.yml": {"environment"},
}
LOGS_HOST = "results-receiver.actions.githubusercontent.com"
CONCLUSIONS = {"succeeded": "success", "failed": "failure", "cancelled": "cancelled", "skipped": "skipped"}
STATUSES = {"pending": "queued", "running": "in_progress", "waiting": "waiting"}
NOT_FOUND = Answer(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})
ENVIRONMENT = 4711


class GitHub:
    """The API, and the storage of the logs."""

    def __init__(self, tokens: Tokens, reviews: GitHubReviews) -> None:
        self._tokens = tokens
        self.reviews = reviews
        self._runs = Runs(30_000_000)

    def logs(self, asked: Asked) -> Answer:
        """A job's log, by a signed URL: such a storage does not take a second way to authenticate."""
        if "Authorization" in asked.headers:
            return Answer(400, "InvalidAuthenticationInfo")
        return Answer(200, "\n".join(f"2026-01-01T00:00:00.0000000Z {line}" for line in LOG))

    def answer(self, asked: Asked) -> Answer:
        if not asked.headers.get("User-Agent"):
            return Answer(403, {"message": "Request forbidden by administrative rules."})
        if self._tokens.concerns(asked):
            return self._tokens.answer(asked)
        scheme, _, token = asked.headers.get("Authorization", "").partition(" ")
        if scheme not in ("Bearer", "token") or not self._tokens.good(token):
            return Answer(401, {"message": "Bad credentials"})
        if asked.headers.get("X-GitHub-Api-Version") not in (None, "2022-11-28"):
            return Answer(400, {"message": "not a supported version"})
        match = re.fullmatch(rf"/repos/{REPOSITORY}/(.+)", asked.path)
        if not match:
            return NOT_FOUND
        parts = match[1].split("/")
        return self.reviews.route(asked, parts) or self._route(asked, parts)

    def _route(self, asked: Asked, parts: list[str]) -> Answer:
        match (asked.method, *parts):
            case ("GET", "commits", ref):
                return Answer(200, {"sha": REFS[ref]}) if ref in REFS else NOT_FOUND
            case ("POST", "actions", "workflows", name, "dispatches"):
                return self._dispatch(asked, name)
            case ("GET", "actions", "workflows", name, "runs") if name in WORKFLOWS:
                return self._list(asked, name)
            case (_, "actions", "jobs", job, "logs") if self._runs.get(job[:-1]):
                return Answer(
                    302, None, {"Location": f"https://{LOGS_HOST}/logs/{job}?sig=0123456789abcdefghijklmn"}
                )
            case (_, "actions", "runs", identity, *rest) if run := self._runs.get(identity):
                return self._run(asked, run, rest)
        return NOT_FOUND

    def _dispatch(self, asked: Asked, name: str) -> Answer:
        if name not in WORKFLOWS:
            return NOT_FOUND
        body = asked.json()
        if unknown := set(body) - {"ref", "inputs", "return_run_details"}:
            return Answer(422, {"message": f"Invalid request. Unknown: {', '.join(unknown)}"})
        ref = str(body.get("ref", "")).removeprefix("refs/heads/").removeprefix("refs/tags/")
        if ref not in REFS:
            return Answer(422, {"message": f"No ref found for: {body.get('ref')}"})
        inputs = body.get("inputs") or {}
        if unknown := set(inputs) - WORKFLOWS[name]:
            return Answer(422, {"message": f"Unexpected inputs provided: {sorted(unknown)}"})
        run = self._runs.start(name, ref, REFS[ref], inputs)
        if not body.get("return_run_details"):
            return Answer(204)
        api = f"https://api.github.com/repos/{REPOSITORY}/actions/runs/{run.id}"
        page = f"https://github.com/{REPOSITORY}/actions/runs/{run.id}"
        return Answer(200, {"workflow_run_id": run.id, "run_url": api, "html_url": page})

    def _list(self, asked: Asked, name: str) -> Answer:
        """The newest first."""
        after = asked.query.get("created", "").removeprefix(">=")
        branch = asked.query.get("branch", "")
        found = [
            run for run in self._runs.of(name)[::-1] if stamp(run.began) >= after and branch in ("", run.ref)
        ]
        return Answer(200, {"total_count": len(found), "workflow_runs": [_shown(run) for run in found]})

    def _run(self, asked: Asked, run: Run, rest: list[str]) -> Answer:
        try:
            match (asked.method, *rest):
                case ("GET",):
                    return Answer(200, _shown(run))
                case ("GET", "jobs"):
                    return Answer(200, {"total_count": 2, "jobs": _jobs(run)})
                case ("GET", "artifacts"):
                    return Answer(200, {"total_count": 1, "artifacts": [_artifact(run)]})
                case ("GET", "pending_deployments"):
                    place = {"id": ENVIRONMENT, "name": "production"}
                    found = [{"environment": place, "current_user_can_approve": True}]
                    return Answer(200, found if run.state == "waiting" else [])
                case ("POST", "pending_deployments"):
                    return self._decide(asked, run)
                case ("POST", "cancel"):
                    run.cancel()
                    return Answer(202, {})
        except Conflict as error:
            return Answer(409, {"message": f"Cannot cancel a workflow run that is completed: {error}"})
        return NOT_FOUND

    def _decide(self, asked: Asked, run: Run) -> Answer:
        body = asked.json()
        if set(body) != {"environment_ids", "state", "comment"} or body["state"] not in (
            "approved",
            "rejected",
        ):
            return Answer(422, {"message": "Validation Failed"})
        if body["environment_ids"] != [ENVIRONMENT] or run.state != "waiting":
            return Answer(422, {"message": "There are no pending deployments for these environments"})
        run.decide(body["state"] == "approved")
        return Answer(200, [{"id": run.id, "sha": run.sha}])


def _shown(run: Run) -> dict[str, object]:
    token = run.inputs.get("triplane", "")
    return {
        "id": run.id,
        "name": run.name,
        "display_title": f"Deploy {token}".strip(),
        "event": "workflow_dispatch",
        "status": STATUSES.get(run.state, "completed"),
        "conclusion": CONCLUSIONS.get(run.state),
        "head_branch": run.ref,
        "head_sha": run.sha,
        "created_at": stamp(run.began),
        "html_url": f"https://github.com/{REPOSITORY}/actions/runs/{run.id}",
    }


def _jobs(run: Run) -> list[dict[str, object]]:
    jobs: list[dict[str, object]] = []
    for number, (name, state) in enumerate(zip((BUILD, DEPLOY), run.stages, strict=True)):
        steps = [{"name": f"Run {name}", "conclusion": CONCLUSIONS.get(state)}]
        status = STATUSES.get(state, "completed")
        job = {"id": int(f"{run.id}{number}"), "name": name, "status": status}
        jobs.append({**job, "conclusion": CONCLUSIONS.get(state), "steps": steps})
    return jobs


def _artifact(run: Run) -> dict[str, object]:
    url = f"https://api.github.com/repos/{REPOSITORY}/actions/artifacts/{run.id}/zip"
    return {"id": run.id, "name": "report", "expired": False, "archive_download_url": url}
