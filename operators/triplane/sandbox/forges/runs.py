"""Runs as they go by, in two stages. The pipeline's name says how: ``fails``, ``hangs``, ``asks`` (for approval), else well."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["pending", "running", "waiting", "succeeded", "failed", "cancelled", "skipped"]
QUEUE_SECONDS, STAGE_SECONDS = 0.05, 0.15
BUILD, DEPLOY = "build", "deploy"
LOG = (
    "Fetching source",
    "Deploying to the cluster",
    "using password: hunter2-planted",
    "error: deployment page exceeded its progress deadline",
)
COMMIT = "3f0c1a2b4d5e6f708192a3b4c5d6e7f8091a2b3c"
"""Where ``main`` is, everywhere."""
REFS = {"main": COMMIT, "v1": "1111111111111111111111111111111111111111"}


class Conflict(Exception):
    """What the run's state does not allow."""


@dataclass
class Run:
    """One run of the pipeline called ``name``."""

    id: int
    name: str
    ref: str
    sha: str
    inputs: Mapping[str, str]
    began: float = field(default_factory=time.time)
    approved: float = 0.0
    rejected: bool = False
    cancelled: bool = False

    @property
    def stages(self) -> tuple[State, State]:
        """How ``build`` and ``deploy`` stand."""
        if self.rejected:
            return "succeeded", "failed"
        since = time.time() - self.began - QUEUE_SECONDS
        if self.cancelled:
            return ("succeeded", "cancelled") if since > STAGE_SECONDS else ("cancelled", "skipped")
        if since < STAGE_SECONDS:
            return ("pending" if since < 0 else "running"), "pending"
        if "asks" in self.name and not self.approved:
            return "succeeded", "waiting"
        if "hangs" in self.name:
            return "succeeded", "running"
        begun = self.approved or self.began + QUEUE_SECONDS + STAGE_SECONDS
        if time.time() - begun < STAGE_SECONDS:
            return "succeeded", "running"
        return "succeeded", "failed" if "fails" in self.name else "succeeded"

    @property
    def state(self) -> State:
        """How the whole of it stands."""
        build, deploy = self.stages
        if "cancelled" in (build, deploy):
            return "cancelled"
        return (
            deploy
            if deploy in ("waiting", "failed", "succeeded")
            else build
            if build == "pending"
            else "running"
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.state in ("succeeded", "failed", "cancelled")

    def cancel(self) -> None:
        """Stop it. Raises Conflict if it has ended."""
        if self.ended:
            raise Conflict(f"run {self.id} has ended")
        self.cancelled = True

    def decide(self, approved: bool) -> None:
        """Answer its approval. Raises Conflict if it asks for none."""
        if self.state != "waiting":
            raise Conflict(f"run {self.id} does not wait for approval")
        if approved:
            self.approved = time.time()
        else:
            self.rejected = True


class Runs:
    """The runs of one forge."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._all: dict[int, Run] = {}

    def start(self, name: str, ref: str, sha: str, inputs: Mapping[str, str]) -> Run:
        self._next += 1
        run = self._all[self._next] = Run(self._next, name, ref, sha, dict(inputs))
        return run

    def get(self, identity: str) -> Run | None:
        return self._all.get(int(identity)) if identity.isdigit() else None

    def of(self, name: str) -> list[Run]:
        """The oldest first."""
        return [run for run in self._all.values() if run.name == name]
