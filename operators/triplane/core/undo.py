"""When the approval of a release covers that it is rolled back, without asking again.

People approve a change set that says by its ``release`` when it is rolled back. That covers exactly one way back: by
one run, to one version, in the components that changed, and nothing that is worse than what they agreed to. Whatever
is not covered is asked about like any other change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from triplane.core import approval
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.errors import TerminalError
from triplane.core.history import AUTHORIZED, before
from triplane.core.ledger import Entry
from triplane.core.runs import apply_run_id, settle_run_id

SETTLED = "settled"
"""Kind of the entry that a parent run writes to a cloud's ledger when it rolls its release back."""
PROMISES = ("all_or_nothing", "quorum")


def settlement(entries: Sequence[Entry], run_id: str) -> Entry | None:
    """The entry by which parent run ``run_id`` has rolled its release back; None if it has not."""
    return next(
        (entry for entry in entries if entry.kind == SETTLED and entry.body["parent"] == run_id), None
    )


def uncovered(
    original: ChangeSet,
    undo: ChangeSet,
    decisions: Sequence[Decision],
    *,
    keys: Sequence[str],
    dag_id: str,
    run_id: str,
    entries: Sequence[Entry],
    now: datetime,
) -> str:
    """Why the decisions on ``original`` do not let run ``run_id`` apply ``undo``; empty if they do.

    :param entries: the verified ledger of the cloud and environment
    """
    return next(_reasons(original, undo, decisions, keys, dag_id, run_id, entries, now), "")


def _reasons(
    original: ChangeSet,
    undo: ChangeSet,
    decisions: Sequence[Decision],
    keys: Sequence[str],
    dag_id: str,
    run_id: str,
    entries: Sequence[Entry],
    now: datetime,
) -> Iterator[str]:
    parent = undo.undoes.get("run_id", "")
    applied = apply_run_id(parent, original.cloud)
    if undo.undoes.get("change_set") != original.digest:
        yield "it undoes another change set"
    if original.release.get("policy") not in PROMISES:
        yield "what people approved does not say that it is rolled back"
    if (original.intent, undo.intent) != ("deploy", "rollback"):
        yield f"a {undo.intent} of a {original.intent} is not the rollback of a release"
    if _place(original) != _place(undo):
        yield "it is for another platform, environment or cloud"
    if run_id != settle_run_id(parent, original.cloud):
        yield f"only the run {settle_run_id(parent, original.cloud)} may do it"
    yield from _recorded(original, undo, parent, run_id, entries)
    yield from _promised(original, decisions, keys, dag_id, applied, entries)
    age = (now - datetime.fromisoformat(undo.planned_at)).total_seconds()
    if age > Policy.from_json(undo.policy).plan_max_age:
        yield "its plan is older than the environment's policy allows (plan_max_age)"
    if undo.denied:
        yield f"a policy denies it: {'; '.join(undo.denied)}"
    for change in undo.changed:
        was = original.change(change.address)
        if was is None or not was.changed:
            yield f"the release did not change {change.address}, and its rollback would"
        else:
            yield from _worse(was, change)


def _place(change_set: ChangeSet) -> tuple[str, str, str]:
    return change_set.platform, change_set.environment, change_set.cloud


def _recorded(
    original: ChangeSet, undo: ChangeSet, parent: str, run_id: str, entries: Sequence[Entry]
) -> Iterator[str]:
    """The ledger must know the settlement, and the version to go back to as the last good one."""
    entry = settlement(entries, parent)
    if entry is None or entry.body["run_id"] != run_id or entry.body["digest"] != original.digest:
        yield f"the ledger does not say that {parent} rolls this back"
        return
    target = before(entries, apply_run_id(parent, original.cloud))
    if target is None:
        yield "there was no good version before"
    elif not target.source == undo.source == entry.body["source"]:
        yield f"it goes to {undo.revision}, and the last good version before was {target.revision}"
    own = (apply_run_id(parent, original.cloud), run_id)
    began = [e for e in entries if e.kind == AUTHORIZED]
    first = next((n for n, e in enumerate(began) if e.body["run_id"] == own[0]), len(began))
    others = [str(e.body["run_id"]) for e in began[first:] if e.body["run_id"] not in own]
    if others:
        yield f"{others[0]} has been applied since"


def _promised(
    original: ChangeSet,
    decisions: Sequence[Decision],
    keys: Sequence[str],
    dag_id: str,
    applied: str,
    entries: Sequence[Entry],
) -> Iterator[str]:
    """The decisions must have held when the release began to be applied."""
    began = next((e for e in entries if e.kind == AUTHORIZED and e.body["run_id"] == applied), None)
    if began is None or began.body["digest"] != original.digest:
        yield f"the ledger does not say that {applied} applied what was approved"
        return
    try:
        approval.verify(
            original,
            decisions,
            keys=keys,
            dag_id=dag_id,
            run_id=applied,
            now=datetime.fromisoformat(began.at),
        )
    except TerminalError as error:
        yield str(error)


def _worse(was: ComponentChange, change: ComponentChange) -> Iterator[str]:
    """What the rollback of one component destroys that the release did not create, or loses."""
    if change.action == "deferred":
        yield f"what becomes of {change.address} is not known before it is applied"
    if change.risk > max(was.risk, Risk.HIGH):
        yield f"the rollback of {change.address} is of {change.risk} risk"
    created = {_subject(line) for line in was.lines if line.startswith(("+ ", "-/+ "))}
    explained = False
    for line in change.lines:
        sign = line.partition(" ")[0]
        if sign in ("-", "-/+"):
            explained = True
            if _subject(line) not in created:
                yield f"it takes away what the release did not create: {change.address}: {line}"
        elif sign in ("!", "x", ">", "?", "..."):
            yield f"{change.address}: {line}"
    if change.action in ("destroy", "replace") and not explained and was.action != "create":
        yield f"it would {change.action} {change.address}, which the release did not create"


def _subject(line: str) -> str:
    """What a line is about: ``aws_vpc.main`` of ``- aws_vpc.main: reason``."""
    return line.partition(" ")[2].partition(": ")[0]
