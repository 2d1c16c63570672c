"""Terraform (1.9 or newer) and OpenTofu in a working directory: runs them, and explains how they failed."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from triplane.core.errors import (
    InputError,
    OutputTooLarge,
    StaleError,
    TerminalError,
    ToolError,
    ToolLost,
    ToolTimeout,
    TransientError,
)
from triplane.core.jobs import Job
from triplane.core.private import hold
from triplane.core.process import Command, Completed, attach, run
from triplane.core.redact import Redactor
from triplane.terraform import version
from triplane.terraform.arguments import (
    Args,
    apply_args,
    force_unlock_args,
    init_args,
    plan_args,
    plugin_cache,
    pull_args,
    show_args,
)
from triplane.terraform.binary import Binary
from triplane.terraform.diagnostics import advice, hint
from triplane.terraform.events import Events, Lock, parse_lock, plain
from triplane.terraform.plan import State, parse_state, sensitive_values

NO_CHANGES, CHANGES = 0, 2
INIT_GRACE = 5.0
CACHE_TICK_SECONDS = 0.05
LOCK = "state-lock"
"""Under this name an apply's job keeps the id of the lock that the apply holds."""
NO_LOCK = "0"
"""No backend gives a lock this id. GCS, whose ids are generations of an object, refuses it unsent."""
NAMES_ITS_LOCK = frozenset({"s3", "gcs", "azurerm"})
"""Backends that refuse to free another lock than the one that is there, and say which one that is."""
PROBE_SECONDS = 30.0
COMMAND_SECONDS = 60.0
MAX_PLAN_BYTES = 100_000_000
APPLY = "OperationTypeApply"
SLIP_SECONDS = 0.5
"""Before a command starts again whose lock was refused and then held by nobody: Terraform gives up at once there."""


class LockedError(TransientError):
    """Somebody else holds the state's lock, and kept it for as long as we were willing to wait."""


class RejectedError(ToolError, TerminalError):
    """Terraform said what a retry would only hear again. ``advice`` is what people have to do."""

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str, advice: str) -> None:
        self.advice = advice
        super().__init__(argv, returncode, stderr)

    def _message(self) -> str:
        return f"{super()._message().rstrip('.')}. A retry cannot help: {self.advice}"


