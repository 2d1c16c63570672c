"""What a person says to a gate that has no data: may the deployment go on all the same?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from triplane.core.errors import RefusedError
from triplane.core.signed import Answer

WAIVER = "waiver"
"""The ledger's kind of entry for one; its body is the waiver, and why it does not count (``refused``)."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Who may answer, and for how long, in seconds. No ``approvers``: anybody whom Airflow lets respond."""

    approvers: tuple[str, ...] = ()
    within: float = 86400.0
    requester_may_approve: bool = False
    notify: tuple[Mapping[str, Any], ...] = ()
    """Whom to tell that somebody is asked, see :func:`triplane.notify.send.notify`."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Terms:
        """From plain values. :raises RefusedError: they are none"""
        try:
            lists = {name: tuple(value.get(name) or ()) for name in ("approvers", "notify")}
            return cls(**{**value, **lists})
        except TypeError as error:
            raise RefusedError(f"`ask`: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Waiver(Answer):
    """One person's answer, signed by the task that asked, ``task_id``, about ``gate``.

    It holds for the verdict with this digest; with ``later``, for what the same gate does not see later in the same
    run too. Never for a gate that fails.
    """

    task_id: str
    map_index: int = -1
    gate: str
    verdict: str
    later: bool = False

    @property
    def said(self) -> str:
        """For people: who let it go on, and why."""
        return f"{self.responder} let it go on" + (f": {self.reason}" if self.reason else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values for XCom and the ledger."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Waiver:
        """The inverse of :meth:`to_json`; what else is in ``value`` is left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: given for name, given in value.items() if name in names})


def problem(waiver: Waiver, terms: Terms, *, until: datetime) -> str:
    """Why ``waiver`` lets nothing go on; empty if it does."""
    who = waiver.responder
    if not waiver.approved:
        return f"rejected by {who}" + (f": {waiver.reason}" if waiver.reason else "")
    if datetime.fromisoformat(waiver.decided_at) > until:
        return f"{who} answered too late, the question ended at {until.isoformat()}"
    return waiver.barred(terms.approvers, requester_may_approve=terms.requester_may_approve)


def covers(waiver: Waiver, keys: Sequence[str], **place: Any) -> bool:
    """Whether ``waiver`` was given for all that this gate does not see in this run. ``place`` says which gate and task."""
    here = all(getattr(waiver, name) == value for name, value in place.items())
    return here and waiver.approved and waiver.later and waiver.signed_by(keys)
