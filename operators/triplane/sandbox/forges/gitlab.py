"""GitLab pipelines of the projects ``acme/shop``, ``acme/fails``, ``acme/hangs`` and ``acme/asks``, after
https://docs.gitlab.com/api/pipelines and /api/jobs: it refuses what GitLab refuses.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from triplane.sandbox.forges.asked import Answer, Asked, stamp
from triplane.sandbox.forges.reviews import GitLabReviews
from triplane.sandbox.forges.runs import BUILD, DEPLOY, LOG, REFS, Conflict, Run, Runs

PROJECTS = ("acme/shop", "acme/fails", "acme/hangs", "acme/asks")
STATES = {
    "pending": "created",
    "running": "running",
    "waiting": "manual",
    "succeeded": "success",
    "failed": "failed",
    "cancelled": "canceled",
    "skipped": "skipped",
}
NOT_FOUND = Answer(404, {"message": "404 Not Found"})


class GitLab:
    """The API. ``token`` is the only one that it knows."""

    def __init__(self, token: str, reviews: GitLabReviews) -> None:
        self._token = token
        self.reviews = reviews
        self._runs = Runs(5_000)

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("PRIVATE-TOKEN") != self._token:
            return Answer(401, {"message": "401 Unauthorized"})
        match = re.fullmatch(r"/api/v4/projects/([^/]+)/(.+)", asked.path)
        if match is None or unquote(match[1]) not in PROJECTS:
            return Answer(404, {"message": "404 Project Not Found"})
        parts = match[2].split("/")
        return self.reviews.route(asked, parts) or self._route(asked, unquote(match[1]), parts)

    def _route(self, asked: Asked, project: str, parts: list[str]) -> Answer:
        match (asked.method, *parts):
            case ("GET", "repository", "commits", ref):
                return Answer(200, {"id": REFS[ref]}) if ref in REFS else NOT_FOUND
            case ("POST", "pipeline"):
                return self._create(asked, project)
            case ("GET", "pipelines"):
                return self._list(asked, project)
            case (_, "pipelines", identity, *rest) if (
                run := self._runs.get(identity)
            ) and run.name == project:
                return self._pipeline(asked, run, rest)
            case (_, "jobs", job, verb) if (run := self._runs.get(job[:-1])) and run.name == project:
                return self._job(asked, run, verb)
        return NOT_FOUND

    def _list(self, asked: Asked, project: str) -> Answer:
        """The newest first."""
        after, ref, status = (asked.query.get(name) for name in ("updated_after", "ref", "status"))
        found = [
            run
            for run in self._runs.of(project)[::-1]
            if stamp(run.began) >= (after or "")
            and ref in (None, run.ref)
            and status in (None, STATES[run.state])
        ]
        return Answer(200, [_shown(run) for run in found[: int(asked.query.get("per_page", 20))]])

    def _create(self, asked: Asked, project: str) -> Answer:
        body = asked.json()
        if unknown := set(body) - {"ref", "variables", "inputs"}:
            return Answer(400, {"error": f"{', '.join(unknown)} is invalid"})
        if body.get("ref") not in REFS:
            return Answer(400, {"message": {"base": ["Reference not found"]}})
        variables = body.get("variables") or []
        if any(set(each) - {"key", "value", "variable_type"} or "key" not in each for each in variables):
            return Answer(400, {"error": "variables is invalid"})
        values = {each["key"]: each["value"] for each in variables}
        return Answer(201, _shown(self._runs.start(project, body["ref"], REFS[body["ref"]], values)))

    def _pipeline(self, asked: Asked, run: Run, rest: list[str]) -> Answer:
        match (asked.method, *rest):
            case ("GET",):
                return Answer(200, _shown(run))
            case ("GET", "variables"):
                pairs = run.inputs.items()
                return Answer(200, [{"variable_type": "env_var", "key": k, "value": v} for k, v in pairs])
            case ("GET", "jobs"):
                return Answer(200, _jobs(run)[::-1])
            case ("POST", "cancel"):
                if not run.ended:  # GitLab takes it in any state
                    run.cancel()
                return Answer(200, _shown(run))
        return NOT_FOUND

    def _job(self, asked: Asked, run: Run, verb: str) -> Answer:
        if (asked.method, verb) == ("GET", "trace"):
            return Answer(200, "\n".join(LOG))
        if (asked.method, verb) != ("POST", "play"):
            return NOT_FOUND
        try:
            run.decide(True)
        except Conflict:
            return Answer(400, {"message": "400 Bad request - Unplayable Job"})
        return Answer(200, _jobs(run)[1])


def _shown(run: Run) -> dict[str, object]:
    page = f"https://gitlab.com/{run.name}/-/pipelines/{run.id}"
    own = {"id": run.id, "ref": run.ref, "sha": run.sha, "source": "api", "web_url": page}
    return {
        **own,
        "status": STATES[run.state],
        "created_at": stamp(run.began),
        "updated_at": stamp(run.began),
    }


def _jobs(run: Run) -> list[dict[str, object]]:
    jobs: list[dict[str, object]] = []
    for number, (name, state) in enumerate(zip((BUILD, DEPLOY), run.stages, strict=True)):
        identity = int(f"{run.id}{number}")
        page = f"https://gitlab.com/{run.name}/-/jobs/{identity}"
        job = {"id": identity, "name": f"{name}-all", "stage": name, "status": STATES[state], "web_url": page}
        failed = {"failure_reason": "script_failure"} if state == "failed" else {}
        report = {"artifacts_file": {"filename": "report.zip", "size": 1}} if state == "succeeded" else {}
        jobs.append({**job, **failed, **report, "allow_failure": False})
    return jobs
