"""What running a playbook would change, as Ansible's check mode tells, and whether that was approved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from triplane.core.change import ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.errors import RefusedError, StaleError
from triplane.machines.events import Recap, TaskResult
from triplane.machines.hosts import Host, digest_of

LATER = "later"
"""Stands for hosts that are known only after a stack was applied."""
MOST_LINES = 400
"""Lines of diffs that a change shows; what is beyond is in the log."""
UNKNOWN = "unknown"
"""Stands for what a host would go on with after a task that check mode could not get past."""
HOST = "host."
FORGETS = "forgets"
"""Bound where nothing is run on the machines."""
HURTS = frozenset(
    {"reboot", "filesystem", "parted", "lvol", "lvg", "user", "group", "mount", "iptables", "raw"}
)
"""Modules that can take a machine, its data or the way to it: changes by them are of high risk."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A component of machines as it was written. ``hosts`` is None while a stack has yet to say which they are.

    ``tree`` is the digest of the playbook's folder; ``given`` all else that decides what is done, references unresolved.
    """

    address: str
    playbook: str
    tree: str
    hosts: Sequence[Host] | None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> str:
        """The same as long as the same is to be done, on whatever machines."""
        return digest([self.playbook, self.tree, dict(self.given)])

    def binds(self) -> dict[str, str | int]:
        """What an approval covers besides the changes."""
        hosts = LATER if self.hosts is None else digest_of(self.hosts)
        return {"playbook": self.playbook, "settings": self.settings, "hosts": hosts}


def plan(written: Written, seen: Recap, *, before: str | None) -> ComponentChange:
    """The change for approval, from a run in check mode; of nothing where the hosts are known later.

    ``before`` is what :attr:`Written.settings` was when the playbook last ran to its end, None if it never did. What
    check mode cannot tell counts as a change unless the very same ran before.
    """
    changes = [result for result in seen.results if result.state == "changed"]
    unclear = [*silent(seen), *stopped(seen)]
    acts = bool(changes) or written.hosts is None or (bool(unclear) and before != written.settings)
    acts = acts or bool(stopped(seen))
    count = len({result.host for result in (changes if changes else unclear)})
    where = (
        "all its hosts, known after a stack is applied"
        if written.hosts is None
        else f"{count} of {_of(written)}"
    )
    return ComponentChange(
        address=written.address,
        action="none" if not acts else "create" if before is None else "update",
        risk=_risk(changes, unclear) if acts else Risk.NONE,
        summary=f"run {os.path.basename(written.playbook)} on {where}{_counts(changes, unclear)}"
        if acts
        else f"nothing to do on {_of(written)}",
        lines=tuple(_lines(changes, unclear)),
        binds=written.binds() | fingerprints(seen),
    )


def plan_after(
    later: Written, hosts: Sequence[Host], seen: Recap, stacks: Sequence[str], *, before: str | None
) -> ComponentChange:
    """The change where ``stacks`` may make other machines, or give other values: that of :func:`plan` with ``later``, whose
    lines are what a run in check mode shows on the present ``hosts``.
    """
    names = " and ".join(stacks)
    now, then = plan(replace(later, hosts=hosts), seen, before=before), plan(later, Recap(), before=before)
    return replace(
        then,
        risk=max(now.risk, then.risk),
        summary=f"run {os.path.basename(later.playbook)} on the machines that are there after {names}; now {now.summary}",
        lines=(
            f"? what follows is of now: {names} may change the machines, or what is done to them",
            *now.lines,
        ),
    )


def plan_to_destroy(written: Written, seen: Recap) -> ComponentChange:
    """The change that the playbook for the end makes, from a run in check mode."""
    changes = [result for result in seen.results if result.state == "changed"]
    unclear = [*silent(seen), *stopped(seen)]
    return ComponentChange(
        address=written.address,
        action="destroy",
        risk=Risk.CRITICAL,
        summary=f"run {os.path.basename(written.playbook)} on {_of(written)}{_counts(changes, unclear)}",
        lines=tuple(_lines(changes, unclear)),
        binds=written.binds() | fingerprints(seen),
    )


def plan_to_forget(address: str, why: str, *, known: bool) -> ComponentChange:
    """Nothing is run on any machine. ``known``: something is remembered of them, and forgotten then."""
    return ComponentChange(
        address=address,
        action="destroy" if known else "none",
        risk=Risk.LOW if known else Risk.NONE,
        summary=why,
        binds={FORGETS: 1},
    )


def check(approved: ComponentChange, written: Written) -> None:
    """:raises RefusedError: another playbook or other settings were approved
    :raises StaleError: for other machines
    """
    actual = written.binds()
    differing = [key for key in ("playbook", "settings") if approved.binds.get(key) != actual[key]]
    if differing:
        raise RefusedError(
            f"this is not what was approved ({', '.join(differing)} differ); plan again and ask again"
        )
    if approved.binds.get("hosts") not in (LATER, actual["hosts"]):
        raise StaleError(
            "the machines, or how they are reached, are not those that were planned for; plan again"
        )


def check_changes(approved: ComponentChange, seen: Recap) -> None:
    """What would change now must be all, or what a killed try left, of what was approved.

    :raises StaleError: somebody has changed a machine since the plan
    """
    if approved.binds.get("hosts") == LATER:
        return
    for key, marks in fingerprints(seen).items():
        expected = str(approved.binds.get(key, "")).split()
        extra = [mark for mark in str(marks).split() if mark not in expected]
        if extra and UNKNOWN not in expected:
            raise StaleError(
                f"{key.removeprefix(HOST)} is not as it was when this was planned: {len(extra)} changes were not "
                "among those that people saw; plan again"
            )


def fingerprints(seen: Recap) -> dict[str, str | int]:
    """For each host the marks of what would change on it, :data:`UNKNOWN` where check mode did not get to the end."""
    marks: dict[str, set[str]] = {}
    for result in seen.results:
        if result.state == "changed":
            marks.setdefault(result.host, set()).add(fingerprint(result))
    for result in stopped(seen):
        marks.setdefault(result.host, set()).add(UNKNOWN)
    return {f"{HOST}{host}": " ".join(sorted(found)) for host, found in sorted(marks.items())}


def fingerprint(result: TaskResult) -> str:
    """The same for the same change of a host by the same task."""
    diff = [line for line in result.diff if not line.startswith(("+++ ", "--- "))]
    return digest([result.where, result.task, diff]).removeprefix("sha256:")[:12]


def silent(seen: Recap) -> list[TaskResult]:
    """Tasks that check mode cannot tell anything of, such as commands."""
    return [result for result in seen.results if not result.foreseen]


def stopped(seen: Recap) -> list[TaskResult]:
    """Tasks that failed in check mode, often because an earlier one was not really done."""
    return [result for result in seen.results if result.state == "failed" and not result.ignored]


def _risk(changes: Sequence[TaskResult], unclear: Sequence[TaskResult]) -> Risk:
    hurts = any(change.deletes or change.action.rsplit(".", 1)[-1] in HURTS for change in changes)
    hurts = hurts or any(each.action.rsplit(".", 1)[-1] in HURTS for each in unclear)
    return Risk.HIGH if hurts else Risk.MEDIUM


def _of(written: Written) -> str:
    count = len(written.hosts or ())
    return f"{count} host{'' if count == 1 else 's'}"


def _counts(changes: Sequence[TaskResult], unclear: Sequence[TaskResult]) -> str:
    parts = [f"{len(changes)} to change"] if changes else []
    parts += [f"{len(unclear)} that cannot be foreseen"] if unclear else []
    return f": {', '.join(parts)}" if parts else ""


def _lines(changes: Sequence[TaskResult], unclear: Sequence[TaskResult]) -> Iterator[str]:
    """Each change once, with all hosts that it is made on."""
    shown = 0
    for (task, action, diff), hosts in _grouped((r.task, r.action, r.diff, r.host) for r in changes):
        yield f"~ {_some(hosts)}: {task} ({action.rsplit('.', 1)[-1]})"
        shown += len(diff)
        if diff and shown > MOST_LINES:
            diff = (f"({len(diff)} lines, in the log of the plan)",)
        yield from (f"    {line}" for line in diff)
    for (task, state, message), hosts in _grouped((r.task, r.state, r.message, r.host) for r in unclear):
        said = " ".join(message.split())
        why = (
            f"fails in check mode, what follows is not known: {said}"
            if state == "failed"
            else "check mode cannot tell"
        )
        yield f"? {_some(hosts)}: {task}: {why}"


def _grouped(rows: Iterable[tuple[Any, Any, Any, str]]) -> Iterator[tuple[tuple[Any, Any, Any], list[str]]]:
    found: dict[tuple[Any, Any, Any], list[str]] = {}
    for first, second, third, host in rows:
        found.setdefault((first, second, third), []).append(host)
    yield from ((key, sorted(set(hosts))) for key, hosts in found.items())


def _some(hosts: Sequence[str], most: int = 6) -> str:
    return (
        ", ".join(hosts) if len(hosts) <= most else f"{', '.join(hosts[:most])} and {len(hosts) - most} more"
    )
