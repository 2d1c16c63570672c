"""What a reviewer reads: Markdown of the change sets that an approval would cover."""

from __future__ import annotations

from collections.abc import Sequence

from triplane.core.approval import Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.digest import digest

MAX_LINES = 30
CLOUDS = {"aws": "AWS", "gcp": "Google Cloud", "azure": "Azure"}


def review_digest(change_sets: Sequence[ChangeSet]) -> str:
    """One digest over all change sets that are reviewed together; the reviewer's form carries it."""
    return digest({change_set.cloud: change_set.digest for change_set in change_sets})


def subject(change_sets: Sequence[ChangeSet]) -> str:
    """One line: what is to be deployed where, and how risky it is."""
    first = change_sets[0]
    changed = sum(len(change_set.changed) for change_set in change_sets)
    clouds = ", ".join(CLOUDS.get(change_set.cloud, change_set.cloud) for change_set in change_sets)
    return f"{first.platform} to {first.environment} ({clouds}): {changed} changes, risk {_risk(change_sets)}"


def body(change_sets: Sequence[ChangeSet], requester: str) -> str:
    """The change sets cloud by cloud, with their digests."""
    policy = Policy.from_json(change_sets[0].policy)
    needed = max(Policy.from_json(item.policy).needed(item.risk) for item in change_sets)
    head = (
        f"Asked for by **{requester}**, revision `{change_sets[0].revision}`. "
        f"{needed} approval(s) needed; a decision holds for {policy.expires / 3600:g} h."
    )
    return "\n\n".join([head, *(_cloud(change_set) for change_set in change_sets)]) + "\n"


def _risk(change_sets: Sequence[ChangeSet]) -> Risk:
    return max(change_set.risk for change_set in change_sets)


def _cloud(change_set: ChangeSet) -> str:
    title = f"## {CLOUDS.get(change_set.cloud, change_set.cloud)}: risk {change_set.risk}\n\n`{change_set.digest}`"
    unchanged = [change.address for change in change_set.changes if not change.changed]
    parts = [title, *(_component(change) for change in change_set.changed)]
    if unchanged:
        parts.append(f"Unchanged: {', '.join(unchanged)}")
    return "\n\n".join(parts)


def _component(change: ComponentChange) -> str:
    lines = [_plain(line) for line in change.lines[:MAX_LINES]]
    if len(change.lines) > MAX_LINES:
        lines.append(f"... and {len(change.lines) - MAX_LINES} more")
    listed = "\n".join(["```text", *lines, "```"]) if lines else ""
    return f"**{change.address}**: {change.action}, risk {change.risk}. {_plain(change.summary)}\n{listed}".rstrip()


def _plain(line: str) -> str:
    """A line that cannot end the block of code it stands in."""
    return line.replace("`", "'").replace("\r", " ").replace("\n", " ")
