"""The deployment host of a function app or slot (``<app>.scm.azurewebsites.net``): packages go in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from triplane.core.errors import TerminalError
from triplane.serverless.azure.calls import Busy

FAILED, SUCCESS = 3, 4
# The host restarts when settings change, and takes one deployment at a time.
BUSY = frozenset({409, 429, 500, 502, 503, 504})
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
UPLOAD_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One package that was sent; ``message`` is what its sender wrote to it."""

    id: str
    message: str
    active: bool
    status: int
    complete: bool
    ended: datetime | None = None

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Deployment:
        status = int(value.get("status") or 0)
        ended = value.get("end_time")
        return cls(
            id=str(value["id"]),
            message=str(value.get("message") or ""),
            active=bool(value.get("active")),
            status=status,
            complete=bool(value.get("complete")) or status in (FAILED, SUCCESS),
            ended=_time(str(ended)) if ended else None,
        )


class Kudu:
    """``token`` gives an access token for Resource Manager, which this host takes too.

    Every call makes one request. Where the host restarts, is busy or cannot be reached, it raises ``Busy``.
    """

    def __init__(self, host: str, token: Callable[[], str]) -> None:
        self._base = f"https://{host}/api"
        self._token = token
        self._now = datetime.now(UTC)

    def deployments(self) -> list[Deployment]:
        """All deployments, the newest first."""
        return [Deployment.read(item) for item in self._request("GET", "/deployments").json()]

    def age(self, deployment: Deployment) -> float:
        """Seconds since it ended, by the host's own clock; 0 while it runs."""
        return (self._now - deployment.ended).total_seconds() if deployment.ended else 0.0

    def download(self) -> bytes:
        """The files that serve now, as a zip archive."""
        return bytes(self._request("GET", "/zip/site/wwwroot/").content)

    def push(self, package: bytes, message: str) -> None:
        """Sends a package; its deployment is found by ``message`` among :meth:`deployments`."""
        query = {"isAsync": "true", "deployer": "triplane", "message": message}
        self._request(
            "POST", "/zipdeploy", params=query, data=package, timeout=(CONNECT_SECONDS, UPLOAD_SECONDS)
        )

    def why(self, deployment: Deployment) -> str:
        """The last line of a deployment's log."""
        log = self._request("GET", f"/deployments/{deployment.id}/log").json()
        return str(log[-1].get("message") if log else "no reason given")

    def log(self, lines: int = 100) -> Sequence[str]:
        """The last lines of the newest log of the app's containers."""
        files = self._request("GET", "/logs/docker").json()
        newest = max(files, key=lambda item: str(item.get("lastUpdated")), default=None)
        if newest is None:
            return ()
        path = str(newest["href"]).partition("/api")[2]
        return tuple(self._request("GET", path).text.splitlines()[-lines:])

    def _request(self, method: str, path: str, **options: Any) -> Any:
        import requests

        url = self._base + path
        headers = {"Authorization": f"Bearer {self._token()}"}
        options = {"timeout": (CONNECT_SECONDS, READ_SECONDS), **options}
        try:
            answer = requests.request(method, url, headers=headers, **options)
        except requests.RequestException as error:
            raise Busy(f"{self._base} could not be reached: {error}") from error
        self._now = _http_time(answer.headers.get("Date")) or datetime.now(UTC)
        if answer.ok:
            return answer
        text = f"{method} {url} answered {answer.status_code}: {answer.text[:300]}"
        # A token that has just ended is taken for busy too: the next call brings a new one.
        if answer.status_code in BUSY or (answer.status_code == 401 and "Expired" in answer.text):
            raise Busy(text)
        raise TerminalError(text)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _http_time(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
