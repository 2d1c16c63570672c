"""Where messages go: what a route of the spec is once it reaches a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triplane.core.errors import InputError
from triplane.notify.message import EVENTS, Message

CHANNELS = ("slack", "teams", "email", "webhook", "sns", "pubsub", "event_grid")


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way to people or programs. ``options`` are those of the channel's module in ``notify.channels``.

    ``events`` and ``environments`` are those that are wanted, empty for all; ``template`` is the text in Jinja.
    """

    name: str
    channel: str
    options: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    template: str = ""
    platform: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Route:
        """A route from plain values. :raises InputError: there is no such channel or event, or a key is unknown"""
        try:
            route = cls(
                **{
                    **value,
                    "events": tuple(value.get("events", ())),
                    "environments": tuple(value.get("environments", ())),
                }
            )
        except TypeError as error:
            raise InputError(f"not a route for messages: {error}") from None
        if route.channel not in CHANNELS:
            raise InputError(
                f"route {route.name}: {route.channel!r} is not a channel; use one of {', '.join(CHANNELS)}"
            )
        if unknown := [event for event in route.events if event not in EVENTS]:
            raise InputError(
                f"route {route.name}: there is no event {unknown[0]!r}; events are {', '.join(EVENTS)}"
            )
        return route

    def wants(self, message: Message) -> bool:
        """Whether this message goes here."""
        return (not self.events or message.event in self.events) and (
            not self.environments or message.environment in self.environments
        )
