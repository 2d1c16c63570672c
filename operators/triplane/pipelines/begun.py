"""The run of one task, started once: what was asked for is noted in the artifact store, before and after."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from triplane.core.digest import canonical_json, digest
from triplane.core.errors import InputError, TerminalError
from triplane.forge.rest import RateLimited
from triplane.pipelines.pipeline import MayRun

if TYPE_CHECKING:
    from triplane.core.store import ArtifactStore
    from triplane.pipelines.pipeline import Pipeline, State, Wanted

Action = Literal["start", "look", "attach"]


@dataclass(frozen=True, kw_only=True)
class Note:
    """What one task asked for last. ``life`` changes when somebody clears the task, and not with a retry.

    ``token`` is what the system is asked with: another one for every run, of any installation. ``run`` is empty from just
    before it is asked for until the system has answered, ``at`` is when it was asked for and empty where it was refused.
    ``deadline`` is Unix time.
    """

    life: int
    token: str
    at: str
    deadline: float
    run: str = ""


def decide(note: Note | None, life: int, state: State | None, *, again: bool) -> Action:
    """What to do where an earlier try left ``note`` and its run is in ``state`` (None: not known).

    ``again``: a retry may run once more what has failed.
    """
    if note is None:
        return "start"
    if not note.run:
        return "look" if note.at else "start"
    if state == "running":
        return "attach"
    if note.life != life:
        return "start"
    return "start" if again and state in ("failed", "cancelled") else "attach"


class Begun:
    """What the task called ``place`` (dag, run, task, map index) has begun."""

    def __init__(self, store: ArtifactStore, place: Sequence[Any], life: int) -> None:
        self._store = store
        self._life = life
        self._name = f"pipeline-runs/{digest(list(place)).removeprefix('sha256:')}"

    def run(
        self,
        service: Pipeline,
        wanted: Callable[[str], Wanted],
        now: float,
        *,
        again: bool = False,
    ) -> tuple[Note, bool]:
        """The run to wait for, and whether it was started just now. ``wanted`` says what to run under a token.

        A kill at any moment leaves a note with which this finds the run again.

        :raises InputError: the system has forgotten the run
        """
        note = self._read()
        action = decide(note, self._life, self._state(service, note), again=again)
        if note and action == "attach":
            return note, False
        if note and action == "look":
            if found := self._look(service, wanted(note.token), note):
                return self._write(replace(note, run=found)), False
            fresh = replace(note, life=self._life)
        else:
            fresh = Note(life=self._life, token=uuid.uuid4().hex, at="", deadline=0.0)
        asked = wanted(fresh.token)
        at = datetime.fromtimestamp(now, UTC).isoformat()
        fresh = self._write(replace(fresh, at=at, deadline=now + asked.timeout))
        try:
            run = service.start(asked)
        except (TerminalError, RateLimited):  # refused: there is nothing to be found
            self._write(replace(fresh, at=""))
            raise
        return self._write(replace(fresh, run=run)), True

    def _look(self, service: Pipeline, asked: Wanted, note: Note) -> str | None:
        """What an earlier try has started. Who has cleared the task since then has looked: we need not be sure."""
        try:
            return service.find(asked, datetime.fromisoformat(note.at))
        except MayRun:
            if note.life == self._life:
                raise
            return None

    def _state(self, service: Pipeline, note: Note | None) -> State | None:
        if note is None or not note.run:
            return None
        try:
            return service.standing(note.run).state
        except InputError:
            if note.life == self._life:
                raise
            return None

    def _read(self) -> Note | None:
        data = self._store.get_named(self._name)
        found: Mapping[str, Any] = json.loads(data or b"{}")
        return Note(**found) if found else None

    def _write(self, note: Note) -> Note:
        self._store.put_named(self._name, canonical_json(asdict(note)))
        return note
