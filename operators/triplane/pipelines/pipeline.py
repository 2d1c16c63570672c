"""A pipeline that a cloud or a forge runs by itself, as the operators see it: the same for all systems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from triplane.core.errors import InputError, TerminalError

State = Literal["running", "succeeded", "failed", "cancelled"]
TAIL = 50
"""So many lines of a failing stage's log are shown."""


class PipelineFailed(TerminalError):
    """The run ended, and not well: a person has to look at it."""


class MayRun(TerminalError):
    """An earlier try may have started a run, and the system cannot say which one: a person has to look."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to run. ``token`` is the same for every try of the same run: letters, digits and ``-``, at most 32.

    ``revision`` is a commit, or what else the pipeline's source calls a revision; empty is its own newest one.
    ``timeout`` is in seconds.
    """

    token: str
    revision: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 3600.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage, phase or job. ``reason`` says why it failed, or what it waits for."""

    name: str
    state: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Approval:
    """What a run waits for: a person's word. ``id`` is what the system calls it."""

    name: str
    id: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands. ``revision`` is what it really took, ``results`` name -> URL of what it left behind."""

    state: State
    reason: str = ""
    stages: tuple[Stage, ...] = ()
    waits: tuple[Approval, ...] = ()
    revision: str = ""
    results: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Standing:
        """The inverse of :meth:`to_json`."""
        return cls(
            state=value["state"],
            reason=value["reason"],
            stages=tuple(Stage(**stage) for stage in value["stages"]),
            waits=tuple(Approval(**approval) for approval in value["waits"]),
            revision=value["revision"],
            results=dict(value["results"]),
        )


class Pipeline(Protocol):
    """One pipeline as one user. Runs are named by the system's own ids.

    Methods raise the system's own errors; :func:`triplane.pipelines.systems.translated` makes ours of them.
    """

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        """The run that an earlier try asked for at ``since``, when it was killed before it could note the answer.

        :raises MayRun: one of several may be it
        """

    def start(self, wanted: Wanted) -> str:
        """Start a run; where the system knows tokens, asking again gives the same one."""

    def standing(self, run: str) -> Standing:
        """How ``run`` stands."""

    def log(self, run: str) -> list[str]:
        """The last lines of what failed in ``run``, at most :data:`TAIL`."""

    def cancel(self, run: str) -> None:
        """Stop ``run`` if it runs."""

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        """Answer what ``run`` waits for."""

    def link(self, run: str) -> str:
        """Where a person sees ``run``."""

    def newest(self) -> str | None:
        """The newest run that succeeded, whoever started it."""


def no_approvals(system: str) -> InputError:
    """What a system without approvals answers to a decision."""
    return InputError(f"{system} asks for no approvals: remove `approves`")


def only(found: Sequence[str], what: str, *, sure: bool = True) -> str | None:
    """The one run among those that may be ours. :raises MayRun: there are several, or one that may be another's"""
    if len(found) > 1 or (found and not sure):
        raise MayRun(
            f"an earlier try was killed while it started {what}; run {', '.join(found)} may be its own: look, stop "
            "what should not run, and clear the task to start a new one"
        )
    return found[0] if found else None


def tail(text: str) -> list[str]:
    """The last lines of ``text``."""
    return text.splitlines()[-TAIL:]


def failed_first(stages: Sequence[Stage]) -> Iterator[str]:
    """What failed and why, for people."""
    for stage in stages:
        if stage.state == "failed":
            yield f"{stage.name}: {stage.reason}" if stage.reason else stage.name
