"""One deployment of a function or container, a step at a time: prepare, shift, verify, or restore.

What is done and what comes next is in an :class:`Attempt`, which is kept before every step that changes something.
Whoever goes on with it later, in this process or another one, makes the step that was cut off once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from triplane.core.errors import StaleError, TerminalError
from triplane.gates.verdict import Verdict
from triplane.serverless.target import (
    Answer,
    DeployFailed,
    Desired,
    Log,
    Observed,
    Progress,
    Smoke,
    Target,
    Waiting,
    main_version,
)
from triplane.serverless.traffic import Traffic

Phase = Literal["prepare", "shift", "watch", "restore", "ended"]
SMOKES = 3
"""A version that was just brought up is asked so many times."""
SMOKE_SECONDS = 2.0
LOG_LINES = 20


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How far a deployment is.

    ``previous`` is what served before it began, ``since`` when the phase began (seconds since the epoch), ``failed``
    why it is taken back, ``foreign`` that it is because somebody else deploys, ``serves`` what serves in the end.
    """

    id: str
    previous: Observed | None
    phase: Phase = "prepare"
    since: float = 0.0
    version: str = ""
    step: int = 0
    failed: str = ""
    foreign: bool = False
    serves: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values. The environment of what served before may hold secrets: keep this encrypted."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        before = values["previous"]
        return cls(**{**values, "previous": None if before is None else Observed(**before)})

    @property
    def ended(self) -> bool:
        return self.phase == "ended"


