"""Helm, driven through its command line: observe the release, decide on one action, act, observe again."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from triplane.core.errors import ToolError
from triplane.core.process import Command, Completed, run, tool_env

NOT_FOUND = "release: not found"
_ROLLBACK = re.compile(r"Rollback to (\d+)")
_RECORD = re.compile(r"triplane chart=(sha256:[0-9a-f]{64}) values=(sha256:[0-9a-f]{64})")
_UNREACHABLE = re.compile(
    r"(?i)unreachable|connection (?:refused|reset)|no such host|i/o timeout|TLS handshake timeout"
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
    """One installation or upgrade. ``values`` is a 0600 file; ``timeout`` is in seconds."""

    release: Release
    chart: Path
    values: Path
    description: str
    timeout: int


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
        *("--values", str(upgrade.values), "--description", upgrade.description),
        *("--wait", "--timeout", f"{upgrade.timeout}s"),
        "--rollback-on-failure" if major >= 4 else "--atomic",
    )


def rollback_args(release: Release, revision: int, timeout: int) -> tuple[str, ...]:
    """``helm rollback``."""
    where = ("--namespace", release.namespace)
    return ("rollback", release.name, str(revision), *where, "--wait", "--timeout", f"{timeout}s")


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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Revision:
        """An item of ``helm history --output json``."""
        text = re.sub(r"(\.\d{6})\d+", r"\1", value["updated"])
        updated = datetime.datetime.fromisoformat(text)
        return cls(value["revision"], value["status"], value["description"], updated)


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
    """What should serve: digest of the chart, and the values with their references resolved."""

    chart: str
    values: Mapping[str, Any]

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


def decide(observed: Observed, wanted: Wanted, *, abandoned: Callable[[Revision], bool]) -> Action:
    """The next step towards ``wanted``.

    A release that is ``pending-*`` or ``uninstalling`` belongs to a Helm that still runs, unless
    ``abandoned`` says that it was killed; then the release is healed before anything else.
    """
    latest, serving = observed.latest, observed.serving
    if latest is None:
        return Action("upgrade")
    if latest.status.startswith("pending-") or latest.status == "uninstalling":
        if not abandoned(latest):
            return Action("wait")
        if serving is None or latest.status == "uninstalling":
            return Action("uninstall")
        return Action("roll_back", serving.number)
    if latest.status == "deployed" and wanted.serves(observed):
        return Action("keep")
    return Action("upgrade")


@dataclass(frozen=True)
class Helm:
    """The ``helm`` binary, talking to one cluster."""

    kubeconfig: Path
    binary: str = "helm"
    say: Callable[[str], None] | None = None
    redact: Callable[[str], str] | None = None

    @cached_property
    def major(self) -> int:
        """Helm's major version."""
        text = self._run(("version", "--template", "{{.Version}}")).stdout
        return int(text.strip().lstrip("v").split(".")[0])

    def observe(self, release: Release) -> Observed:
        """The release as it is now; an empty history if there is none."""
        try:
            history = json.loads(self._run(history_args(release)).stdout)
        except ToolError as error:
            if NOT_FOUND in error.stderr:
                return Observed()
            raise
        observed = Observed(tuple(Revision.from_json(item) for item in history))
        if observed.serving is None:
            return observed
        values = json.loads(self._run(values_args(release, observed.serving.number)).stdout)
        return Observed(observed.revisions, values or {})

    def upgrade(self, upgrade: Upgrade) -> None:
        """Install or upgrade, and wait until it serves. :raises ToolError: it does not; Helm rolled back"""
        self._run(upgrade_args(upgrade, self.major), say=True, timeout=2 * upgrade.timeout + 60)

    def roll_back(self, release: Release, revision: int, timeout: int) -> None:
        """Go back to ``revision``, as a new revision."""
        self._run(rollback_args(release, revision, timeout), say=True, timeout=timeout + 60)

    def uninstall(self, release: Release, timeout: int) -> None:
        """Remove the release and its history."""
        self._run(uninstall_args(release, timeout), say=True, timeout=timeout + 60)

    def _run(self, args: Sequence[str], *, say: bool = False, timeout: float = 60) -> Completed:
        command = Command(argv=(self.binary, *args), env=tool_env(KUBECONFIG=str(self.kubeconfig)))
        return run(command, on_line=self.say if say else None, redact=self.redact, timeout=timeout)


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
