"""What was deployed and was good, as the ledger knows it: where a rollback goes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triplane.core.change import ChangeSet
from triplane.core.errors import InputError
from triplane.core.ledger import Entry
from triplane.core.runs import apply_run_id

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
    good, ended = _good(entries)
    found = good[:-1] if ended else good
    if not found:
        raise InputError(
            f"there is nothing to go back to in {scope}: the ledger holds no good rollout before what is "
            "there now; deploy a revision that you trust instead"
        )
    return found[-1]


def before(entries: Iterable[Entry], run_id: str) -> Version | None:
    """The last good version before run ``run_id`` began to apply; None if nothing was good, or it never began."""
    earlier: list[Entry] = []
    for entry in entries:
        if entry.kind == AUTHORIZED and entry.body["run_id"] == run_id:
            good, _ = _good(earlier)
            return good[-1] if good else None
        earlier.append(entry)
    return None


def named(entries: Iterable[Entry], scope: str, name: str) -> Version:
    """The last good version of this name: a commit (seven digits or more), or the run that deployed it.

    :raises InputError: no version of this name was ever good there
    """
    good = {}
    for entry in entries:
        if entry.kind == ROLLOUT and entry.body["intent"] != "destroy":
            good[entry.number] = (_version(entry), str(entry.body.get("run_id", "")))
    cloud = scope.rpartition("/")[2]
    for version, run_id in reversed(good.values()):
        commit = len(name) >= 7 and version.revision.startswith(name)
        if commit or run_id in (name, apply_run_id(name, cloud)):
            return version
    known = list(dict.fromkeys(version.revision[:12] for version, _ in reversed(good.values())))
    raise InputError(
        f"{name} was never good in {scope}, so there is no going back to it; "
        + (
            f"the good ones are {', '.join(known[:10])}, the newest first"
            if known
            else "nothing was good there yet"
        )
    )


def _version(entry: Entry) -> Version:
    return Version(*(str(entry.body[name]) for name in ("source", "spec", "revision", "digest")))


def _good(entries: Iterable[Entry]) -> tuple[list[Version], bool]:
    """The good versions that were not rolled back, the newest last, and whether the last rollout has ended."""
    good: list[Version] = []
    ended = True
    for entry in entries:
        if entry.kind not in (AUTHORIZED, ROLLOUT):
            continue
        version = _version(entry)
        ended = entry.kind == ROLLOUT
        match entry.body["intent"]:
            case "rollback" if any(item.source == version.source for item in good):
                while good[-1].source != version.source:
                    good.pop()
            case "rollback" if ended:
                good.append(version)
            case "destroy" if ended:
                good.clear()
            case "deploy" if ended:
                if good and good[-1].source == version.source:
                    good.pop()
                good.append(version)
    return good, ended
