"""GitHub and GitLab as far as Triplane calls them: they refuse what their documentation says that they refuse.

https://docs.github.com/rest/commits/statuses, /rest/issues/comments, /rest/apps/apps, /rest/using-the-rest-api;
https://docs.gitlab.com/api/commits, /api/notes, /api/rest
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import jwt

from tests.loopback import Answer, Request, Service


class Forge(Service):
    """What both have: commits, comments of pull requests, faults to come."""

    page_size = 100

    def __init__(self, *, commits: tuple[str, ...] = (), pulls: tuple[int, ...] = ()) -> None:
        self.commits = set(commits)
        self.statuses: list[dict[str, Any]] = []
        self.comments: dict[int, list[dict[str, Any]]] = {number: [] for number in pulls}
        self.faults: list[Answer] = []
        self.requests: list[Request] = []
        self._ids = 1000

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)
        return self.route(request)

    def route(self, request: Request) -> Answer:
        raise NotImplementedError

    def add(self, number: int, body: str, **more: Any) -> dict[str, Any]:
        """A comment that somebody has written."""
        self._ids += 1
        comment = {"id": self._ids, "body": body, **more}
        self.comments[number].append(comment)
        return comment

    def find(self, comment: int) -> dict[str, Any] | None:
        found = (item for items in self.comments.values() for item in items if item["id"] == comment)
        return next(found, None)

    def page(self, request: Request, items: list[dict[str, Any]]) -> Answer:
        """One page, with a Link header to the next."""
        size = min(int(request.query.get("per_page", 30)), self.page_size)
        number = int(request.query.get("page", 1))
        shown = items[(number - 1) * size : number * size]
        query = "&".join(
            f"{k}={v}" for k, v in {**request.query, "per_page": size, "page": number + 1}.items()
        )
        more = number * size < len(items)
        link = {"Link": f'<{self.url}{request.path}?{query}>; rel="next"'} if more else {}
        return Answer(200, shown, link)


class FakeGitHub(Forge):
    """``acme/shop``, with a token or a GitHub App."""

    def __init__(self, token: str = "", app: str = "", public_key: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokens = {token} if token else set()
        self.app = app
        self.public_key = public_key
        self.foreign: set[int] = set()
        """Comments of others, which the token may not edit."""

    def route(self, request: Request) -> Answer:
        if request.headers.get("User-Agent", "") == "":
            return Answer(403, {"message": "Request forbidden by administrative rules."})
        scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
        if re.fullmatch(
            r"/(app/installations/\d+/access_tokens|repos/[^/]+/[^/]+/installation)", request.path
        ):
            return self._as_app(request, token)
        if scheme not in ("Bearer", "token") or token not in self.tokens:
            return Answer(401, {"message": "Bad credentials"})
        if request.headers.get("X-GitHub-Api-Version") not in (None, "2022-11-28"):
            return Answer(400, {"message": "not a supported version"})
        match = re.fullmatch(r"/repos/acme/shop/(.+)", request.path)
        if not match:
            return Answer(404, {"message": "Not Found"})
        parts = match[1].split("/")
        match (request.method, *parts):
            case ("POST", "statuses", commit):
                return self._status(request, commit)
            case ("GET", "issues", number, "comments") if int(number) in self.comments:
                return self.page(request, self.comments[int(number)])
            case ("POST", "issues", number, "comments") if int(number) in self.comments:
                return self._text(request) or Answer(201, self.add(int(number), request.json()["body"]))
            case ("PATCH", "issues", "comments", comment) if found := self.find(int(comment)):
                if int(comment) in self.foreign:
                    return Answer(403, {"message": "Must have admin rights to Repository."})
                if refused := self._text(request):
                    return refused
                found["body"] = request.json()["body"]
                return Answer(200, found)
        return Answer(404, {"message": "Not Found"})

    def _status(self, request: Request, commit: str) -> Answer:
        body = request.json()
        errors = []
        if body.get("state") not in ("error", "failure", "pending", "success"):
            errors.append({"resource": "Status", "field": "state", "code": "custom"})
        if len(body.get("description") or "") > 140:
            errors.append(
                {"field": "description", "message": "description is too long (maximum is 140 characters)"}
            )
        if not re.match(r"https?://", body.get("target_url") or "http://"):
            errors.append({"field": "target_url", "message": "target_url must use http(s) scheme"})
        errors += [
            {"field": name, "code": "unknown"}
            for name in set(body) - {"state", "target_url", "description", "context"}
        ]
        if errors:
            return Answer(422, {"message": "Validation Failed", "errors": errors})
        if commit not in self.commits:
            return Answer(422, {"message": f"No commit found for SHA: {commit}"})
        status = {"context": "default", **body, "sha": commit, "id": len(self.statuses) + 1}
        self.statuses.append(status)
        return Answer(201, status)

    def _text(self, request: Request) -> Answer | None:
        body = request.json()
        if set(body) != {"body"} or not body["body"] or len(body["body"]) > 65_536:
            return Answer(422, {"message": "Validation Failed", "errors": [{"field": "body"}]})
        return None

    def _as_app(self, request: Request, token: str) -> Answer:
        try:
            claims: Mapping[str, Any] = jwt.decode(token, self.public_key, algorithms=["RS256"])
        except jwt.PyJWTError as error:
            return Answer(401, {"message": f"A JSON web token could not be decoded: {error}"})
        if str(claims["iss"]) != self.app or claims["exp"] - time.time() > 600:
            return Answer(401, {"message": "'Expiration time' claim ('exp') is too far in the future"})
        if request.method == "GET":
            known = request.path == "/repos/acme/shop/installation"
            return Answer(200, {"id": 77}) if known else Answer(404, {"message": "Not Found"})
        if not request.path.startswith("/app/installations/77/"):
            return Answer(404, {"message": "Integration not found"})
        if request.json().get("repositories") != ["shop"]:
            return Answer(422, {"message": "There is at least one repository that does not exist"})
        new = f"ghs_{'t' * 30}{len(self.tokens)}"
        self.tokens.add(new)
        return Answer(201, {"token": new, "expires_at": "2099-01-01T00:00:00Z"})


class FakeGitLab(Forge):
    """``acme/team/shop``."""

    def __init__(self, token: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.token = token

    def route(self, request: Request) -> Answer:
        if request.headers.get("PRIVATE-TOKEN") != self.token:
            return Answer(401, {"message": "401 Unauthorized"})
        match = re.fullmatch(r"/projects/acme%2Fteam%2Fshop/(.+)", request.path)
        if not match:
            return Answer(404, {"message": "404 Project Not Found"})
        match (request.method, *match[1].split("/")):
            case ("POST", "statuses", commit):
                return self._status(request, commit)
            case ("GET", "merge_requests", number, "notes") if int(number) in self.comments:
                items = self.comments[int(number)]
                newest_first = request.query.get("sort", "desc") == "desc"
                return self.page(request, items[::-1] if newest_first else items)
            case ("POST", "merge_requests", number, "notes") if int(number) in self.comments:
                return self._text(request) or Answer(201, self.add(int(number), request.json()["body"]))
            case ("PUT", "merge_requests", _, "notes", note) if found := self.find(int(note)):
                if refused := self._text(request):
                    return refused
                found["body"] = request.json()["body"]
                return Answer(200, found)
        return Answer(404, {"message": "404 Not Found"})

    def _status(self, request: Request, commit: str) -> Answer:
        body = request.json()
        if body.get("state") not in ("pending", "running", "success", "failed", "canceled", "skipped"):
            return Answer(400, {"error": "state does not have a valid value"})
        allowed = {"state", "name", "context", "target_url", "description", "ref", "coverage", "pipeline_id"}
        if unknown := set(body) - allowed:
            return Answer(400, {"error": f"unknown: {unknown}"})
        if len(body.get("description") or "") > 255:
            return Answer(400, {"message": {"description": ["is too long (maximum is 255 characters)"]}})
        if commit not in self.commits:
            return Answer(404, {"message": "404 Commit Not Found"})
        before = [s for s in self.statuses if (s["sha"], s["name"]) == (commit, body["name"])]
        if before and before[-1]["state"] == body["state"] and body["state"] in ("pending", "running"):
            said = f"Cannot transition status via :run from :{body['state']}"
            return Answer(400, {"message": {"state": [said]}})
        self.statuses.append({**body, "sha": commit})
        return Answer(201, self.statuses[-1])

    def _text(self, request: Request) -> Answer | None:
        body = request.json()
        if set(body) != {"body"} or not body["body"] or len(body["body"]) > 1_000_000:
            return Answer(400, {"error": "body is missing"})
        return None
