"""The report of a rollout over all clouds: rows for people and for the next program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triplane.core.change import Result

COLUMNS = ("cloud", "component", "version", "state", "seconds")
FINISHED = ("deployed", "unchanged", "destroyed")
HELD = "held"
"""A cloud that somebody held back when he approved the others."""


def row(cloud: str, address: str, task_state: str, result: Result | None) -> dict[str, Any]:
    """One component: its result if its task has one, else the state of its task.

    A failed task may leave a result that says what serves now (``rolled_back``).
    """
    done = task_state == "success"
    if result is None or done != (result.state in FINISHED):
        state = {"upstream_failed": "not started", "success": "unknown"}.get(task_state, task_state)
        return _row(cloud, address, state=state)
    return _row(cloud, address, result.version, result.state, round(result.seconds, 1))


def _row(
    cloud: str, address: str, version: str = "", state: str = "", seconds: float = 0.0
) -> dict[str, Any]:
    component = address.partition("/")[2]
    return {"cloud": cloud, "component": component, "version": version, "state": state, "seconds": seconds}


def held(cloud: str, addresses: Iterable[str]) -> list[dict[str, Any]]:
    """The components of a cloud that was held back."""
    return [_row(cloud, address, state=HELD) for address in addresses]


def problems(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each cloud in which something did not finish; names the components."""
    found = []
    for cloud in dict.fromkeys(item["cloud"] for item in rows):
        mine = [item for item in rows if item["cloud"] == cloud]
        bad = [
            f"{item['component']} {item['state']}" for item in mine if item["state"] not in (*FINISHED, HELD)
        ]
        if bad:
            good = sum(item["state"] in FINISHED for item in mine)
            found.append(f"{cloud}: {', '.join(bad)} ({good} of {len(mine)} components are as approved)")
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as aligned lines of text, with a heading."""
    cells = [COLUMNS, *(tuple(_cell(item[name]) for name in COLUMNS) for item in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _cell(value: Any) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    name, at, digest = text.rpartition("sha256:")
    return f"{name}{at}{digest[:12]}" if at else text