class ApplyError(ToolError):
    """An apply failed, was stopped or was killed. ``events`` says how far it had come."""

    def __init__(self, error: ToolError, events: Events) -> None:
        self.events = events
        self.killed = isinstance(error, ToolLost) or error.returncode == 128 + signal.SIGKILL
        self._said = str(error)
        super().__init__(error.argv, error.returncode, error.stderr)

    def _message(self) -> str:
        return self._said


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """Terraform or OpenTofu in one working directory.

    ``say`` gets one readable line per event, redacted by what ``redactor`` knows at that moment. ``hide`` is
    told of every secret that a plan reveals. Times are in seconds: ``lock_timeout`` to wait for
    the state's lock, ``timeout`` for one command (None: no limit), ``init_timeout`` for ``init``, ``grace`` for an
    interrupted command to save the state before it is killed. ``max_plan_bytes`` is how large a plan may be, as JSON.
    ``required_version`` is the platform spec's. ``credentials`` is asked before each command for environment variables
    that are good for so many seconds, ``apply_seconds`` before an apply.
    """

    directory: Path
    env: Mapping[str, str] = field(repr=False)
    binary: Binary
    required_version: str | None = None
    say: Callable[[str], None] = print
    redactor: Callable[[], Redactor] = Redactor
    hide: Callable[[str], object] = str
    lock_timeout: float = 300
    timeout: float | None = None
    init_timeout: float = 300
    grace: float = 600
    max_plan_bytes: int = MAX_PLAN_BYTES
    credentials: Callable[[float], Mapping[str, str]] = field(default=lambda seconds: {}, repr=False)
    apply_seconds: float = 0

    def init(self, backend_config: Path | None = None) -> None:
        """Prepare the directory: backend, modules, providers.

        An ``init`` that gets no answer may ignore being asked to stop; it has nothing to save, and is killed.

        :raises InputError: the platform or the stack does not accept this version, or it does not know the backend's
            settings
        :raises RejectedError: the code or the credentials are wrong
        """
        found = self.version()
        self.say(f"{found} ({self.binary.file})")
        version.check(self.directory, found, self.required_version)
        if backend_config is not None:
            version.check_backend(json.loads(backend_config.read_text()), found)
        with _one_at_a_time(plugin_cache(self.env)):
            hasty = replace(self, timeout=self.init_timeout, grace=INIT_GRACE)
            hasty._run(init_args(backend_config))

    def version(self) -> version.Version:
        """What the binary says that it is.

        :raises InputError: it is an OpenTofu whose file is called otherwise, or the other way round
        """
        # Not as JSON, in which OpenTofu calls itself ``terraform_version``.
        found = version.parse(self._run(("version",), quiet=True).stdout)
        if (found.tool == "tofu") != self.binary.tofu:
            raise InputError(
                f"{self.binary.file} is {found}, but its name says otherwise, and what files it reads depends on "
                f"that: rename it, or name `{found.tool}` with `terraform_bin`"
            )
        return found

    def plan(self, out: Path, var_file: Path | None = None, *, destroy: bool = False) -> bool:
        """Plan into ``out``; returns whether there are changes.

        :raises LockedError: the state stayed locked
        :raises RejectedError: the code, a variable or the credentials are wrong
        """
        args = plan_args(
            out=out,
            var_file=var_file,
            lock_timeout=self.lock_timeout,
            destroy=destroy,
        )
        return self._run(args, ok=frozenset({NO_CHANGES, CHANGES})).returncode == CHANGES

    def show(self, plan: Path) -> dict[str, Any]:
        """A saved plan as JSON, with secrets in the clear.

        :raises InputError: it is larger than ``max_plan_bytes``
        """
        try:
            shown = self._run(show_args(plan), quiet=True, max_output=self.max_plan_bytes)
        except OutputTooLarge:
            raise InputError(
                f"the plan is larger than {self.max_plan_bytes / 1e6:g} MB of JSON, more than people can review; split "
                "the stack, keep large values out of its attributes (in objects or files), or raise `max_plan_bytes`"
            ) from None
        document: dict[str, Any] = json.loads(shown.stdout)
        for secret in sensitive_values(document):
            self.hide(secret)
        return document

    def pull(self) -> State:
        """The state as it is now."""
        return parse_state(self._run(pull_args(), quiet=True).stdout)

    def complete_env(self, seconds: float = COMMAND_SECONDS) -> dict[str, str]:
        """The environment with credentials that are good for ``seconds``."""
        return {**self.env, **self.credentials(seconds)}

    def renew(self) -> None:
        """Make sure of credentials that last for an apply and the wait for its lock.

        :raises InputError: even fresh ones do not
        """
        self.credentials(self.apply_seconds + self.lock_timeout)

    def apply(self, plan: Path, job: Job | None = None) -> None:
        """Apply a saved plan; as ``job`` it is found again if this process is killed.

        :raises LockedError: the state stayed locked; nothing was begun
        :raises StaleError: the state has moved on since the plan was made; nothing was begun
        :raises ApplyError: it failed or was stopped; what it did until then is in the state
        """
        with _applying() as events, _beside() as beside:
            events.on_started = (lambda began: beside(lambda: self._note_lock(job, began))) if job else None
            self._run(apply_args(plan, lock_timeout=self.lock_timeout), events=events, job=job)

    def attach(self, job: Job) -> bool:
        """Take over the apply that an earlier process started as ``job``; False if there was none.

        Raises as :meth:`apply` does.
        """
        with _applying() as events:
            try:
                return attach(job, on_line=self._follow(events), redact=str) is not None
            except ToolError as error:
                raise self._explain(error, events) from None

    def lock(self) -> Lock | None:
        """The lock that somebody holds on the state right now; None if it is free, or its backend does not say.

        Asked by trying to free a lock that cannot be there: that takes no lock, starts no provider, frees nothing.
        """
        if self._backend() not in NAMES_ITS_LOCK:
            return None
        hasty = replace(self, timeout=PROBE_SECONDS, grace=INIT_GRACE)
        try:
            hasty._run(force_unlock_args(NO_LOCK), quiet=True)
        except ToolError as error:
            return parse_lock(error.stderr)
        return None

    def force_unlock(self, lock_id: str) -> bool:
        """Free the state of the lock ``lock_id``; false where it is not held by that lock (any more)."""
        lock = self.lock()
        if lock is None or lock.id != lock_id:
            return False
        try:
            self._run(force_unlock_args(lock_id), quiet=True)
        except ToolError:
            return False
        return True

    def _backend(self) -> str:
        return str(self._backend_record().get("type", "local"))

    def _backend_record(self) -> dict[str, Any]:
        """What ``init`` kept of the backend: its ``type`` and its ``config``."""
        initialized = self.directory / ".terraform" / "terraform.tfstate"
        found = json.loads(initialized.read_text()) if initialized.exists() else {}
        return found.get("backend") or {}

    def _half_made(self) -> str:
        """How to free a lock that has no id: azurerm leases the blob first and writes the id afterwards."""
        record = self._backend_record()
        if record.get("type") != "azurerm":
            return ""
        where = record.get("config") or {}
        names = {"account": "storage_account_name", "container": "container_name", "blob": "key"}
        account, container, blob = (shlex.quote(str(where.get(name))) for name in names.values())
        return (
            "; if nothing works on this state any more, a process died while it took the lock: free it with "
            f"az storage blob lease break --account-name {account} --container-name {container} --blob-name {blob}"
        )

    def _note_lock(self, job: Job, began: datetime) -> None:
        """Keep the id of the lock under which an apply on this machine began to change resources at ``began``."""
        lock = self.lock()
        if lock is None or lock.since is None or lock.operation != APPLY:
            return
        if lock.since <= began and lock.who.rpartition("@")[2] == socket.gethostname():
            job.note(LOCK, lock.id)

    def push(self, state: Path) -> None:
        """``terraform state push``: the backend refuses an older serial or another lineage."""
        self._run(("state", "push", f"-lock-timeout={self.lock_timeout:g}s", str(state)), quiet=True)

    def _run(
        self,
        args: Args,
        *,
        ok: frozenset[int] = frozenset({0}),
        quiet: bool = False,
        events: Events | None = None,
        job: Job | None = None,
        max_output: int | None = None,
    ) -> Completed:
        seen = events or Events()
        command = Command(
            argv=(*self.binary.argv, *args),
            name=self.binary.name,
            cwd=self.directory,
            env=self.complete_env(COMMAND_SECONDS if job is None else self.apply_seconds + self.lock_timeout),
            stop_signal=signal.SIGINT,
            grace=self.grace,
            ok=ok,
            max_output=max_output,
        )

        on_line = None if quiet and events is None else self._follow(seen, quiet=quiet)
        deadline = time.monotonic() + self.lock_timeout
        while True:
            try:
                # Events are redacted once they are read: redacting raw JSON could break it.
                return run(command, on_line=on_line, redact=str, timeout=self.timeout, job=job)
            except ToolError as error:
                if not seen.slipped or time.monotonic() > deadline:
                    raise self._explain(error, seen) from None
                self.say("the state was locked, and a moment later by nobody; trying again")
                seen.again()
                time.sleep(SLIP_SECONDS)

    def _follow(self, events: Events, *, quiet: bool = False) -> Callable[[str], None]:
        def on_line(line: str) -> None:
            if (shown := events.read(line)) and not quiet:
                self.say(self.redactor()(shown))

        return on_line

    def _explain(self, error: ToolError, events: Events) -> Exception:
        if events.lock is not None:
            return LockedError(
                f"the state is locked by {events.lock.told(datetime.now(UTC))}; waited {self.lock_timeout:g} s. Try "
                "again when it is done, or wait longer (`lock_timeout`); if that process is surely dead, free it in the "
                f"stack's folder: {self.binary.name} force-unlock {events.lock.id}"
            )
        if events.slipped:
            return LockedError(
                "the state is locked, and by whom cannot be seen: its lock is taken again and again, or was left half "
                f"made; waited {self.lock_timeout:g} s. Try again when it is quieter, or wait longer (`lock_timeout`)"
                f"{self._half_made()}"
            )
        if events.stale:
            return StaleError("the state has changed since this plan was made; plan again")
        said = self.redactor()("; ".join(dict.fromkeys(events.errors)) or plain(error.stderr))
        argv = (self.binary.name, *error.argv[len(self.binary.argv) :])
        if isinstance(error, ToolTimeout):
            return ToolTimeout(argv, error.returncode, said, error.limit)
        if isinstance(error, OutputTooLarge):
            return error
        if isinstance(error, ToolLost):
            return ToolLost(argv, error.returncode, said)
        if what := advice(events.causes):
            return RejectedError(argv, error.returncode, said, what)
        if help := hint(events.causes):
            where = f" (at {', '.join(sorted(events.uncertain))})" if events.uncertain else ""
            said = f"{said.rstrip('.')}{where}; {help}"
        return ToolError(argv, error.returncode, said)


@contextmanager
def _applying() -> Iterator[Events]:
    events = Events()
    try:
        yield events
    except ToolError as error:
        if isinstance(error, RejectedError) and not events.started:
            raise
        raise ApplyError(error, events) from None


@contextmanager
def _beside() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Runs work beside what happens meanwhile; all of it has ended afterwards."""
    threads: list[threading.Thread] = []

    def beside(work: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()

    try:
        yield beside
    finally:
        for thread in threads:
            thread.join()


@contextmanager
def _one_at_a_time(cache: Path | None) -> Iterator[None]:
    """Terraform's plugin cache is not safe for several inits at the same time."""
    if cache is None:
        yield
        return
    cache.mkdir(parents=True, exist_ok=True)
    while True:
        with hold(cache) as ours:  # an init that outlives this process keeps it
            if ours:
                yield
                return
        time.sleep(CACHE_TICK_SECONDS)
