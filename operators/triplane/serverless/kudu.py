"""The deployment host of a function app (``<app>.scm.azurewebsites.net``): packages go in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from triplane.core.errors import TerminalError, TransientError
from triplane.serverless.target import DeployFailed

FAILED, SUCCESS = 3, 4
POLL_SECONDS = 1.0
# The host restarts when settings change, and takes one deployment at a time.
BUSY = frozenset({409, 429, 500, 502, 503, 504})
BUSY_SECONDS = 120.0
DEPLOY_SECONDS = 900.0
REQUEST_SECONDS = 300.0


@dataclass(frozen=True)
class Deployment:
    """One package that was sent; ``message`` is what its sender wrote to it."""

    id: str
    message: str
    active: bool

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Deployment:
        return cls(str(value["id"]), str(value.get("message") or ""), bool(value.get("active")))


class Kudu:
    """``token`` gives an access token for Resource Manager, which this host takes too."""

    def __init__(self, host: str, token: Callable[[], str]) -> None:
        self._base = f"https://{host}/api"
        self._token = token

    def active(self) -> Deployment | None:
        """The deployment whose package serves, None when nothing was deployed."""
        found = [Deployment.read(item) for item in self._request("GET", "/deployments").json()]
        return next((item for item in found if item.active), None)

    def download(self) -> bytes:
        """The files that serve now, as a zip archive."""
        return bytes(self._request("GET", "/zip/site/wwwroot/").content)

    def push(self, package: bytes, message: str) -> str:
        """Deploys a package and waits for its end; the id of its deployment.

        :raises DeployFailed: the host refused the package; what served before still does
        """
        query = {"isAsync": "true", "deployer": "triplane", "message": message}
        answer = self._request("POST", "/zipdeploy", params=query, data=package, patient=True)
        path = answer.headers.get("Location", "").partition("/api")[2] or "/deployments/latest"
        deadline = time.monotonic() + DEPLOY_SECONDS
        while True:
            state = self._request("GET", path.partition("?")[0]).json()
            if state.get("complete") or state.get("status") in (FAILED, SUCCESS):
                break
            if time.monotonic() > deadline:
                raise DeployFailed(f"deployment {state.get('id')} did not end in {DEPLOY_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        if state.get("status") != SUCCESS:
            raise DeployFailed(f"deployment {state['id']} failed: {self.why(state)}")
        return str(state["id"])

    def why(self, state: Mapping[str, Any]) -> str:
        """The last line of a deployment's log."""
        log = self._request("GET", f"/deployments/{state['id']}/log").json()
        return str(log[-1].get("message") if log else state.get("status_text") or "no reason given")

    def _request(self, method: str, path: str, *, patient: bool = False, **options: Any) -> Any:
        """One request; a busy host is asked again for a while. Idempotent requests always are."""
        import requests

        deadline = time.monotonic() + (BUSY_SECONDS if patient or method == "GET" else 0)
        while True:
            headers = {"Authorization": f"Bearer {self._token()}"}
            try:
                answer = requests.request(
                    method, self._base + path, headers=headers, timeout=REQUEST_SECONDS, **options
                )
            except requests.RequestException as error:
                raise TransientError(f"{self._base} could not be reached: {error}") from error
            if answer.ok:
                return answer
            text = f"{method} {self._base}{path} answered {answer.status_code}: {answer.text[:300]}"
            if answer.status_code not in BUSY:
                raise TerminalError(text)
            if time.monotonic() > deadline:
                raise TransientError(text)
            time.sleep(float(answer.headers.get("Retry-After") or POLL_SECONDS))
