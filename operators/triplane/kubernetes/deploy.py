"""One release brought to what is wanted: heal what a killed try left, upgrade, and say what serves."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from triplane.core.errors import StaleError, ToolError, TransientError, TriplaneError
from triplane.core.process import private_dir, write_private
from triplane.core.redact import Redactor
from triplane.kubernetes import crds, proof
from triplane.kubernetes.diff import objects
from triplane.kubernetes.helm import (
    Helm,
    Made,
    Observed,
    Release,
    Revision,
    Upgrade,
    Wanted,
    decide,
    killed,
    record,
    unreachable,
    way_back,
)
from triplane.kubernetes.progress import Progress
from triplane.kubernetes.proof import pinned
from triplane.kubernetes.render import digest_but, render
from triplane.kubernetes.rollout import Reader

POLL_SECONDS = 5.0
STARTED = "helm_revision"
Crds = Literal["install", "update", "skip"]


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


class Unproven(TriplaneError):
    """The release was deployed, but proved bad: it went back, or says why it could not."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a release is upgraded. ``history_max``: revisions that Helm keeps; ``test``: run the chart's tests;
    ``prove``: read from the pods that they run its images, beyond what Helm waits for.
    """

    history_max: int = 10
    crds: Crds = "install"
    test: bool = False
    prove: bool = False


@dataclass(kw_only=True)
class Deployment:
    """``approved`` is what an approval covers, None if nothing was approved.

    ``problems`` is why workloads were not ready while Helm waited for them, a text for each.
    """

    helm: Helm
    release: Release
    chart: Path
    wanted: Wanted
    values_digest: str
    approved: Mapping[str, str | int] | None
    timeout: int
    kubectl: str
    state: TryState
    options: Options = Options()
    problems: tuple[str, ...] = ()

    @property
    def _drifted(self) -> int | None:
        """The revision whose objects were changed by hand, as the approval shows; None if none were."""
        return self.approved_revision if self.approved and "drifted" in self.approved else None

    @property
    def _description(self) -> str:
        return record(self.wanted.chart, self.values_digest)

    @property
    def approved_revision(self) -> int | None:
        """The revision whose content served when the change was planned."""
        return None if self.approved is None else int(self.approved["revision"])

    def run(self) -> Outcome:
        """Observe, decide, act, until the release serves what is wanted.

        :raises StaleError: somebody else has changed the release since it was planned, or its chart renders
            something else by now
        :raises ToolError: Helm failed, see :meth:`explain`
        :raises Unproven: the chart's tests failed, see :meth:`explain`
        """
        made: Made | None = None
        self.helm.settle()
        while True:
            observed = self.helm.observe(self.release, made=made)
            action = decide(observed, self.wanted, abandoned=self._abandoned, drifted=self._drifted)
            if action.kind == "keep":
                assert observed.serving is not None
                ours = made is not None or observed.origin != self.approved_revision
                if ours and self.options.test:
                    self._test(observed)
                if self.options.prove and (wrong := self._unproven(observed.serving.number)):
                    raise Unproven(f"its pods do not run the images of it: {'; '.join(wrong)}")
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
            elif made is not None:
                raise TransientError(f"{self.release} was changed by somebody else right after the upgrade")
            else:
                self._check_fresh(observed)
                self._upgrade(observed)
                made = Made(observed.newest, self._description, self.wanted.values)

    def explain(self, error: ToolError | Unproven) -> Failure:
        """What a failure means, from what the release looks like afterwards, and what its pods run."""
        if isinstance(error, ToolError) and (unreachable(error) or killed(error)):
            return Failure(str(error), 0, retry=True)
        try:
            observed = self.helm.observe(self.release)
        except ToolError as second:
            return Failure(f"{error}; and then the release could not be read: {second}", 0, retry=True)
        if observed.latest is not None and observed.latest.pending:
            return Failure(f"{error}; the release is {observed.latest.status}", 0, retry=True)
        said = error.stderr.strip() if isinstance(error, ToolError) else str(error)
        reasons = "\n".join((said[max(said.rfind("Error:"), 0) :], *self.problems)) if self.problems else said
        if observed.serving is None:
            return Failure(f"{self.release} failed and nothing serves: {reasons}", 0)
        number, origin = observed.serving.number, observed.origin
        what = f"revision {number}" + (f" (the content of revision {origin})" if origin != number else "")
        return Failure(f"{self.release} failed, {what} serves{self._proof(number)}: {reasons}", number)

    def _proof(self, number: int) -> str:
        """Whether the pods run the images of the revision that a failure went back to."""
        try:
            wrong = self._unproven(number)
        except TriplaneError as error:
            return f", what its pods run could not be read ({error})"
        if wrong is None:
            return ""
        return f", but {'; '.join(wrong)}" if wrong else ", and its pods run the images of it"

    def _unproven(self, number: int) -> list[str] | None:
        """What its pods run that the revision does not name; None where it names no image by its digest.

        :raises TriplaneError: the cluster cannot be read
        """
        expected = pinned(objects(self.helm.manifest(self.release, number)).values())
        if not expected:
            return None
        return proof.wait(expected, self.helm.kubeconfig, self.release, self.kubectl, min(60, self.timeout))

    def _test(self, observed: Observed) -> None:
        """Run the chart's tests, unless an earlier try did; go back if they fail.

        :raises Unproven: they failed
        """
        assert observed.serving is not None
        if self.helm.tested(self.release):
            return
        try:
            self.helm.test(self.release, self.timeout)
        except ToolError as error:
            if unreachable(error):
                raise
            raise Unproven(f"{self._go_back(observed)}its tests failed: {error.stderr.strip()}") from error

    def _go_back(self, observed: Observed) -> str:
        return go_back(
            self.helm, self.release, observed, self.approved_revision, timeout=self.timeout, state=self.state
        )

    def _upgrade(self, observed: Observed) -> None:
        with private_dir() as folder:
            upgrade = Upgrade(
                release=self.release,
                chart=self.chart,
                values=write_private(folder / "values.json", json.dumps(self.wanted.values)),
                description=self._description,
                timeout=self.timeout,
                history_max=self.options.history_max,
                crds=self.options.crds != "skip",
                over_hands=self._drifted is not None,
            )
            self._check_rendered(upgrade, observed)
            if self.options.crds == "update":
                crds.apply(self.helm.crds(self.chart), self.helm.kubeconfig, self.kubectl, self._say)
            self.state.set(STARTED, str(observed.newest + 1))
            reader = Reader(
                kubeconfig=self.helm.kubeconfig, binary=self.kubectl, redact=self.helm.redact or Redactor()
            )
            progress = Progress(reader, self.release, observed.newest + 1, self._say)
            try:
                with progress:
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

    def _check_rendered(self, upgrade: Upgrade, observed: Observed) -> None:
        """:raises StaleError: the same chart and values render something else than what was approved"""
        if self.approved is None or "manifests" not in self.approved:
            return
        exists = observed.serving is not None
        with private_dir() as folder:
            values = write_private(folder / "values.json", json.dumps(self.wanted.as_written))
            as_written = replace(upgrade, values=values)
            found = render(self.helm, as_written, exists=exists, kubectl=self.kubectl)
        unstable = tuple(str(self.approved.get("manifests_except", "")).split(", "))
        if digest_but(found, unstable) != self.approved["manifests"]:
            raise StaleError(
                f"the chart of {self.release} renders other manifests than those that were approved: it looks "
                "things up in the cluster, or the cluster's version or the time has changed; plan again"
            )

    def _say(self, line: str) -> None:
        if self.helm.say:
            self.helm.say(line)


def go_back(
    helm: Helm,
    release: Release,
    observed: Observed,
    approved_revision: int | None,
    *,
    timeout: int,
    state: TryState,
) -> str:
    """Leave a revision that is deployed but bad, at most to what was there before. Says why it could not."""
    say = helm.say or (lambda line: None)
    target = way_back(observed, approved_revision)
    if target is None:
        return "there is no earlier revision in the history to go back to; "
    if target == 0:
        say("Nothing served before; uninstalling")
        helm.uninstall(release, timeout)
    else:
        say(f"Going back to revision {target}")
        assert observed.latest is not None
        state.set(STARTED, str(observed.latest.number + 1))
        helm.roll_back(release, target, timeout)
    return ""
