"""What the end-to-end tests of Google's serverless targets share."""

from __future__ import annotations

import hashlib
import io
import json
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.ordered import MINE, OWNER
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.target import Desired, Target, Waiting

PROJECT, REGION, CONNECTION = "triplane-sandbox", "europe-west1", "google_cloud_default"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
REGISTRY = f"{REGION}-docker.pkg.dev/{PROJECT}/streaming"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LIMIT = 60.0
"""No deployment in the sandbox takes so many seconds."""


def push(sandbox: Sandbox, text: str) -> str:
    """An image without layers in the sandbox's registry, by its digest."""
    root = f"http://127.0.0.1:{sandbox.port('registry-gcp')}"
    base = f"{root}/v2/{PROJECT}/streaming/webhook"
    config = json.dumps({"architecture": "amd64", "os": "linux", "comment": text}).encode()
    location = send("POST", f"{base}/blobs/uploads/").headers["Location"]
    upload = location if location.startswith("http") else root + location
    separator = "&" if "?" in upload else "?"
    send("PUT", f"{upload}{separator}digest={sha256(config)}", config, "application/octet-stream")
    described = {
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(config), "size": len(config)
    }  # fmt: skip
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    manifest = json.dumps(body).encode()
    send("PUT", f"{base}/manifests/{sha256(manifest)}", manifest, MANIFEST)
    return f"{REGISTRY}/webhook@{sha256(manifest)}"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def send(verb: str, url: str, data: bytes | None = None, content: str = "") -> Any:
    headers = {"Content-Type": content} if content else {}
    request = urllib.request.Request(url, data, headers, method=verb)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)


def package(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


def desired(name: str, artifact: str, **changes: Any) -> Desired:
    config = sha256(repr(sorted((key, value) for key, value in changes.items() if key != "package")).encode())
    return Desired(name=name, artifact=artifact, config=config, revision="c0ffee", **changes)


def fault(sandbox: Sandbox, **values: Any) -> None:
    """Order a failure of the sandbox's Google Cloud."""
    url = f"http://127.0.0.1:{sandbox.port('gcp-rest')}/_sandbox/faults"
    send("POST", url, json.dumps({"owner": OWNER, **values}).encode(), "application/json")


def calm(sandbox: Sandbox) -> None:
    """Call off what :func:`fault` has ordered."""
    send("DELETE", f"http://127.0.0.1:{sandbox.port('gcp-rest')}{MINE}")


def run(connect: Callable[[], Target], wanted: Desired, **changes: Any) -> Attempt:
    """Drive a deployment to its end, every step by new clients that know only the attempt's JSON."""
    before = connect().observe(wanted.name)
    attempt = Attempt(id=uuid.uuid4().hex[:16], previous=before, since=time.time())
    wanted, deadline = replace(wanted, attempt=attempt.id), time.monotonic() + LIMIT
    while not attempt.ended:
        assert time.monotonic() < deadline, attempt
        known = Attempt.from_json(json.loads(json.dumps(attempt.to_json())))
        attempt, waiting = Deployment(target=connect(), desired=wanted, **changes).go_on(known)
        time.sleep(min(waiting.seconds, 0.2) if waiting else 0)
    return attempt


def until_gone(connect: Callable[[], Target], name: str) -> None:
    """Delete it, as the operator does, by new clients each time."""
    deadline = time.monotonic() + LIMIT
    while isinstance(connect().delete(name), Waiting):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert connect().observe(name) is None
