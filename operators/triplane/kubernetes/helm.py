"""Helm, driven through its command line: observe the release, decide on one action, act, observe again."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from triplane.core.digest import digest
from triplane.core.errors import ToolError, ToolLost
from triplane.core.jobs import Job
from triplane.core.private import user_dir, write_private
from triplane.core.process import Command, Completed, left_over, run
from triplane.kubernetes.kubectl import kubectl_env

NOT_FOUND = "release: not found"
PACE = {"HELM_BURST_LIMIT": "300", "HELM_QPS": "50"}
"""How fast Helm may ask the API server: as kubectl does. Helm's own 5 a second take minutes for large charts."""
_ROLLBACK = re.compile(r"Rollback to (\d+)")
_RECORD = re.compile(r"triplane chart=(sha256:[0-9a-f]{64}) values=(sha256:[0-9a-f]{64})")
_UNREACHABLE = re.compile(
    r"(?i)unreachable|connection (?:refused|reset)|connection to the server \S+ was refused|no such host"
    r"|i/o timeout|TLS handshake timeout|unable to connect to the server"
    r"|too many requests|etcdserver|service unavailable|http2: client connection lost"
)


@dataclass(frozen=True)
class Release:
    """A release's name and namespace."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """One installation or upgrade. ``values`` is a 0600 file; ``timeout`` is in seconds.

    ``history_max`` is how many revisions Helm keeps, 0 for all; ``crds`` whether CRDs that are missing are made.
    """

    release: Release
    chart: Path
    values: Path
    description: str
    timeout: int
    history_max: int = 10
    crds: bool = True
    over_hands: bool = False
    """Whether fields that somebody else has set since are ours again; people saw that."""


def history_args(release: Release) -> tuple[str, ...]:
    """``helm history``."""
    return ("history", release.name, "--namespace", release.namespace, "--output", "json")


def values_args(release: Release, revision: int) -> tuple[str, ...]:
    """``helm get values``: what was given to the chart at ``revision``."""
    where = ("--namespace", release.namespace, "--revision", str(revision))
    return ("get", "values", release.name, *where, "--output", "json")


def upgrade_args(upgrade: Upgrade, major: int) -> tuple[str, ...]:
    """``helm upgrade --install``; ``major`` is Helm's own version."""
    return (
        *("upgrade", upgrade.release.name, str(upgrade.chart), "--install"),
        *("--namespace", upgrade.release.namespace, "--create-namespace"),
        *("--reset-values", "--values", str(upgrade.values), "--description", upgrade.description),
        *("--history-max", str(upgrade.history_max)),
        *(() if upgrade.crds else ("--skip-crds",)),
        *(("--server-side=true", "--force-conflicts") if upgrade.over_hands and major >= 4 else ()),
        *("--wait", "--wait-for-jobs", "--timeout", f"{upgrade.timeout}s"),
        "--rollback-on-failure" if major >= 4 else "--atomic",
    )


def dry_run_args(upgrade: Upgrade) -> tuple[str, ...]:
    """``helm upgrade --dry-run=server``: what it would render, with the cluster's versions and lookups."""
    return (
        *("upgrade", upgrade.release.name, str(upgrade.chart), "--install"),
        *("--namespace", upgrade.release.namespace, "--reset-values", "--values", str(upgrade.values)),
        *("--dry-run=server", "--output", "json"),
    )


def template_args(upgrade: Upgrade, *, exists: bool, version: str, apis: Sequence[str]) -> tuple[str, ...]:
    """``helm template``, where :func:`dry_run_args` cannot be: told what the cluster knows, without lookups."""
    return (
        *("template", upgrade.release.name, str(upgrade.chart)),
        *("--namespace", upgrade.release.namespace, "--values", str(upgrade.values)),
        *("--kube-version", version, "--api-versions", ",".join(apis)),
        *(("--is-upgrade",) if exists else ()),
    )


def get_args(what: str, release: Release, revision: int) -> tuple[str, ...]:
    """``helm get manifest`` or ``helm get hooks`` of one revision."""
    return ("get", what, release.name, "--namespace", release.namespace, "--revision", str(revision))


def status_args(release: Release) -> tuple[str, ...]:
    """``helm status``."""
    return ("status", release.name, "--namespace", release.namespace, "--output", "json")


def test_args(release: Release, timeout: int) -> tuple[str, ...]:
    """``helm test``."""
    return ("test", release.name, "--namespace", release.namespace, "--timeout", f"{timeout}s")


def rollback_args(release: Release, revision: int, timeout: int) -> tuple[str, ...]:
    """``helm rollback``."""
    where = ("--namespace", release.namespace)
    wait = ("--wait", "--wait-for-jobs", "--timeout", f"{timeout}s")
    return ("rollback", release.name, str(revision), *where, *wait)


def uninstall_args(release: Release, timeout: int) -> tuple[str, ...]:
    """``helm uninstall``, of a release that is no longer there too."""
    where = ("--namespace", release.namespace, "--ignore-not-found")
    return ("uninstall", release.name, *where, "--wait", "--timeout", f"{timeout}s")


