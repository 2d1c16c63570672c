"""Statuses of commits and comments of pull requests: they refuse what the forges' documentation says that they refuse.

https://docs.github.com/rest/commits/statuses, /rest/issues/comments; https://docs.gitlab.com/api/commits, /api/notes
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from triplane.sandbox.forges.asked import Answer, Asked


class Reviews:
    """What one repository has of both. ``url`` is where clients see the forge."""

    page_size = 100

    def __init__(self, url: str, *, commits: Iterable[str] = (), pulls: Iterable[int] = ()) -> None:
        self.url = url
        self.commits = set(commits)
        self.statuses: list[dict[str, Any]] = []
        self.comments: dict[int, list[dict[str, Any]]] = {number: [] for number in pulls}
        self.foreign: set[int] = set()
        """Comments of others, which the token may not edit."""
        self._ids = 1000

    def route(self, asked: Asked, parts: list[str]) -> Answer | None:
        """The answer, None where the request is about something else."""
        raise NotImplementedError

    def add(self, number: int, body: str) -> dict[str, Any]:
        """A comment that somebody has written."""
        self._ids += 1
        comment = {"id": self._ids, "body": body}
        self.comments[number].append(comment)
        return comment

    def find(self, comment: str) -> dict[str, Any] | None:
        """The comment with that id."""
        found = (item for items in self.comments.values() for item in items if str(item["id"]) == comment)
        return next(found, None)

    def listed(self, asked: Asked, items: list[dict[str, Any]]) -> Answer:
        """One page, with a ``Link`` header to the next."""
        size = min(int(asked.query.get("per_page", 30)), self.page_size)
        number = int(asked.query.get("page", 1))
        query = {**asked.query, "per_page": size, "page": number + 1}
        following = f"{self.url}{asked.path}?{'&'.join(f'{key}={value}' for key, value in query.items())}"
        more = {"Link": f'<{following}>; rel="next"'} if number * size < len(items) else {}
        return Answer(200, items[(number - 1) * size : number * size], more)


class GitHubReviews(Reviews):
    """As GitHub has them."""

    def route(self, asked: Asked, parts: list[str]) -> Answer | None:
        match (asked.method, *parts):
            case ("POST", "statuses", commit):
                return self._status(asked.json(), commit)
            case ("GET", "issues", number, "comments") if int(number) in self.comments:
                return self.listed(asked, self.comments[int(number)])
            case ("POST", "issues", number, "comments") if int(number) in self.comments:
                return _text(asked) or Answer(201, self.add(int(number), asked.json()["body"]))
            case ("PATCH", "issues", "comments", comment) if found := self.find(comment):
                if found["id"] in self.foreign:
                    return Answer(403, {"message": "Must have admin rights to Repository."})
                if refused := _text(asked):
                    return refused
                found["body"] = asked.json()["body"]
                return Answer(200, found)
        return None

    def _status(self, body: dict[str, Any], commit: str) -> Answer:
        errors: list[dict[str, str]] = []
        if body.get("state") not in ("error", "failure", "pending", "success"):
            errors.append({"resource": "Status", "field": "state", "code": "custom"})
        if len(body.get("description") or "") > 140:
            said = "description is too long (maximum is 140 characters)"
            errors.append({"field": "description", "message": said})
        if not re.match(r"https?://", body.get("target_url") or "http://"):
            errors.append({"field": "target_url", "message": "target_url must use http(s) scheme"})
        known = {"state", "target_url", "description", "context"}
        errors += [{"field": name, "code": "unknown"} for name in set(body) - known]
        if errors:
            return Answer(422, {"message": "Validation Failed", "errors": errors})
        if commit not in self.commits:
            return Answer(422, {"message": f"No commit found for SHA: {commit}"})
        status = {"context": "default", **body, "sha": commit, "id": len(self.statuses) + 1}
        self.statuses.append(status)
        return Answer(201, status)


class GitLabReviews(Reviews):
    """As GitLab has them: comments are notes of merge requests."""

    def route(self, asked: Asked, parts: list[str]) -> Answer | None:
        match (asked.method, *parts):
            case ("POST", "statuses", commit):
                return self._status(asked.json(), commit)
            case ("GET", "merge_requests", number, "notes") if int(number) in self.comments:
                items = self.comments[int(number)]
                return self.listed(asked, items[::-1] if asked.query.get("sort", "desc") == "desc" else items)
            case ("POST", "merge_requests", number, "notes") if int(number) in self.comments:
                return _note(asked) or Answer(201, self.add(int(number), asked.json()["body"]))
            case ("PUT", "merge_requests", _, "notes", note) if found := self.find(note):
                if refused := _note(asked):
                    return refused
                found["body"] = asked.json()["body"]
                return Answer(200, found)
        return None

    def _status(self, body: dict[str, Any], commit: str) -> Answer:
        if body.get("state") not in ("pending", "running", "success", "failed", "canceled", "skipped"):
            return Answer(400, {"error": "state does not have a valid value"})
        allowed = {"state", "name", "context", "target_url", "description", "ref", "coverage", "pipeline_id"}
        if unknown := set(body) - allowed:
            return Answer(400, {"error": f"unknown: {unknown}"})
        if len(body.get("description") or "") > 255:
            return Answer(400, {"message": {"description": ["is too long (maximum is 255 characters)"]}})
        if commit not in self.commits:
            return Answer(404, {"message": "404 Commit Not Found"})
        before = [each for each in self.statuses if (each["sha"], each["name"]) == (commit, body["name"])]
        if before and before[-1]["state"] == body["state"] and body["state"] in ("pending", "running"):
            said = f"Cannot transition status via :run from :{body['state']}"
            return Answer(400, {"message": {"state": [said]}})
        self.statuses.append({**body, "sha": commit})
        return Answer(201, self.statuses[-1])


def _text(asked: Asked) -> Answer | None:
    body = asked.json()
    if set(body) != {"body"} or not body["body"] or len(body["body"]) > 65_536:
        return Answer(422, {"message": "Validation Failed", "errors": [{"field": "body"}]})
    return None


def _note(asked: Asked) -> Answer | None:
    body = asked.json()
    if set(body) != {"body"} or not body["body"] or len(body["body"]) > 1_000_000:
        return Answer(400, {"error": "body is missing"})
    return None
