"""A cloud in memory that runs versions and shares traffic between them, as a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from triplane.core.errors import TransientError
from triplane.serverless.target import (
    Answer,
    DeployFailed,
    Desired,
    Kind,
    Log,
    Observed,
    Progress,
    Ready,
    Smoke,
    Waiting,
)


class Killed(BaseException):
    """The task's process is gone."""


@dataclass
class World:
    """What outlives a task: versions with the attempts that made them, and who gets how much."""

    versions: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    traffic: dict[str, int] = field(default_factory=dict)
    age: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    history: list[dict[str, int]] = field(default_factory=list)


@dataclass
class Cloud:
    """``slow`` calls pass before something is ready. What is in ``broken`` does not come up, what is in ``sick`` answers
    500. At call ``kill_at`` the process dies, after the call has worked; at calls ``busy`` the cloud answers 429.
    """

    world: World = field(default_factory=World)
    splits: bool = True
    apart: bool = True
    slow: int = 0
    look: float = 0.0
    broken: frozenset[str] = frozenset()
    sick: frozenset[str] = frozenset()
    kill_at: int = 0
    busy: frozenset[int] = frozenset()
    options = frozenset({"memory"})
    runs: frozenset[Kind] = frozenset({"package"})

    def observe(self, name: str) -> Observed | None:
        self._called()
        if not self.world.versions:
            return None
        live = self.world.traffic
        version = next(iter(live), "")
        if len(live) > 1:
            shares = ",".join(f"{key}={share}" for key, share in live.items())
            return Observed(version=shares, artifact=self.world.versions[version][0])
        artifact, config, _ = self.world.versions.get(version, (None, None, ""))
        return Observed(version=version, artifact=artifact, config=config)

    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        self._called()
        mine = [key for key, found in self.world.versions.items() if found[2] == desired.attempt]
        if not mine:
            version = str(len(self.world.versions) + 1)
            self.world.versions[version] = (desired.artifact, desired.config, desired.attempt)
            mine = [version]
        self._die()
        if self._slow("prepare"):
            return Waiting(why="bringing it up", seconds=self.look)
        if desired.artifact in self.broken:
            raise DeployFailed("it does not come up")
        return Ready(version=mine[0])

    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        self._called()
        before = previous.version if previous else ""
        rest = {before: 100 - percent} if percent < 100 else {}
        self._serve({**rest, version: percent})
        self._die()
        return (
            Waiting(why="moving", seconds=self.look)
            if self._slow(f"shift {percent}")
            else Ready(version=version)
        )

    def verify(self, desired: Desired, version: str) -> None:
        self._called()
        if self.world.traffic != {version: 100} or self.world.versions[version][0] != desired.artifact:
            raise DeployFailed(f"{self.world.traffic} serves")

    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        self._called()
        if previous is None:
            self.world.versions.clear()
            self._serve({})
            return Ready(version="")
        self._serve({previous.version: 100} if previous.version else {})
        self._die()
        return (
            Waiting(why="moving back", seconds=self.look)
            if self._slow("back")
            else Ready(version=previous.version)
        )

    def invoke(self, name: str, version: str, smoke: Smoke) -> Answer:
        self._called()
        bad = self.world.versions[version][0] in self.sick
        return Answer(status=500 if bad else 200, body="pong", log=["a line of the log"])

    def tail(self, name: str, version: str) -> Sequence[str]:
        return ["Traceback: boom"]

    def delete(self, name: str) -> Progress:
        self._called()
        self.world.versions.clear()
        self.world.traffic.clear()
        return Ready(version="")

    def _serve(self, traffic: dict[str, int]) -> None:
        if traffic != self.world.traffic:
            self.world.traffic = traffic
            self.world.history.append(traffic)

    def _slow(self, what: str) -> bool:
        self.world.age[what] = self.world.age.get(what, 0) + 1
        return self.world.age[what] <= self.slow

    def _called(self) -> None:
        self.world.calls += 1
        if self.world.calls in self.busy:
            raise TransientError("429 Too Many Requests")

    def _die(self) -> None:
        if self.world.calls == self.kill_at:
            raise Killed