def record(chart: str, values: str) -> str:
    """The description of a revision that we make: the digests of its chart and of its values as written."""
    return f"triplane chart={chart} values={values}"


@dataclass(frozen=True)
class Revision:
    """One entry of a release's history."""

    number: int
    status: str
    description: str = ""
    updated: datetime.datetime | None = None

    @property
    def pending(self) -> bool:
        """A Helm works on it, or was killed while it did."""
        return self.status.startswith("pending-") or self.status == "uninstalling"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Revision:
        """An item of ``helm history --output json``."""
        text = re.sub(r"(\.\d{6})\d+", r"\1", value["updated"])
        updated = datetime.datetime.fromisoformat(text)
        return cls(value["revision"], value["status"], value["description"], updated)


@dataclass(frozen=True)
class Made:
    """The revision that a successful upgrade of ours made: newer than ``after``, with our description and values."""

    after: int
    description: str
    values: Mapping[str, Any]

    def is_it(self, revision: Revision) -> bool:
        """Whether it is that one."""
        return revision.number == self.after + 1 and revision.description == self.description


@dataclass(frozen=True)
class Observed:
    """A release as it is: its history, oldest first, and the values of the revision that serves."""

    revisions: tuple[Revision, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latest(self) -> Revision | None:
        """The newest revision, whatever became of it."""
        return self.revisions[-1] if self.revisions else None

    @property
    def newest(self) -> int:
        """Its number, 0 if there is none."""
        return self.latest.number if self.latest else 0

    @property
    def serving(self) -> Revision | None:
        """The revision that Helm regards as deployed."""
        return next((item for item in reversed(self.revisions) if item.status == "deployed"), None)

    @property
    def origin(self) -> int:
        """The revision whose content serves: a rollback counts as what it went back to; 0 for none."""
        number = self.serving.number if self.serving else 0
        known = {revision.number: revision for revision in self.revisions}
        while number in known and (match := _ROLLBACK.search(known[number].description)):
            number = int(match[1])
        return number

    @property
    def recorded(self) -> tuple[str, str] | None:
        """Digests of chart and values that the serving revision was made of, None if not by us."""
        revision = next((item for item in self.revisions if item.number == self.origin), None)
        match = _RECORD.search(revision.description) if revision else None
        return (match[1], match[2]) if match else None


@dataclass(frozen=True)
class Wanted:
    """What should serve: digest of the chart, the values with their references resolved, and as written."""

    chart: str
    values: Mapping[str, Any]
    as_written: Mapping[str, Any] = field(default_factory=dict)

    def serves(self, observed: Observed) -> bool:
        """Whether the release serves exactly this."""
        return (
            observed.recorded is not None
            and observed.recorded[0] == self.chart
            and canonical(observed.values) == canonical(self.values)
        )


@dataclass(frozen=True)
class Action:
    """What to do next. ``revision`` is where ``roll_back`` goes."""

    kind: Literal["keep", "upgrade", "roll_back", "uninstall", "wait"]
    revision: int = 0


def way_back(observed: Observed, approved: int | None) -> int | None:
    """Where a release goes whose newest revision is deployed but proved bad.

    ``approved`` is the revision whose content served when the change was approved, None if nothing was. 0 stands
    for uninstalling: nothing served before. None: nowhere, because what serves is what was there before, or a
    rollback that nobody approved anything against, or because the good one is no longer in the history.
    """
    serving = observed.serving
    if serving is None or observed.origin == approved:
        return None
    earlier = [item.number for item in observed.revisions if item.status == "superseded"]
    earlier = [number for number in earlier if number < observed.origin]
    if approved is None:
        return None if _ROLLBACK.search(serving.description) else max(earlier, default=0)
    return approved if approved in (0, *earlier) else None


def decide(
    observed: Observed,
    wanted: Wanted,
    *,
    abandoned: Callable[[Revision], bool],
    drifted: int | None = None,
) -> Action:
    """The next step towards ``wanted``.

    What revision ``drifted`` made was changed by hand since, so that its content has to be applied again. A release that is ``pending-*`` or ``uninstalling`` belongs to a Helm that still runs, unless
    ``abandoned`` says that it was killed; then the release is healed before anything else.
    """
    latest, serving = observed.latest, observed.serving
    if latest is None:
        return Action("upgrade")
    if latest.pending:
        if not abandoned(latest):
            return Action("wait")
        if serving is None or latest.status == "uninstalling":
            return Action("uninstall")
        return Action("roll_back", serving.number)
    if latest.status == "deployed" and wanted.serves(observed) and observed.origin != drifted:
        return Action("keep")
    return Action("upgrade")


@dataclass(frozen=True)
class Helm:
    """The ``helm`` binary, talking to one cluster. As ``job`` a change of a release is found again by a retry."""

    kubeconfig: Path
    binary: str = "helm"
    say: Callable[[str], None] | None = None
    redact: Callable[[str], str] | None = None
    job: Job | None = None

    def settle(self) -> None:
        """Wait for the Helm that a killed try of this task left at work."""
        if self.job is not None:
            left_over(self.job, on_line=self.say, redact=self.redact)

    @cached_property
    def major(self) -> int:
        """Helm's major version, asked once for each file on this machine."""
        file = Path(shutil.which(self.binary) or self.binary).resolve()
        known = None
        if file.exists():
            stat = file.stat()
            which = digest([str(file), stat.st_size, stat.st_mtime_ns]).removeprefix("sha256:")
            known = user_dir("helm", memory=True) / which
            if known.exists():
                return int(known.read_text())
        text = self._run(("version", "--template", "{{.Version}}")).stdout
        major = int(text.strip().lstrip("v").split(".")[0])
        if known is not None:
            os.replace(write_private(known.with_suffix(f".{os.getpid()}"), str(major)), known)
        return major

    def observe(self, release: Release, *, made: Made | None = None) -> Observed:
        """The release as it is now; an empty history if there is none.

        The values of a revision that the caller has just ``made`` are not asked for.
        """
        try:
            history = json.loads(self._run(history_args(release)).stdout)
        except ToolError as error:
            if NOT_FOUND in error.stderr:
                return Observed()
            raise
        observed = Observed(tuple(Revision.from_json(item) for item in history))
        if observed.serving is None:
            return observed
        if made is not None and made.is_it(observed.serving):
            return Observed(observed.revisions, made.values)
        values = json.loads(self._run(values_args(release, observed.serving.number)).stdout)
        return Observed(observed.revisions, values or {})

    def upgrade(self, upgrade: Upgrade) -> None:
        """Install or upgrade, and wait until it serves. :raises ToolError: it does not; Helm rolled back"""
        self._run(upgrade_args(upgrade, self.major), say=True, timeout=2 * upgrade.timeout + 60)

    def dry_run(self, upgrade: Upgrade) -> Any:
        """What Helm says that an upgrade would be: ``manifest``, ``hooks``, and more. :raises ToolError:"""
        return json.loads(self._run(dry_run_args(upgrade)).stdout)

    def template(self, upgrade: Upgrade, *, exists: bool, version: str, apis: Sequence[str]) -> str:
        """What the chart renders, hooks included. :raises ToolError:"""
        return self._run(template_args(upgrade, exists=exists, version=version, apis=apis)).stdout

    def manifest(self, release: Release, revision: int) -> str:
        """What a revision consists of, its hooks included."""
        parts = (self._run(get_args(what, release, revision)).stdout for what in ("manifest", "hooks"))
        return "\n---\n".join(parts)

    def applied(self, release: Release, revision: int) -> str:
        """What a revision applied, without its hooks."""
        return self._run(get_args("manifest", release, revision)).stdout

    def tested(self, release: Release) -> bool:
        """Whether every test of the newest revision has succeeded."""
        hooks = json.loads(self._run(status_args(release)).stdout).get("hooks") or []
        tests = [hook for hook in hooks if "test" in hook.get("events", ())]
        return all((hook.get("last_run") or {}).get("phase") == "Succeeded" for hook in tests)

    def test(self, release: Release, timeout: int) -> None:
        """Run the tests of the chart. :raises ToolError: one of them failed"""
        self._run(test_args(release, timeout), say=True, timeout=timeout + 60)

    def crds(self, chart: Path) -> str:
        """The CRDs of a chart and its subcharts."""
        return self._run(("show", "crds", str(chart))).stdout

    def roll_back(self, release: Release, revision: int, timeout: int) -> None:
        """Go back to ``revision``, as a new revision."""
        self._run(rollback_args(release, revision, timeout), say=True, timeout=timeout + 60)

    def uninstall(self, release: Release, timeout: int) -> None:
        """Remove the release and its history."""
        self._run(uninstall_args(release, timeout), say=True, timeout=timeout + 60)

    def _run(self, args: Sequence[str], *, say: bool = False, timeout: float = 60) -> Completed:
        env = kubectl_env(self.kubeconfig) | PACE
        command = Command(argv=(self.binary, *args), env=env)
        if self.job is None or not say:
            return run(command, on_line=self.say if say else None, redact=self.redact, timeout=timeout)
        done = run(command, on_line=self.say, redact=self.redact, timeout=timeout, job=self.job)
        self.job.forget()
        return done


def killed(error: ToolError) -> bool:
    """Whether the tool was killed, so that a retry finds what it left and sets it right."""
    return isinstance(error, ToolLost) or error.returncode == 128 + signal.SIGKILL


def unreachable(error: ToolError) -> bool:
    """Whether the tool could not talk to the API server: worth a retry."""
    return bool(_UNREACHABLE.search(error.stderr))


def canonical(value: Any) -> str:
    """Values in one spelling: Helm drops nulls and reads whole floats as integers."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
