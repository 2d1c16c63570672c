"""Long findings in a few lines: what belongs together is counted, and a few of it are named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from triplane.notify.message import Message

GROUPS = 20
"""So many groups are listed, the largest first."""
NAMED = 5
"""So many members of each."""


def drift_messages(
    components: Sequence[Mapping[str, Any]], *, environment: str, thread: str = "", link: str = ""
) -> list[Message]:
    """What people are told about a drift check: ``drift_found`` if anything in it is new, ``drift_cured``, or nothing.

    :param components: those of the report, see :mod:`triplane.drift.report`
    """
    drifted = list(_drifted(components))
    cured = [
        (item["address"].partition("/")[0], name) for item in components for name in item.get("cured", ())
    ]
    about: dict[str, str] = {"environment": environment, "thread": thread, "link": link}
    messages = []
    new = sum(
        resource.get("first_seen") == resource.get("last_seen")
        for item in components
        for resource in item.get("resources", ())
    )
    if drifted and new:
        touched = sum(item["state"] == "drifted" for item in components)
        subject = (
            f"Drift in {environment}: {_many(len(drifted), 'difference')} in {_many(touched, 'component')}"
            + (f", {new} of them new" if new < len(drifted) else "")
        )
        messages.append(Message(event="drift_found", subject=subject, text=listing(drifted), **about))
    if cured:
        subject = f"Drift is gone in {environment}: {_many(len(cured), 'difference')}"
        messages.append(Message(event="drift_cured", subject=subject, text=listing(cured), **about))
    return messages


def listing(found: Sequence[tuple[str, str]]) -> str:
    """``(group, member)`` pairs as a Markdown list of the groups, with counts."""
    groups: dict[str, list[str]] = {}
    for group, member in found:
        groups.setdefault(group, []).append(member)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = [f"- **{group}**: {_members(members)}" for group, members in ordered[:GROUPS]]
    if rest := ordered[GROUPS:]:
        count = sum(len(members) for _, members in rest)
        lines.append(f"- and {_many(len(rest), 'group')} more with {_many(count, 'difference')}")
    return "\n".join(lines)


def _drifted(components: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Each difference, in the group of those of the same cloud, the same type and the same attributes."""
    for item in components:
        cloud = item["address"].partition("/")[0]
        for resource in item.get("resources", ()) if item["state"] == "drifted" else ():
            names = sorted({attribute["name"] for attribute in resource.get("attributes", ())})
            what = ", ".join(names[:NAMED]) or resource.get("action", "changed")
            address = resource["address"]
            yield f"{cloud} {_type(address)}: {what}", f"`{address}`"


def _type(address: str) -> str:
    """``aws_vpc`` of ``module.net["a"].aws_vpc.main``, ``deployment`` of ``deployment shop/api``."""
    if " " in address:
        return address.partition(" ")[0]
    return re.sub(r"\[[^]]*]", "", address).rpartition(".")[0].rpartition(".")[2] or address


def _members(members: Sequence[str]) -> str:
    if len(members) == 1:
        return members[0]
    more = f" and {len(members) - NAMED} more" if len(members) > NAMED else ""
    return f"{len(members)}: {', '.join(members[:NAMED])}{more}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
