"""What people are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Event = Literal[
    "approval_needed", "reminder", "deployed", "failed", "rolled_back", "drift_found", "drift_cured"
]
EVENTS: tuple[str, ...] = get_args(Event)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message. ``text`` is Markdown, ``link`` where to act or to read on; messages of one ``thread`` belong
    together (the id of the run that they are about)."""

    event: Event
    environment: str
    subject: str
    text: str
    link: str = ""
    thread: str = ""
