"""The comment of a pull request: what a run would change, in every cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from triplane.core.words import cloud, plain, urgent_first

if TYPE_CHECKING:
    from triplane.core.change import ChangeSet, ComponentChange

LIMIT = 60_000
"""Characters: GitHub takes 65,536."""
ROWS = 100
"""So many components are in the tables, over all clouds."""
WIDTH = 300


def marker(platform: str, environment: str) -> str:
    """What our comment is found again by; nobody sees it."""
    return f"<!-- triplane: {platform}/{environment} -->"


def body(change_sets: Sequence[ChangeSet], *, link: str = "", decision: str = "", needed: int = 0) -> str:
    """Markdown that both forges show.

    :param link: the run
    :param decision: where it is approved
    :param needed: how many approvals it needs, 0 if nobody is asked
    """
    first = change_sets[0]
    changed = sum(len(change_set.changed) for change_set in change_sets)
    risk = max(change_set.risk for change_set in change_sets)
    intent = {"rollback": "rollback of ", "destroy": "destruction of "}.get(first.intent, "")
    head = [
        f"### Triplane: {intent}{first.platform} in {first.environment}: {changed} changes, risk {risk}",
        f"Planned from `{first.revision}`" + (f" in [this run]({link})." if link else "."),
    ]
    if needed:
        ask = f"[Approve or reject]({decision})" if decision else "Approve or reject in Airflow"
        head.append(f"**{ask}**: {needed} approval(s) needed.")
    elif changed:
        head.append("Nobody is asked to approve it in this run.")
    room = ROWS
    parts = []
    for change_set in change_sets:
        parts.append(_table(change_set, room))
        room -= min(room, len(change_set.changed))
    text = "\n\n".join([*head, *parts])
    return _with_details(text, change_sets)


def _table(change_set: ChangeSet, room: int) -> str:
    title = f"#### {cloud(change_set.cloud)}: risk {change_set.risk}"
    ordered = urgent_first(change_set.changed)
    left = [f"`{each.address}`" for each in change_set.changes if each.left_behind]
    behind = f"\n\nLeft behind, not in the spec any more: {', '.join(left[:ROWS])}" if left else ""
    if not ordered:
        return f"{title}\n\nNo changes.{behind}"
    rows = [
        f"| `{change.address}` | {change.action} | {change.risk} | {_cell(change.summary)} |"
        for change in ordered[:room]
    ]
    more = [f"\nand {len(ordered) - room} more components."] if len(ordered) > room else []
    return (
        "\n".join([title, "", "| component | action | risk | |", "|---|---|---|---|", *rows, *more]) + behind
    )


def _with_details(text: str, change_sets: Sequence[ChangeSet]) -> str:
    """Each component's lines in a folded block, as many as there is room for."""
    for change_set in change_sets:
        for change in urgent_first(change_set.changed):
            if not change.lines:
                continue
            block = _details(change)
            if len(text) + len(block) + 100 > LIMIT:
                return f"{text}\n\nThe rest is in the run."
            text = f"{text}\n\n{block}"
    return text


def _details(change: ComponentChange) -> str:
    lines = "\n".join(plain(line, WIDTH) for line in change.lines[:200])
    more = f"\n... and {len(change.lines) - 200} more" if len(change.lines) > 200 else ""
    return f"<details><summary>{change.address}</summary>\n\n```diff\n{lines}{more}\n```\n\n</details>"


def _cell(text: str) -> str:
    """Text that stays within its cell: no Markdown, no HTML, and nobody is mentioned."""
    cell = plain(text, WIDTH).replace("|", "/").replace("<", "&lt;")
    for character in "@#[]*_~!":
        cell = cell.replace(character, f"&#{ord(character)};")
    return cell
