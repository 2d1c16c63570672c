"""One release brought to what is wanted: heal what a killed try left, upgrade, and say what serves."""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from triplane.core.errors import StaleError, ToolError, TransientError
from triplane.core.process import private_dir, write_private
from triplane.kubernetes.helm import (
    Helm,
    Observed,
    Release,
    Revision,
    Upgrade,
    Wanted,
    decide,
    record,
    unreachable,
)
from triplane.kubernetes.progress import Progress

POLL_SECONDS = 5.0
STARTED = "helm_revision"


class TryState(Protocol):
    """Survives the retries of one task."""

    def get(self, key: str) -> str | None: ...

    def set(self, key: str, value: str) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """The revision that serves now, and whether this made it."""

    state: Literal["deployed", "unchanged"]
    revision: int


@dataclass(frozen=True)
class Failure:
    """Why it failed. ``revision`` serves now (0: none does); ``retry``: the cluster could not be reached."""

    text: str
    revision: int
    retry: bool = False


@dataclass(kw_only=True)
class Deployment:
    """``approved_revision`` is the one whose content served when the change was planned.

    ``problems`` is what pods were waiting for while Helm waited for them.
    """

    helm: Helm
    release: Release
    chart: Path
    wanted: Wanted
    values_digest: str
    approved_revision: int | None
    timeout: int
    kubectl: str
    state: TryState
    problems: tuple[str, ...] = ()

    def run(self) -> Outcome:
        """Observe, decide, act, until the release serves what is wanted.

        :raises StaleError: somebody else has changed the release since it was planned
        :raises ToolError: Helm failed, see :meth:`explain`
        """
        upgraded = False
        while True:
            observed = self.helm.observe(self.release)
            action = decide(observed, self.wanted, abandoned=self._abandoned)
            if action.kind == "keep":
                assert observed.serving is not None
                ours = upgraded or observed.origin != self.approved_revision
                return Outcome("deployed" if ours else "unchanged", observed.serving.number)
            if action.kind == "wait":
                self._say(f"{self.release} is being changed by somebody else; waiting")
                time.sleep(POLL_SECONDS)
            elif action.kind == "roll_back":
                self._say(f"A Helm was killed at work; going back to revision {action.revision}")
                self.helm.roll_back(self.release, action.revision, self.timeout)
            elif action.kind == "uninstall":
                self._say("A Helm was killed at its first installation; removing what it left")
                self.helm.uninstall(self.release, self.timeout)
            elif upgraded:
                raise TransientError(f"{self.release} was changed by somebody else right after the upgrade")
            else:
                self._check_fresh(observed)
                self._upgrade(observed)
                upgraded = True

    def explain(self, error: ToolError) -> Failure:
        """What a failure of Helm means, from what the release looks like afterwards."""
        if unreachable(error):
            return Failure(str(error), 0, retry=True)
        try:
            observed = self.helm.observe(self.release)
        except ToolError as second:
            return Failure(f"{error}; and then the release could not be read: {second}", 0, retry=True)
        reasons = "; ".join(self.problems) or error.stderr.strip()
        if observed.serving is None:
            return Failure(f"{self.release} failed and nothing serves: {reasons}", 0)
        number, origin = observed.serving.number, observed.origin
        what = f"revision {number}" + (f" (the content of revision {origin})" if origin != number else "")
        return Failure(f"{self.release} failed, {what} serves: {reasons}", number)

    def _upgrade(self, observed: Observed) -> None:
        self.state.set(STARTED, str(observed.latest.number + 1 if observed.latest else 1))
        with private_dir() as folder:
            upgrade = Upgrade(
                release=self.release,
                chart=self.chart,
                values=write_private(folder / "values.json", json.dumps(self.wanted.values)),
                description=record(self.wanted.chart, self.values_digest),
                timeout=self.timeout,
            )
            with Progress(self.helm.kubeconfig, self.release, self.kubectl, self._say) as progress:
                try:
                    self.helm.upgrade(upgrade)
                except ToolError:
                    self.problems = progress.problems
                    raise

    def _abandoned(self, revision: Revision) -> bool:
        """Ours from an earlier try, whose Helm ended with it; or older than any Helm would wait."""
        if str(revision.number) == self.state.get(STARTED):
            return True
        now = datetime.datetime.now(datetime.UTC)
        limit = datetime.timedelta(seconds=self.timeout + 60)
        return revision.updated is None or now - revision.updated > limit

    def _check_fresh(self, observed: Observed) -> None:
        if self.approved_revision in (None, observed.origin):
            return
        raise StaleError(
            f"{self.release} serves the content of revision {observed.origin}, the plan was made when it was "
            f"{self.approved_revision}; plan again"
        )

    def _say(self, line: str) -> None:
        if self.helm.say:
            self.helm.say(line)
