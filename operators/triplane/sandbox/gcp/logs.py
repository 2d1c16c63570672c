"""Cloud Logging: what the code of functions writes, by revision."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable

from triplane.sandbox.gcp.errors import invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import PROJECT, Body, Call, Handler

TERM = re.compile(r'resource\.(type|labels\.service_name|labels\.revision_name)="([^"]*)"')
KEPT = 1000


class Logs:
    """The last lines of each revision."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Body]] = defaultdict(list)

    def handlers(self) -> dict[str, Handler]:
        return {"logging.entries.list": self.list}

    def add(self, revision: str, lines: Iterable[str]) -> None:
        """Keep what a revision (its full name) wrote."""
        _, _, _, location, _, service, _, name = revision.split("/")
        labels = {
            "project_id": PROJECT, "service_name": service, "revision_name": name, "location": location
        }  # fmt: skip
        entries = self._entries[revision]
        for line in lines:
            stamp = timestamp()
            entries.append(
                {
                    "textPayload": line,
                    "insertId": uuid.uuid4().hex,
                    "resource": {"type": "cloud_run_revision", "labels": labels},
                    "timestamp": stamp,
                    "receiveTimestamp": stamp,
                    "severity": "DEFAULT",
                    "logName": f"projects/{PROJECT}/logs/run.googleapis.com%2Fstderr",
                }
            )
        del entries[:-KEPT]

    def list(self, call: Call) -> Body:
        """Of filters only equality of type, service and revision is known. Raises 400 for another one."""
        terms = [TERM.fullmatch(term.strip()) for term in call.body.get("filter", "").split(" AND ")]
        wanted = {term[1].removeprefix("labels."): term[2] for term in terms if term}
        if None in terms or call.body.get("orderBy") != "timestamp desc":
            raise invalid("filter", "the sandbox's log knows resource.type, service_name and revision_name")
        found = [
            entry
            for entries in self._entries.values()
            for entry in entries
            if {"type": entry["resource"]["type"], **entry["resource"]["labels"]}.items() >= wanted.items()
        ]
        return {"entries": found[::-1][: int(call.body.get("pageSize", 50))]}
