"""Values that a worker has signed, so that an edited XCom or run configuration cannot stand in for one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from triplane.core.digest import canonical_json
from triplane.core.keys import key_id, seal, sealed


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Base of values that are signed: ``key`` names the signing key, and both are empty until then."""

    key: str = ""
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, all of which are signed."""
        raise NotImplementedError

    def sign(self, keys: Sequence[str]) -> Self:
        """This value signed with the newest of ``keys``."""
        unsigned = replace(self, key=key_id(keys[0]), signature="")
        return replace(unsigned, signature=seal(keys[0], canonical_json(unsigned.to_json())))

    def signed_by(self, keys: Iterable[str]) -> bool:
        """Whether one of ``keys`` signed exactly this content."""
        unsigned = replace(self, signature="")
        return sealed(keys, self.key, canonical_json(unsigned.to_json()), self.signature)


@dataclass(frozen=True, kw_only=True)
class Answer(Signed):
    """Base of what a person answers to a task of run ``run_id`` of ``dag_id``.

    ``responder`` is a name, as ``requester`` is, who asked for the run; some auth managers know people by another
    ``responder_id``. ``decided_at`` is ISO 8601 with a zone, ``reason`` is why he decided so.
    """

    dag_id: str
    run_id: str
    requester: str
    responder: str
    responder_id: str = ""
    approved: bool
    reason: str = ""
    decided_at: str

    @property
    def known_as(self) -> set[str]:
        """The names of who answered."""
        return {self.responder, self.responder_id} - {""}

    def barred(self, approvers: Collection[str], *, requester_may_approve: bool) -> str:
        """Why an approval by who answered does not count; empty if it does. No ``approvers``: anybody's does."""
        if not self.known_as:
            return "the answer does not say who gave it"
        if approvers and not self.known_as & set(approvers):
            return f"{self.responder} is not among the approvers {', '.join(approvers)}"
        if self.requester in self.known_as and not requester_may_approve:
            return f"{self.responder} asked for this run and may not approve it"
        return ""
