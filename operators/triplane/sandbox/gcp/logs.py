"""Cloud Logging: what the code of functions writes, by revision, and what builds write."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable

from triplane.sandbox.gcp.errors import invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import PROJECT, Body, Call, Handler

TERM = re.compile(r'resource\.(type|labels\.(?:service_name|revision_name|build_id))="([^"]*)"')
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
        self._add(revision, "cloud_run_revision", labels, "run.googleapis.com%2Fstderr", lines)

    def add_build(self, build: str, lines: Iterable[str]) -> None:
        """Keep what a build (its id) wrote."""
        labels = {"project_id": PROJECT, "build_id": build}
        self._add(build, "build", labels, "cloudbuild", lines)

    def _add(self, key: str, kind: str, labels: Body, log: str, lines: Iterable[str]) -> None:
        entries = self._entries[key]
        for line in lines:
            stamp = timestamp()
            entries.append(
                {
                    "textPayload": line,
                    "insertId": uuid.uuid4().hex,
                    "resource": {"type": kind, "labels": labels},
                    "timestamp": stamp,
                    "receiveTimestamp": stamp,
                    "severity": "DEFAULT",
                    "logName": f"projects/{PROJECT}/logs/{log}",
                }
            )
        del entries[:-KEPT]

    def list(self, call: Call) -> Body:
        """Of filters only equality of type, service and revision is known. Raises 400 for another one."""
        terms = [TERM.fullmatch(term.strip()) for term in call.body.get("filter", "").split(" AND ")]
        wanted = {term[1].removeprefix("labels."): term[2] for term in terms if term}
        if None in terms or call.body.get("orderBy") != "timestamp desc":
            known = "resource.type, service_name, revision_name and build_id"
            raise invalid("filter", f"the sandbox's log knows {known}")
        found = [
            entry
            for entries in self._entries.values()
            for entry in entries
            if {"type": entry["resource"]["type"], **entry["resource"]["labels"]}.items() >= wanted.items()
        ]
        return {"entries": found[::-1][: int(call.body.get("pageSize", 50))]}
