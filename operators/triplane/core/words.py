"""Words for people, the same wherever they read of a change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triplane.core.change import ComponentChange

CLOUDS = {"aws": "AWS", "gcp": "Google Cloud", "azure": "Azure"}


def cloud(name: str) -> str:
    """A cloud by the name that people know."""
    return CLOUDS.get(name, name)


def plain(text: str, width: int) -> str:
    """One line of at most ``width`` characters that cannot end the block of code it stands in."""
    line = text.replace("`", "'").replace("\r", " ").replace("\n", " ")
    return line if len(line) <= width else line[: width - 1] + "…"


def urgent_first(changes: Iterable[ComponentChange]) -> list[ComponentChange]:
    """What is denied comes first, then the riskiest."""
    return sorted(changes, key=lambda change: (not change.denied, -change.risk))
