"""The URLs of Cloud Run services: who may ask, which revision answers, and what it says.

The code of Python functions really runs. The images of services do not: they answer with their revision's name.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triplane.sandbox.gcp import function_code
from triplane.sandbox.gcp.core_request import Request
from triplane.sandbox.gcp.functions import Built, Functions
from triplane.sandbox.gcp.logs import Logs
from triplane.sandbox.gcp.oauth import Tokens
from triplane.sandbox.gcp.state import Body, State

INVOKER = "roles/run.invoker"
NOT_FOUND = "<html><head><title>404 Page not found</title></head><body>Error: Page not found</body></html>"


@dataclass(frozen=True)
class Answered:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Ready:
    """The revision that shall answer."""

    revision: Body
    built: Built | None


class Serving:
    def __init__(self, state: State, tokens: Tokens, functions: Functions, logs: Logs) -> None:
        self._logs = logs
        self._state = state
        self._tokens = tokens
        self._functions = functions

    def find(self, request: Request, headers: Mapping[str, str]) -> Answered | Ready:
        """Which revision answers; or the refusal of Google's front end."""
        tag, _, host = request.host.rpartition("---")
        service = next(
            (body for name, body in self._state.resources.items()
             if "/services/" in name and body.get("uri") == f"https://{host}"), None,
        )  # fmt: skip
        if service is None or service["ingress"] != "INGRESS_TRAFFIC_ALL":
            return _text(404, NOT_FOUND)
        revision = self._revision(service, tag)
        if revision is None:
            return _text(404 if tag else 503, NOT_FOUND if tag else "Service Unavailable")
        if not self._allowed(service, headers.get("Authorization", "")):
            return _text(
                403, "Error: Forbidden. Your client does not have permission to get URL / from this server."
            )
        return Ready(revision, self._functions.built(revision["containers"][0]["image"]))

    def call(self, ready: Ready, request: Request, payload: bytes, headers: Mapping[str, str]) -> Answered:
        """What the revision says."""
        name = ready.revision["name"].rpartition("/")[2]
        built = ready.built
        if built is None or not built.runtime.startswith("python"):
            told = {"revision": name, "image": ready.revision["containers"][0]["image"]}
            return Answered(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        message = {
            "method": request.verb,
            "path": request.path,
            "query": "&".join(f"{key}={value}" for key, value in request.query),
            "headers": {key: value for key, value in headers.items() if key.lower() != "authorization"},
            "body": base64.b64encode(payload).decode(),
        }
        env = [*ready.revision["containers"][0].get("env", []), {"name": "K_REVISION", "value": name}]
        found = function_code.call(built.root, built.entry_point, env, message)
        self._logs.add(ready.revision["name"], found["log"])
        if "body" not in found:
            return _text(found["status"], "Service Unavailable")
        return Answered(found["status"], base64.b64decode(found["body"]), found["headers"])

    def _revision(self, service: Body, tag: str) -> Body | None:
        statuses = service["trafficStatuses"]
        if tag:
            chosen = next((status for status in statuses if status.get("tag") == tag), None)
        else:
            weights = [status.get("percent", 0) for status in statuses]
            chosen = random.choices(statuses, weights)[0] if any(weights) else None
        if chosen is None:
            return None
        latest = service.get("latestReadyRevision", "")
        full = f"{service['name']}/revisions/{chosen['revision']}" if "revision" in chosen else latest
        return self._state.resources.get(full)

    def _allowed(self, service: Body, authorization: str) -> bool:
        """Whether the caller may invoke; the sandbox's own account, an owner of the project, always may."""
        invokers = self._invokers(service["name"])
        if service.get("invokerIamDisabled") or "allUsers" in invokers:
            return True
        claims = self._tokens.id_claims(authorization.removeprefix("Bearer ")) if authorization else None
        if claims is None or claims["aud"] not in {service["uri"], *service.get("customAudiences", [])}:
            return False
        return claims["email"] == self._tokens.email or f"serviceAccount:{claims['email']}" in invokers

    def _invokers(self, name: str) -> set[str]:
        bindings: list[dict[str, Any]] = self._state.policies.get(name, {}).get("bindings", [])
        return {member for each in bindings if each["role"] == INVOKER for member in each.get("members", [])}


def _text(status: int, text: str) -> Answered:
    return Answered(status, text.encode(), {"Content-Type": "text/html; charset=UTF-8"})
