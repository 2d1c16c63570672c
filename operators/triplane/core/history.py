"""What was deployed and was good, as the ledger knows it: where a rollback goes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triplane.core.change import ChangeSet
from triplane.core.errors import InputError
from triplane.core.ledger import Entry

PLANNED = "change_set"
AUTHORIZED = "authorized"
ROLLOUT = "rollout"


@dataclass(frozen=True)
class Version:
    """A source that was deployed: the digest of its archive, that of its spec, the commit it is, and the digest
    of the change set that deployed it."""

    source: str
    spec: str
    revision: str
    change_set: str


def body(change_set: ChangeSet) -> dict[str, str]:
    """What entries :data:`AUTHORIZED` and :data:`ROLLOUT` say of the change set they are about."""
    return {
        **({"emergency": change_set.emergency} if change_set.emergency else {}),
        "digest": change_set.digest,
        "intent": change_set.intent,
        "source": change_set.source,
        "spec": change_set.spec,
        "revision": change_set.revision,
    }


def previous(entries: Iterable[Entry], scope: str) -> Version:
    """What a rollback goes back to: the last good version before the one that is there, or was begun, now.

    A version that was rolled back is never gone back to. A rollback that did not end well is done again.

    :raises InputError: nothing was good before
    """
    good: list[Version] = []
    ended = True
    for entry in entries:
        if entry.kind not in (AUTHORIZED, ROLLOUT):
            continue
        version = Version(*(str(entry.body[name]) for name in ("source", "spec", "revision", "digest")))
        ended = entry.kind == ROLLOUT
        match entry.body["intent"]:
            case "rollback":
                while good and good[-1].source != version.source:
                    good.pop()
            case "destroy" if ended:
                good.clear()
            case "deploy" if ended:
                if good and good[-1].source == version.source:
                    good.pop()
                good.append(version)
    found = good[:-1] if ended else good
    if not found:
        raise InputError(
            f"there is nothing to go back to in {scope}: the ledger holds no good rollout before what is "
            "there now; deploy a revision that you trust instead"
        )
    return found[-1]
