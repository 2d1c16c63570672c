"""Event sources that were deployed and are not in the spec any more, as the ledger knows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from triplane.core.ledger import Entry

EVENT_SOURCE = "event_source"


class Deployed(NamedTuple):
    """One event source at its cloud: what is needed to find it there again."""

    address: str
    target: str
    name: str
    conn_id: str
    region: str | None = None
    project: str | None = None
    resource_group: str | None = None

    @property
    def here(self) -> tuple[str | None, ...]:
        """What makes it this one and no other."""
        return (self.target, self.name, self.region, self.project, self.resource_group)

    @property
    def leftover(self) -> str:
        """Its address once it has left the spec: ``aws/leftover/schedule.<name at the cloud>@<region>``."""
        cloud, kind, _ = self.address.split("/")
        return f"{cloud}/leftover/{kind}.{self.name}{f'@{self.region}' if self.region else ''}"

    def arguments(self) -> dict[str, Any]:
        """The arguments of its operators."""
        return dict(self._asdict())


def body(deployed: Deployed, *, there: bool) -> dict[str, Any]:
    """What the ledger's entry says: that it is about to be made, or is deleted."""
    return {**deployed.arguments(), "there": there}


def last(entries: Iterable[Entry]) -> dict[tuple[str | None, ...], tuple[Deployed, bool]]:
    """Every event source that ever was, and whether it may be there."""
    found = {}
    for entry in entries:
        if entry.kind == EVENT_SOURCE:
            known = {**entry.body}
            there = bool(known.pop("there"))
            deployed = Deployed(**known)
            found[deployed.here] = (deployed, there)
    return found


def leftovers(entries: Iterable[Entry], wanted: Iterable[Deployed]) -> list[Deployed]:
    """What may be there and is not ``wanted``, by address."""
    ours = {deployed.here for deployed in wanted}
    found = (deployed for here, (deployed, there) in last(entries).items() if there and here not in ours)
    return sorted(found, key=lambda deployed: deployed.leftover)
