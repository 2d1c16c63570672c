"""The drift reports in the artifact store, and what one run has to know of those before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from triplane import settings
from triplane.core.drift import STATES
from triplane.drift.report import markdown

LATEST = "latest"
HISTORY = 400
"""Runs whose counts are kept."""


def name(environment: str, run_id: str = LATEST) -> str:
    """Under this name the artifact store keeps a report as JSON, and with ``.md`` as Markdown."""
    return f"drift-reports/{environment}/{run_id}"


def put(report: Mapping[str, Any]) -> None:
    """Keep a report as the latest one, and as that of its run."""
    store = settings.artifact_store()
    data, text = json.dumps(report).encode(), markdown(report).encode()
    for run_id in (report["run_id"], LATEST):
        store.put_named(name(report["environment"], run_id), data)
        store.put_named(f"{name(report['environment'], run_id)}.md", text)


def report(environment: str, run_id: str = LATEST) -> dict[str, Any] | None:
    """The latest report, or that of a run; None if there is none."""
    return _get(name(environment, run_id))


def state(environment: str) -> dict[str, Any]:
    """``alarms`` (see :class:`triplane.drift.alarms.Alarms`), ``notified`` (the last run that has told) and ``history``:
    the counts of past runs, the oldest first."""
    found = _get(f"drift-reports/{environment}/state")
    return found or {"alarms": {}, "notified": "", "history": []}


def put_state(environment: str, value: Mapping[str, Any]) -> None:
    """Keep what :func:`state` returns."""
    settings.artifact_store().put_named(
        f"drift-reports/{environment}/state", json.dumps(dict(value)).encode()
    )


def with_entry(history: list[dict[str, Any]], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``history`` with the counts of a report; a run that reports again has one entry."""
    entry = {
        "run_id": found["run_id"],
        "at": found["at"],
        **{each: found[each] for each in STATES},
        "alarms": found["alarms"],
        "checked": found["coverage"]["checked"],
        "expected": found["coverage"]["expected"],
    }
    others = [each for each in history if each["run_id"] != found["run_id"]]
    return [*others, entry][-HISTORY:]


def _get(key: str) -> dict[str, Any] | None:
    data = settings.artifact_store().get_named(key)
    found: dict[str, Any] | None = None if data is None else json.loads(data)
    return found
