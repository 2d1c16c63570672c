"""What an apply that was cut off left behind, and the plan that mends it.

A killed Terraform may have created resources that its state does not know yet: it saves a remote state
every 20 seconds at most. Its event stream names every resource that was finished, with its id, so that the
next plan imports these instead of creating them twice; those it was creating at that moment are shown to
people, who are asked before anything else happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triplane.core.errors import TerminalError, ToolError
from triplane.core.ledger import Entry, Ledger
from triplane.core.process import write_private
from triplane.core.store import ArtifactStore
from triplane.terraform.attempt import APPLIED, APPLYING, FAILED, NOT_STARTED, Attempt, last_of, last_real
from triplane.terraform.cli import LOCK, ApplyError, LockedError
from triplane.terraform.events import Events
from triplane.terraform.plan import State
from triplane.terraform.stack import Planned, Stack

RESTORED = "terraform.restored"
UNLOCKED = "terraform.unlocked"
ERRORED_STATE = "errored.tfstate"
IMPORTS = "triplane_imports.tf.json"
_OVERTAKEN = re.compile(r"over newer state|over unrelated state|with lineage")
"""The backend refuses a state that others have moved on from."""


@dataclass(frozen=True)
class Left:
    """``created``: address -> id of resources that exist and are not in the state. ``uncertain``: addresses of
    resources that may exist. ``lost`` says which apply ran on a machine that is gone.
    """

    created: Mapping[str, str] = field(default_factory=dict)
    uncertain: tuple[str, ...] = ()
    lost: str = ""


def settle(stack: Stack, address: str, ledger: Ledger, store: ArtifactStore) -> None:
    """Wait for the Terraform that a killed task left running, record how it ended, and save its state.

    A Terraform whose task is alive is left to it.
    """
    last = _last(ledger.entries(), address)
    if last is not None and last.kind == APPLYING:
        _take_over(stack, Attempt.of(last), ledger, store)
        last = _last(ledger.entries(), address)
    if last is not None and "state" in last.body:
        kept = str(last.body["state"])
        try:
            stack.terraform.push(write_private(stack.files / ERRORED_STATE, store.get(kept)))
        except ToolError as error:
            if not _OVERTAKEN.search(error.stderr):
                raise
            stack.terraform.say(
                f"{address}: the state that an earlier apply could not save is older than what is there by now; it is "
                f"left as artifact {kept}"
            )
        ledger.append(RESTORED, {name: value for name, value in last.body.items() if name != "state"})


def record(
    stack: Stack, attempt: Attempt, ledger: Ledger, store: ArtifactStore, act: Callable[[], object]
) -> State:
    """Apply with ``act`` and record how that ended; only then the job is forgotten."""
    entries = ledger.entries()
    opened = max(e.number for e in entries if e.kind == APPLYING and e.body.get("key") == attempt.key)
    before = _last([e for e in entries if e.number < opened], attempt.address)
    try:
        act()
    except (LockedError, TerminalError):
        ledger.append(NOT_STARTED, attempt.body())
        attempt.job().forget()
        raise
    except ApplyError as error:
        journal = error.events.journal(_journal(before, store), killed=error.killed)
        kept = store.put(json.dumps(journal).encode())
        body = attempt.body(journal=kept, **_rescue(stack, attempt.job().cwd, error.events, store))
        began = error.events.started or _moved(stack, attempt)
        ledger.append(FAILED if began else NOT_STARTED, body)
        if error.killed:
            _free_lock(stack, attempt, ledger)
        attempt.job().forget()
        raise
    state = stack.terraform.pull()
    ledger.append(APPLIED, attempt.body(lineage=state.lineage, serial=state.serial))
    attempt.job().forget()
    return state


def _moved(stack: Stack, attempt: Attempt) -> bool:
    """Whether the state is another one than was approved: Terraform may write it although it changed no resource."""
    try:
        state = stack.terraform.pull()
    except ToolError:
        return True
    return (state.lineage, state.serial) != (attempt.lineage, attempt.serial)


def replan(
    stack: Stack,
    address: str,
    ledger: Ledger,
    store: ArtifactStore,
    make_plan: Callable[[], Planned],
    *,
    destroy: bool = False,
) -> tuple[Planned, tuple[str, ...]]:
    """Plan; what an apply that was cut off has created is imported, not created again.

    A plan to destroy imports nothing: what exists and is in no state is only told. Returns the plan, and lines for
    people about what may exist already; no lines where nothing was cut off.
    """
    left = cut_off(stack, address, ledger, store)
    if not left.created or destroy:
        return make_plan(), notes(left, destroy=destroy)
    imports = stack.directory / IMPORTS
    imports.write_text(json.dumps({"import": [{"to": a, "id": i} for a, i in left.created.items()]}))
    try:
        return make_plan(), notes(left)
    except ToolError as error:
        stack.terraform.say(f"{address}: what was created could not be imported: {error}")
    finally:
        imports.unlink()
    return make_plan(), notes(left, imported=False)


def cut_off(stack: Stack, address: str, ledger: Ledger, store: ArtifactStore) -> Left:
    """What the last apply of this stack left, if it was cut off."""
    last = _last(ledger.entries(), address)
    if last is None or last.kind == APPLIED or (last.kind == APPLYING and Attempt.of(last).job().owned):
        return Left()
    return left_by(last, stack.terraform.pull(), store)


def lost(attempt: Attempt, ledger: Ledger) -> None:
    """Record that an apply of this very run ended, of which this machine knows nothing: another one ran it."""
    last = last_of(attempt, ledger.entries())
    ours = last is not None and last.kind == APPLYING and last.body.get("run") == attempt.run
    if ours and not attempt.job().running:
        ledger.append(FAILED, attempt.body(lost=True))


def left_by(last: Entry, state: State, store: ArtifactStore) -> Left:
    """What the attempt whose last ledger entry is ``last`` left, as far as ``state`` does not know it."""
    if last.kind == APPLIED:
        return Left()
    if last.body.get("journal") is None:
        return Left(lost=f"{last.body['run']} at {last.at}")
    journal = _journal(last, store)
    return Left(
        created={a: i for a, i in journal["created"].items() if a not in state.addresses},
        uncertain=tuple(a for a in journal["creating"] if a not in state.addresses),
    )


def notes(left: Left, *, imported: bool = True, destroy: bool = False) -> tuple[str, ...]:
    """Lines for people, above the new plan."""
    look = "look before you approve, and import or remove it"
    found = []
    if left.lost:
        found.append(
            f"! {left.lost} was cut off on a machine that is gone: what it created may exist already; {look}"
        )
    if destroy:
        found += [
            f"! {address} exists (id {found_id}) and is in no state: this does not destroy it; remove it by hand"
            for address, found_id in left.created.items()
        ]
    elif not imported:
        found += [
            f"! {address} exists already (id {found_id}), but could not be imported; {look}"
            for address, found_id in left.created.items()
        ]
    found += [
        f"! {address} was being created when that was cut off and may exist already; {look}"
        for address in left.uncertain
    ]
    return tuple(found)


def _last(entries: Sequence[Entry], address: str) -> Entry | None:
    """The last entry about an apply of the stack at ``address`` that changed anything, or may have."""
    kinds = (APPLYING, APPLIED, FAILED, RESTORED, NOT_STARTED)
    return last_real([e for e in entries if e.body.get("address") == address and e.kind in kinds])


def _journal(entry: Entry | None, store: ArtifactStore) -> dict[str, Any]:
    kept = None if entry is None else entry.body.get("journal")
    journal: dict[str, Any] = {"created": {}, "creating": []}
    return journal if kept is None else json.loads(store.get(str(kept)))


def _take_over(stack: Stack, attempt: Attempt, ledger: Ledger, store: ArtifactStore) -> None:
    job = attempt.job()
    if job.owned or not (job.running or job.known):
        return
    stack.terraform.say(f"{attempt.address}: {attempt.run} left a Terraform behind; taking it over")
    try:
        record(stack, attempt, ledger, store, lambda: stack.terraform.attach(job))
    except (ApplyError, LockedError, TerminalError) as error:
        stack.terraform.say(f"{attempt.address}: that apply did not finish: {error}")


def _free_lock(stack: Stack, attempt: Attempt, ledger: Ledger) -> None:
    """Free the lock of an apply of ours that was killed: noted while it ran, and its process is gone."""
    lock = attempt.job().noted(LOCK)
    if lock is not None and stack.terraform.force_unlock(lock):
        stack.terraform.say(f"{attempt.address}: freed lock {lock}, which the killed apply had left")
        ledger.append(UNLOCKED, attempt.body(lock=lock))


def _rescue(stack: Stack, directory: Path, events: Events, store: ArtifactStore) -> dict[str, str]:
    """Keep the state that Terraform could not write to its backend: it is in a file, or where there is no room
    for that either, among the events.
    """
    errored = directory / ERRORED_STATE
    if events.dumped is None and not errored.exists():
        return {}
    kept = store.put(events.dumped.encode() if events.dumped else errored.read_bytes())
    errored.unlink(missing_ok=True)
    stack.terraform.say(
        f"the state could not be saved; it is kept as artifact {kept} and saved by the next try"
    )
    return {"state": kept}
