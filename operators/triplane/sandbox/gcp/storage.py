"""Cloud Storage: checks token and contract, then passes the request to fake-gcs-server.

That server keeps objects and generations, and the preconditions of uploads in one piece with their metadata; those of
other uploads and of a delete are checked here.
What it does not keep of a bucket (labels, access settings, ...) is kept here and put into its answers.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession, web

from triplane.sandbox.gcp.core import Core, Request
from triplane.sandbox.gcp.errors import ApiError

OBJECTS = re.compile(r"/(upload/)?storage/v1/b/(?P<bucket>[^/]+)/o(/(?P<name>[^/]+))?")
BUCKETS = re.compile(r"/storage/v1/b(/(?P<bucket>[^/]+))?/?")
DROPPED = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te"}
OWN = {"name", "id", "kind", "selfLink", "timeCreated", "projectNumber"}
Body = dict[str, Any]


class Storage:
    """``upstream`` is the URL of fake-gcs-server."""

    def __init__(self, core: Core, upstream: str, session: ClientSession) -> None:
        self._core = core
        self._upstream = upstream
        self._session = session
        self._buckets: dict[str, Body] = {}
        self._uploads: dict[str, tuple[str, str]] = {}
        """Id of a resumable upload -> path of its object, and the generation that it must have."""
        self._conditional = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Raises ApiError."""
        self._core.tokens.check(request.headers.get("Authorization"))
        found = BUCKETS.fullmatch(request.path)
        if found is None:
            return await self._object(request)
        raw = await request.read()
        body = parse(raw)
        query = list(request.query.items())
        asked = Request(
            request.host, request.method, request.path, query, body, request.headers.get("Authorization")
        )
        await asyncio.to_thread(self._core.check_body, asked)
        return await self._bucket(request, found["bucket"], body)

    async def _object(self, request: web.Request) -> web.StreamResponse:
        """Refuse to write or delete another generation of an object than the caller means."""
        condition = await self._condition(request)
        if condition is None:
            return await self._forward(request)
        async with self._conditional:
            path, meant = condition
            status, current = await self._ask("GET", path, None)
            if meant != (current["generation"] if status == 200 else "0") and not (
                status == 404 and request.method == "DELETE"
            ):
                raise ApiError(412, "At least one of the pre-conditions you specified did not hold.")
            answer = await self._forward(request)
        begun = re.search(r"[?&]upload_id=([^&]+)", answer.headers.get("Location", ""))
        if begun:
            self._uploads[begun[1]] = condition
        return answer

    async def _condition(self, request: web.Request) -> tuple[str, str] | None:
        """Path of the object that is meant, and the generation that it must have ("0": none); None if any will do."""
        kind, found = request.query.get("uploadType"), OBJECTS.fullmatch(request.rel_url.raw_path)
        if request.method in ("PUT", "POST") and request.query.get("upload_id"):
            return self._uploads.get(request.query["upload_id"])
        meant = request.query.get("ifGenerationMatch")
        if (
            found is None
            or meant is None
            or not (request.method == "DELETE" or kind in ("media", "resumable"))
        ):
            return None
        name = found["name"]
        if name is None:
            body = parse(await request.read(), lenient=True) if kind == "resumable" else None
            name = quote(request.query.get("name") or str((body or {}).get("name")), safe="")
        return f"/storage/v1/b/{found['bucket']}/o/{name}", meant

    async def _bucket(self, request: web.Request, name: str | None, body: Body | None) -> web.StreamResponse:
        if request.method == "PATCH" or request.method == "PUT":
            assert name is not None
            status, current = await self._ask("GET", f"/storage/v1/b/{name}", None)
            if status == 200:
                kept = self._buckets.setdefault(name, {}) if request.method == "PATCH" else {}
                self._buckets[name] = patched(kept, body or {})
                self._touch(name)
            return web.json_response(self._show(current), status=status)
        status, answer = await self._ask(request.method, request.path_qs, body)
        if status == 200 and request.method == "POST":
            self._buckets[answer["name"]] = {k: v for k, v in (body or {}).items() if k not in OWN}
            self._touch(answer["name"], created=True)
        if status in {200, 204} and request.method == "DELETE":
            self._buckets.pop(name or "", None)
            return web.Response(status=204)
        if "items" in answer:
            answer["items"] = [self._show(item) for item in answer["items"]]
        return web.json_response(self._show(answer), status=status)

    def _show(self, answer: Body) -> Body:
        kept = copy.deepcopy(self._buckets.get(answer.get("name", ""), {}))
        return {**answer, **kept}

    def _touch(self, name: str, *, created: bool = False) -> None:
        kept = self._buckets[name]
        kept["metageneration"] = "1" if created else str(int(kept.get("metageneration", "1")) + 1)
        kept["etag"] = f"CA{kept['metageneration']}="
        kept.setdefault("storageClass", "STANDARD")
        kept["location"] = kept.get("location", "US").upper()
        kept.setdefault("locationType", "region" if "-" in kept["location"] else "multi-region")
        kept.setdefault("iamConfiguration", {}).setdefault("uniformBucketLevelAccess", {"enabled": False})

    async def _ask(self, verb: str, path: str, body: Body | None) -> tuple[int, Body]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        async with self._session.request(
            verb, _raw(self._upstream + path), data=data, headers=headers
        ) as response:
            return response.status, parse(await response.read(), lenient=True) or {}

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in DROPPED}
        headers["X-Forwarded-Proto"] = "https"
        data = await request.read() if request.can_read_body else None
        url = self._upstream + request.raw_path
        async with self._session.request(
            request.method, _raw(url), data=data, headers=headers, allow_redirects=False
        ) as upstream:
            body = await upstream.read()
            answer = web.Response(status=upstream.status, body=body)
            for key, value in upstream.headers.items():
                if key.lower() not in DROPPED | {"content-type", "date", "server"}:
                    answer.headers.add(key, value)
            answer.headers["Content-Type"] = upstream.headers.get("Content-Type", "application/octet-stream")
            return answer


def patched(target: Body, patch: Body) -> Body:
    """JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = patched(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


def parse(raw: bytes, *, lenient: bool = False) -> Body | None:
    """JSON or None for no body. Raises ApiError 400 for what is not a JSON object, unless ``lenient``."""
    try:
        value = json.loads(raw) if raw.strip() else None
    except ValueError as error:
        if lenient:
            return {"error": {"message": raw.decode(errors="replace")}}
        raise ApiError(400, f"Invalid JSON payload received. {error}") from error
    if value is not None and not isinstance(value, dict):
        raise ApiError(400, "Invalid JSON payload received. Unexpected token.")
    return value


def _raw(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)