@dataclass(frozen=True, kw_only=True)
class Judging(Waiting):
    """A gate has to say whether the step was good, see :meth:`Deployment.judged`."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is deployed where, and how. ``limit`` is how long a version may take to become ready, in seconds.

    ``gated``: a gate judges each step of the traffic, the last one too.
    """

    target: Target
    desired: Desired
    traffic: Traffic = field(default_factory=Traffic)
    smoke: Smoke | None = None
    limit: float = 900.0
    gated: bool = False
    log: Log = print
    clock: Callable[[], float] = time.time

    def go_on(self, attempt: Attempt) -> tuple[Attempt, Waiting | None]:
        """Make the next step; returns how far it is then, and what has to be waited for before the next one.

        Errors that a retry may help against pass through; all others lead to ``restore``.

        :raises DeployFailed: what served before cannot be put back
        :raises StaleError: somebody else deploys; nothing was shifted, and what is theirs is left alone
        """
        if attempt.phase == "restore":
            return self._restore(attempt)
        step = {"prepare": self._prepare, "shift": self._shift, "watch": self._watch}[attempt.phase]
        try:
            return step(attempt)
        except TerminalError as error:
            foreign = isinstance(error, StaleError)
            if foreign and attempt.phase == "prepare":
                raise
            return replace(self.give_up(attempt, str(error)), foreign=foreign), None

    def give_up(self, attempt: Attempt, reason: str) -> Attempt:
        """Take the deployment back, for ``reason``."""
        name, version = self.desired.name, attempt.version
        self.log(f"{name}: {reason}")
        for line in self.target.tail(name, version)[-LOG_LINES:]:
            self.log(f"  | {line}")
        return self._at(attempt, "restore", failed=reason)

    def percents(self, attempt: Attempt) -> tuple[int, ...]:
        """The steps of this attempt: without anything to share with, the traffic comes at once."""
        serves = attempt.previous is not None and attempt.previous.version
        return self.traffic.percents() if serves and self.target.splits else (100,)

    def _prepare(self, attempt: Attempt) -> tuple[Attempt, Waiting | None]:
        progress = self.target.prepare(self.desired, attempt.previous, self.log)
        if isinstance(progress, Waiting):
            return self._wait(attempt, progress)
        prepared = replace(attempt, version=progress.version, details=progress.details)
        self.log(f"{self.desired.name}: {progress.version} is ready")
        try:
            if self.target.apart:
                self._ask(progress.version)
        except TerminalError as error:
            return self.give_up(prepared, str(error)), None
        return self._at(prepared, "shift"), None

    def _shift(self, attempt: Attempt) -> tuple[Attempt, Waiting | None]:
        name, percents = self.desired.name, self.percents(attempt)
        percent = percents[attempt.step]
        previous = attempt.previous and replace(
            attempt.previous, version=main_version(attempt.previous.version)
        )
        progress = self.target.shift(name, attempt.version, percent, previous, self.log)
        if isinstance(progress, Waiting):
            return self._wait(attempt, progress)
        self.log(f"{name}: {attempt.version} gets {percent} % of the traffic")
        shifted = replace(attempt, details={**attempt.details, **progress.details})
        if not self.last(attempt):
            return self._at(shifted, "watch"), None
        self.target.verify(self.desired, attempt.version)
        if not self.target.apart:
            self._ask(attempt.version)
        if self.gated:
            return self._at(shifted, "watch"), None
        return self._at(shifted, "ended", serves=attempt.version), None

    def share(self, before: Attempt, then: Attempt) -> int | None:
        """Percent of the traffic that the new version has got with a step; None if the step has moved none."""
        if before.phase == "shift" and then.phase in ("watch", "ended"):
            return self.percents(before)[before.step]
        return 0 if before.phase == "restore" and then.phase == "ended" else None

    def last(self, attempt: Attempt) -> bool:
        """Whether the new version has all traffic with this step."""
        return attempt.step + 1 >= len(self.percents(attempt))

    def _watch(self, attempt: Attempt) -> tuple[Attempt, Waiting | None]:
        if self.gated:
            percent = self.percents(attempt)[attempt.step]
            return attempt, Judging(why=f"a gate judges it at {percent} %", seconds=self.traffic.wait)
        left = attempt.since + self.traffic.wait - self.clock()
        if left > 0:
            return attempt, Waiting(why="watching the new version", seconds=left)
        self._ask(attempt.version)
        return self._at(attempt, "shift", step=attempt.step + 1), None

    def judged(self, attempt: Attempt, verdict: Verdict) -> Attempt:
        """How it goes on after the gate's verdict on a step: only what passed, or a person let go on without data, gets
        more traffic, or stays.
        """
        percent = self.percents(attempt)[attempt.step]
        if not verdict.goes_on:
            reason = f"the gate did not pass at {percent} % ({verdict.state}): {verdict.reason}"
            return self.give_up(attempt, reason)
        self.log(f"{self.desired.name}: at {percent} % the gate {verdict.told}")
        try:
            self._ask(attempt.version)
        except TerminalError as error:
            return self.give_up(attempt, str(error))
        if self.last(attempt):
            return self._at(attempt, "ended", serves=attempt.version)
        return self._at(attempt, "shift", step=attempt.step + 1)

    def _restore(self, attempt: Attempt) -> tuple[Attempt, Waiting | None]:
        name, previous = self.desired.name, attempt.previous
        if attempt.foreign:
            self.log(f"{name}: what somebody else has deployed meanwhile stays")
            there = self.target.observe(name)
            return self._at(attempt, "ended", serves=there.version if there else ""), None
        progress: Progress = self.target.restore(name, previous, self.log)
        if isinstance(progress, Waiting):
            if self.clock() - attempt.since > self.limit:
                raise DeployFailed(
                    f"{name}: {attempt.failed}; and what served before could not be put back in {self.limit:g} s: "
                    f"{progress.why}"
                )
            return attempt, progress
        found = self.target.observe(name)
        serving, wanted = (found.version if found else ""), progress.version
        artifact = previous.artifact if previous and previous.version else None
        wrong = ""
        if serving != wanted:
            wrong = f"{wanted or 'nothing'} should serve again, but {serving or 'nothing'} does"
        elif artifact and found and found.artifact != artifact:
            wrong = f"{wanted} serves again, but with {found.artifact}, not with {artifact}"
        if wrong:
            raise DeployFailed(f"{name}: {attempt.failed}; and {wrong}")
        self.log(f"{name}: {serving or 'nothing'} serves, as before")
        return self._at(attempt, "ended", serves=serving), None

    def _wait(self, attempt: Attempt, waiting: Waiting) -> tuple[Attempt, Waiting | None]:
        if self.clock() - attempt.since > self.limit:
            raise DeployFailed(f"not ready after {self.limit:g} s: {waiting.why}")
        return attempt, waiting

    def _ask(self, version: str) -> None:
        """:raises DeployFailed: it does not answer as the smoke test wants"""
        if self.smoke is not None:
            ask(self.target, self.desired.name, version, self.smoke, self.log)

    def _at(self, attempt: Attempt, phase: Phase, **changes: Any) -> Attempt:
        return replace(attempt, phase=phase, since=self.clock(), **changes)


def ask(target: Target, name: str, version: str, smoke: Smoke, log: Log) -> Answer:
    """What a version answers to its smoke test; it is asked a few times.

    :raises DeployFailed: it does not answer as it should
    """
    for again in range(SMOKES):
        if again:
            time.sleep(SMOKE_SECONDS)
        answer = target.invoke(name, version, smoke)
        wrong = wrong_with(answer, smoke)
        if not wrong:
            log(f"{name}: {version} answers the smoke test")
            return answer
    for line in answer.log[-LOG_LINES:]:
        log(f"  | {line}")
    raise DeployFailed(f"the smoke test of {version} failed: {wrong}")


def wrong_with(answer: Answer, smoke: Smoke) -> str:
    """What is wrong with an answer, "" if nothing is. The body is not shown, it may hold secrets."""
    if answer.status == 0 and answer.log:
        return f"it did not answer: {answer.log[-1]}"
    if answer.status != smoke.status:
        return f"it answered {answer.status or 'nothing'}, not {smoke.status}"
    if smoke.contains and smoke.contains not in answer.body:
        return f"its answer of {len(answer.body)} characters does not hold {smoke.contains!r}"
    return ""
