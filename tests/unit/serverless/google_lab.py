"""Google's own clients, unmodified, on the sandbox's core in this process: no network, no waiting."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import BaseAdapter

from triplane.sandbox.gcp import core as core_module
from triplane.sandbox.gcp.contract import Contract
from triplane.sandbox.gcp.core import Core, Request
from triplane.sandbox.gcp.errors import ApiError
from triplane.sandbox.gcp.functions import UPLOADS
from triplane.sandbox.gcp.grpc_front import enum_numbers
from triplane.sandbox.gcp.oauth import Tokens
from triplane.sandbox.gcp.operations import Operations
from triplane.sandbox.gcp.state import PROJECT, REGION, State
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.google.cloud_functions import CloudFunctions
from triplane.serverless.google.cloud_run import CloudRun
from triplane.serverless.google.logs import CloudLogs
from triplane.serverless.target import Desired, Observed, Target

EMAIL = f"triplane@{PROJECT}.iam.gserviceaccount.com"
REGISTRY = f"{REGION}-docker.pkg.dev/{PROJECT}/streaming/webhook"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CONTRACT = Contract(enum_numbers())
LIMIT = 60
"""So many steps are more than any deployment takes."""


class CoreAdapter(BaseAdapter):
    """Answers what ``requests`` sends from the core. ``log`` has ``(method, host + path)`` of every request."""

    def __init__(self, google: Google) -> None:
        super().__init__()
        self._google = google

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        status, headers, data = self._google.answer(request)
        response = requests.Response()
        response.status_code, response.raw = status, io.BytesIO(data)
        response.headers.update(headers)
        response.request, response.url = request, str(request.url)
        return response

    def close(self) -> None:
        pass


class Signed(Credentials):  # type: ignore[misc]
    """A token, and always another one."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "first"

    def refresh(self, request: Any) -> None:
        self.token = "another"


class Google:
    """The sandbox's core; operations take ``delay`` seconds; ``images`` are what the registry has."""

    def __init__(self, home: Path, monkeypatch: Any, delay: float = 0.0) -> None:
        self.images = {image("one"): "sha256:1", image("two"): "sha256:2", image("three"): "sha256:3"}
        monkeypatch.setattr(core_module, "finder", lambda registry, repositories: self.images.get)
        self.tokens = Tokens(EMAIL, KEY.public_key())
        self.core = Core(State(home, Operations(delay)), self.tokens, CONTRACT, "")
        self.authorization = f"Bearer {self.tokens.issue(EMAIL)}"
        self.log: list[tuple[str, str]] = []
        monkeypatch.setattr(requests.Session, "get_adapter", lambda session, url: CoreAdapter(self))

    def answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(str(request.url))
        host, path, query = str(parts.hostname), parts.path, parse_qsl(parts.query, keep_blank_values=True)
        raw = request.body or b""
        data = raw.encode() if isinstance(raw, str) else bytes(raw)
        self.log.append((str(request.method), host + path))
        try:
            if host.endswith(".a.run.app"):
                asked = Request(host, str(request.method), path, query, None, None)
                found = self.core.answer(asked, data, dict(request.headers))
                return found.status, dict(found.headers), found.body
            if path.startswith(UPLOADS):
                signature = dict(query)["X-Goog-Signature"]
                self.core.functions.upload(path, signature, request.headers["Content-Type"], data)
                return 200, {}, b""
            body = json.loads(data) if data else None
            asked = Request(host, str(request.method), unquote(path), query, body, self.authorization)
            return 200, {"Content-Type": "application/json"}, json.dumps(self.core.handle(asked)).encode()
        except ApiError as error:
            return error.code, {"Content-Type": "application/json"}, json.dumps(error.body()).encode()

    def client(self, kind: type[Any]) -> Any:
        return kind(credentials=Signed(), transport="rest")

    def session(self) -> AuthorizedSession:
        return AuthorizedSession(Signed())

    def cloud_run(self) -> CloudRun:
        """A new target with new clients, as another process has it."""
        from google.cloud import run_v2

        return CloudRun(
            self.client(run_v2.ServicesClient), self.client(run_v2.RevisionsClient),
            project=PROJECT, region=REGION, id_token=self.tokens.issue_id, logs=CloudLogs(self.session(), PROJECT),
        )  # fmt: skip

    def cloud_functions(self) -> CloudFunctions:
        """A new target with new clients, as another process has it."""
        from google.cloud import run_v2

        return CloudFunctions(
            self.session(), self.client(run_v2.ServicesClient), self.client(run_v2.RevisionsClient),
            project=PROJECT, region=REGION, id_token=self.tokens.issue_id,
        )  # fmt: skip

    def writes(self) -> list[str]:
        """Every request that changes something, as ``METHOD last-part``."""
        return [f"{verb} {place.rpartition('/')[2]}" for verb, place in self.log if verb != "GET"]

    def names(self, collection: str) -> list[str]:
        return [name for name in self.core.state.resources if f"/{collection}/" in name]


def image(tag: str) -> str:
    return f"{REGISTRY}@sha256:{hashlib.sha256(tag.encode()).hexdigest()}"


def package(text: str, file: str = "main.py") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(file), text)
    return buffer.getvalue()


def code(answer: str) -> bytes:
    return package(f"import os\n\ndef hello(request):\n    return {answer!r} + os.environ.get('LEVEL', '')\n")


def function(data: bytes, **changes: Any) -> Desired:
    """A Python function of this package."""
    options = {"runtime": "python312", "entry_point": "hello", **changes.pop("options", {})}
    return desired("sha256:" + hashlib.sha256(data).hexdigest(), data, options=options, **changes)


def desired(artifact: str, data: bytes | None = None, **changes: Any) -> Desired:
    config = "sha256:" + hashlib.sha256(repr(sorted(changes.items())).encode()).hexdigest()
    return Desired(
        name="webhook", artifact=artifact, config=config, package=data, revision="c0ffee", **changes
    )


def start(previous: Observed | None) -> Attempt:
    return Attempt(id=uuid.uuid4().hex[:16], previous=previous)


def through_json(attempt: Attempt) -> Attempt:
    """The attempt as the next process reads it."""
    return Attempt.from_json(json.loads(json.dumps(attempt.to_json())))


def run(
    connect: Callable[[], Target], wanted: Desired, attempt: Attempt | None = None, **changes: Any
) -> Attempt:
    """Drive a deployment to its end, every step by another process that knows only the attempt's JSON."""
    attempt = attempt or start(connect().observe(wanted.name))
    wanted = replace(wanted, attempt=attempt.id)
    for _ in range(LIMIT):
        if attempt.ended:
            return attempt
        deployment = Deployment(target=connect(), desired=wanted, clock=lambda: 0.0, **changes)
        attempt, _ = deployment.go_on(through_json(attempt))
    raise AssertionError(f"no end after {LIMIT} steps: {attempt}")
