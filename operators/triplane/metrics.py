"""Triplane's own metrics, through Airflow's: StatsD, Datadog or OpenTelemetry, whatever ``[metrics]`` says.

All times are timers in milliseconds. What tells series apart are tags, see ``docs/guides/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

ROLLOUTS, COMPONENTS, VERDICTS, WAITING, DRIFT = (
    "triplane.rollout.duration",
    "triplane.component.duration",
    "triplane.gate.verdicts",
    "triplane.approval.waiting",
    "triplane.drift.components",
)


def rollout(labels: Mapping[str, str], begun: datetime, results: Sequence[Mapping[str, Any]]) -> None:
    """A rollout has ended: the time since its run began, and that of each component that it looked at.

    :param labels: tags of the rollout: platform, environment, cloud, intent, outcome
    """
    _since(ROLLOUTS, begun, datetime.now(begun.tzinfo), labels)
    place = {name: labels[name] for name in ("environment", "cloud")}
    for result in results:
        _, kind, name = result["address"].split("/", 2)
        tags = {**place, "kind": kind, "component": name, "state": result["state"]}
        _timing(COMPONENTS, float(result.get("seconds") or 0.0), tags)


def verdict(gate: str, state: str) -> None:
    """A gate has judged: ``pass``, ``fail``, ``no_data``, or ``waived`` where a person let it go on without data."""
    from airflow.sdk.observability import stats

    stats.incr(VERDICTS, tags=_tags({"gate": gate, "verdict": state}))


def waiting(
    asked: Literal["approval", "gate"], answer: str, since: datetime, until: datetime, environment: str
) -> None:
    """A person has answered (``approved``, ``rejected``), or nobody has (``expired``)."""
    _since(WAITING, since, until, {"asked": asked, "answer": answer, "environment": environment})


def drift(platform: str, environment: str, counts: Mapping[str, int]) -> None:
    """How many components the last drift check found in each state."""
    from airflow.sdk.observability import stats

    for state, count in counts.items():
        tags = {"platform": platform, "environment": environment, "state": state}
        stats.gauge(DRIFT, count, tags=_tags(tags))


def _since(name: str, since: datetime, until: datetime, tags: Mapping[str, str]) -> None:
    _timing(name, max(0.0, (until - since).total_seconds()), tags)


def _timing(name: str, seconds: float, tags: Mapping[str, str]) -> None:
    from airflow.sdk.observability import stats

    stats.timing(name, seconds * 1000, tags=_tags(tags))


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Those that say something, without what a line of StatsD would be cut at."""
    return {name: value.replace("|", "_").replace(":", "_") for name, value in tags.items() if value}
