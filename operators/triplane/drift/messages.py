"""What people are told of drift: one message for all that is new in a run, one for all that is cured. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from triplane.drift.report import GROUPS_SHOWN, group_line
from triplane.notify.message import Message

if TYPE_CHECKING:
    from triplane.drift.alarms import Alarms

CURED_SHOWN = 20


def messages(report: Mapping[str, Any], alarms: Alarms, link: str = "") -> Iterator[Message]:
    """None where nothing is new and nothing is cured."""
    environment, platform, thread = report["environment"], report["platform"], report["run_id"]
    if alarms.new:
        groups = [group for group in report["groups"] if group["new"]]
        lines = [group_line(group) for group in groups[:GROUPS_SHOWN]]
        if len(groups) > GROUPS_SHOWN:
            lines.append(f"- and {len(groups) - GROUPS_SHOWN} more causes")
        if report.get("repair"):
            lines += ["", f"The deployment {report['repair']} that puts it back waits for approval."]
        lines += ["", f"The whole report is kept as `{report['kept_as']}`."]
        yield Message(
            event="drift_found",
            environment=environment,
            subject=f"{platform} {environment}: {_count(len(alarms.new), 'drift')} of {_count(len(groups), 'cause')}",
            text="\n".join(lines),
            link=link,
            thread=thread,
        )
    if alarms.cured:
        lines = [f"- {alarm['address']}: {alarm['resource']}" for alarm in alarms.cured.values()]
        if len(lines) > CURED_SHOWN:
            lines = [*lines[:CURED_SHOWN], f"- and {len(lines) - CURED_SHOWN} more"]
        yield Message(
            event="drift_cured",
            environment=environment,
            subject=f"{platform} {environment}: {_count(len(alarms.cured), 'drift')} cured",
            text="\n".join(lines),
            link=link,
            thread=thread,
        )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
