"""What people are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from triplane.core.digest import digest

Event = Literal[
    "approval_needed", "reminder", "deployed", "failed", "rolled_back", "drift_found", "drift_cured"
]
EVENTS: tuple[str, ...] = get_args(Event)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message. ``text`` is Markdown, ``link`` where to act or to read on; messages of one ``thread`` belong
    together (the id of the run that they are about).

    A thread has one message of each event, however often its task is tried. ``key`` tells apart those that
    are meant to be several; reminders are told apart by what they say.
    """

    event: Event
    environment: str
    subject: str
    text: str
    link: str = ""
    thread: str = ""
    key: str = ""

    @property
    def identity(self) -> str:
        """The same for every try to send this message."""
        key = self.key or (digest([self.subject, self.text]) if self.event == "reminder" else "")
        return digest([self.event, self.environment, self.thread, key])
