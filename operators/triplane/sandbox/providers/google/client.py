"""Google Cloud REST calls and their long-running operations."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from triplane.sandbox.providers.http import Reply, Request, send, wait
from triplane.sandbox.providers.schema import CloudError, State

PROJECT_NAMES = ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
REGION_NAMES = ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION")
ROOTS = {
    "compute": "/compute/v1/",
    "container": "/v1/",
    "iam": "/v1/",
    "pubsub": "/v1/",
    "sqladmin": "/sql/v1beta4/",
    "storage": "/storage/v1/",
}


@dataclass(frozen=True)
class Google:
    """One project, with a default region and an access token."""

    project: str
    region: str | None
    token: str

    def call(
        self, api: str, method: str, path: str, body: Any = None, query: Mapping[str, str] = {}
    ) -> dict[str, Any]:
        """Call ``api``; ``path`` is relative to its root."""
        headers = {"authorization": f"Bearer {self.token}"}
        data = b""
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        target = ROOTS[api] + path + (f"?{urlencode(query)}" if query else "")
        host = f"{api}.googleapis.com"
        request = Request(method=method, host=host, path=target, headers=headers, body=data)
        answer = send(request, _explain).json()
        return dict(answer)

    def act(self, api: str, method: str, path: str, body: Any = None) -> None:
        """Call ``api`` and wait until the operation that it answers with is done."""
        operation = self.call(api, method, path, body)
        place = self._operation_path(api, path, operation["name"])

        def done() -> bool:
            now = self.call(api, "GET", place)
            if now.get("error"):
                raise CloudError(f"{method} {path}: {_operation_error(now['error'])}")
            return bool(now["status"] == "DONE")

        wait(done, f"{method} {path}")

    def _operation_path(self, api: str, path: str, name: str) -> str:
        """The operation beside the resource: in its project, region or location."""
        parts = path.split("/")
        if api == "sqladmin":
            return f"projects/{parts[1]}/operations/{name}"
        scope = parts[:3] if parts[2] == "global" else parts[:4]
        return f"{'/'.join(scope)}/operations/{name}"

    def place(self, state: State) -> str:
        """The region of a resource, or the provider's."""
        region = state.get("region") or state.get("location") or self.region
        if not region:
            raise CloudError("no region: set it on the resource, on the provider or as GOOGLE_REGION")
        return str(region)


def connect(config: State) -> Google:
    """From the provider's arguments and the environment. CloudError when the project or the token is missing."""
    project = config.get("project") or _first(PROJECT_NAMES)
    token = config.get("access_token") or os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN")
    if not project:
        raise CloudError("no project: set GOOGLE_PROJECT or the provider's project")
    if not token:
        raise CloudError("no credentials: set GOOGLE_OAUTH_ACCESS_TOKEN")
    return Google(project, config.get("region") or _first(REGION_NAMES), token)


def _first(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def relative(link: str) -> str:
    """``projects/p/...`` of a self link; anything else stays as it is."""
    _, found, rest = link.partition("/projects/")
    return f"projects/{rest}" if found else link


def as_known(known: Any, link: str) -> str:
    """A link in the form that the configuration uses (an id, a self link or a name), if it is the same."""
    if isinstance(known, str) and known and relative(link).endswith(relative(known)):
        return known
    return relative(link)


LABELS = {
    "effective_labels": "computed map(string) copies={name}",
    "terraform_labels": "computed map(string) copies={name}",
}


def label_lines(name: str) -> dict[str, str]:
    """The attributes that every resource with labels has; the ones to set are called ``name``."""
    return {name: "optional map(string)"} | {key: line.format(name=name) for key, line in LABELS.items()}


def seen_labels(name: str, state: State, labels: Mapping[str, str] | None) -> State:
    """Labels as the provider shows them: those that were asked for, and all."""
    found = dict(labels or {})
    asked = state.get(name) or {}
    mine = {key: value for key, value in found.items() if key in asked}
    return {name: mine, "effective_labels": found, "terraform_labels": mine}


def _operation_error(error: Any) -> str:
    items = error.get("errors") or [error]
    return "; ".join(str(item.get("message") or item) for item in items)


def _explain(reply: Reply) -> str:
    try:
        error = reply.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return reply.body[:300].decode(errors="replace")
