"""The log of a Cloud Run revision, from Cloud Logging."""

from __future__ import annotations

from typing import Any, Final

from triplane.core.errors import TriplaneError
from triplane.serverless.google.api import google_errors

URL: Final = "https://logging.googleapis.com/v2/entries:list"
CALL_SECONDS: Final = 10.0
LINES: Final = 20


class CloudLogs:
    """``session`` is a ``google.auth.transport.requests.AuthorizedSession``."""

    def __init__(self, session: Any, project: str) -> None:
        self._session = session
        self._project = project

    def last(self, service: str, version: str) -> tuple[str, ...]:
        """The last lines of a revision, oldest first; none where we may not read the log, or cannot now.

        What was written in the last seconds may not be there yet.
        """
        wanted = {"service_name": service, "revision_name": version}
        labels = [f'resource.labels.{key}="{value}"' for key, value in wanted.items()]
        body = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": " AND ".join(['resource.type="cloud_run_revision"', *labels]),
            "orderBy": "timestamp desc",
            "pageSize": LINES,
        }
        try:
            with google_errors(service):
                answer = self._session.post(URL, json=body, timeout=CALL_SECONDS)
        except TriplaneError:
            return ()
        entries = answer.json().get("entries", []) if answer.ok else []
        return tuple(filter(None, (_text(each) for each in reversed(entries))))


def _text(entry: dict[str, Any]) -> str:
    """An entry's text; requests are entries without one."""
    return str(entry.get("textPayload") or entry.get("jsonPayload", {}).get("message", "")).rstrip()
