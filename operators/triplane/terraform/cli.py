"""The command line of Terraform (1.9 or newer) and OpenTofu: pure argument builders, and one that runs them."""

from __future__ import annotations

import fcntl
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triplane.core.errors import StaleError, ToolError, ToolTimeout, TransientError
from triplane.core.process import Command, Completed, run, tool_env
from triplane.core.redact import Redactor
from triplane.terraform.events import Events
from triplane.terraform.plan import State, parse_state, sensitive_values

PASSED = ("TF_CLI_CONFIG_FILE", "TF_REATTACH_PROVIDERS", "TF_PLUGIN_CACHE_DIR")
NO_CHANGES, CHANGES = 0, 2

Args = tuple[str, ...]


class LockedError(TransientError):
    """Somebody else holds the state's lock, and kept it for as long as we were willing to wait."""


class ApplyError(ToolError):
    """An apply failed or was stopped. ``started`` counts the resources it had begun to change."""

    def __init__(self, error: ToolError, started: int) -> None:
        self.started = started
        self._said = str(error)
        super().__init__(error.argv, error.returncode, error.stderr)

    def _message(self) -> str:
        return self._said


def init_args(backend_config: Path | None = None) -> Args:
    """``terraform init``; ``backend_config`` is a private JSON file."""
    config = () if backend_config is None else (f"-backend-config={backend_config}",)
    return ("init", "-json", "-no-color", "-input=false", *config)


def plan_args(
    *,
    out: Path,
    var_file: Path | None = None,
    lock_timeout: float,
    destroy: bool = False,
    refresh_only: bool = False,
) -> Args:
    """``terraform plan`` into ``out``; return code 2 means changes."""
    return (
        *("plan", "-json", "-input=false", "-detailed-exitcode"),
        f"-lock-timeout={lock_timeout:g}s",
        *(() if var_file is None else (f"-var-file={var_file}",)),
        *(("-destroy",) if destroy else ()),
        *(("-refresh-only",) if refresh_only else ()),
        f"-out={out}",
    )


def show_args(plan: Path) -> Args:
    """``terraform show`` of a saved plan. The output holds secrets in the clear."""
    return ("show", "-json", str(plan))


def apply_args(plan: Path, *, lock_timeout: float) -> Args:
    """``terraform apply`` of a saved plan, and of nothing else."""
    return ("apply", "-json", "-input=false", f"-lock-timeout={lock_timeout:g}s", str(plan))


def pull_args() -> Args:
    """``terraform state pull``. The output holds secrets in the clear."""
    return ("state", "pull")


def environment(credentials: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Terraform's complete environment: the cloud's ``credentials``, and secret ``variables`` as ``TF_VAR_*``."""
    secret = {f"TF_VAR_{name}": value for name, value in variables.items()}
    return tool_env(*PASSED, TF_IN_AUTOMATION="1", CHECKPOINT_DISABLE="1", **credentials, **secret)


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """Terraform in one working directory.

    ``say`` gets one readable line per event, redacted by what ``redactor`` knows at that moment. ``hide`` is
    told of every secret that a plan reveals. Times are in seconds: ``lock_timeout`` to wait for
    the state's lock, ``timeout`` for one command (None: no limit), ``grace`` for an interrupted command
    to save the state before it is killed.
    """

    directory: Path
    env: Mapping[str, str] = field(repr=False)
    binary: str = "terraform"
    say: Callable[[str], None] = print
    redactor: Callable[[], Redactor] = Redactor
    hide: Callable[[str], object] = str
    lock_timeout: float = 300
    timeout: float | None = None
    grace: float = 600

    def init(self, backend_config: Path | None = None) -> None:
        """Prepare the directory: backend, modules, providers."""
        with _one_at_a_time(self.env.get("TF_PLUGIN_CACHE_DIR")):
            self._run(init_args(backend_config))

    def plan(
        self, out: Path, var_file: Path | None = None, *, destroy: bool = False, refresh_only: bool = False
    ) -> bool:
        """Plan into ``out``; returns whether there are changes.

        :raises LockedError: the state stayed locked
        """
        args = plan_args(
            out=out,
            var_file=var_file,
            lock_timeout=self.lock_timeout,
            destroy=destroy,
            refresh_only=refresh_only,
        )
        return self._run(args, ok=frozenset({NO_CHANGES, CHANGES})).returncode == CHANGES

    def show(self, plan: Path) -> dict[str, Any]:
        """A saved plan as JSON, with secrets in the clear."""
        document: dict[str, Any] = json.loads(self._run(show_args(plan), quiet=True).stdout)
        for secret in sensitive_values(document):
            self.hide(secret)
        return document

    def pull(self) -> State:
        """The state as it is now."""
        return parse_state(self._run(pull_args(), quiet=True).stdout)

    def apply(self, plan: Path) -> None:
        """Apply a saved plan.

        :raises LockedError: the state stayed locked; nothing was begun
        :raises StaleError: the state has moved on since the plan was made; nothing was begun
        :raises ApplyError: it failed or was stopped; what it did until then is in the state
        """
        events = Events()
        try:
            self._run(apply_args(plan, lock_timeout=self.lock_timeout), events=events)
        except ToolError as error:
            raise ApplyError(error, events.started) from None

    def _run(
        self,
        args: Args,
        *,
        ok: frozenset[int] = frozenset({0}),
        quiet: bool = False,
        events: Events | None = None,
    ) -> Completed:
        seen = events or Events()
        command = Command(
            argv=(self.binary, *args),
            cwd=self.directory,
            env=self.env,
            stop_signal=signal.SIGINT,
            grace=self.grace,
            ok=ok,
        )

        def on_line(line: str) -> None:
            if shown := seen.read(line):
                self.say(self.redactor()(shown))

        try:
            # Events are redacted once they are read: redacting raw JSON could break it.
            return run(command, on_line=None if quiet else on_line, redact=str, timeout=self.timeout)
        except ToolError as error:
            raise self._explain(error, seen) from None

    def _explain(self, error: ToolError, events: Events) -> Exception:
        if events.lock is not None:
            return LockedError(
                f"the state is locked by {events.lock}; waited {self.lock_timeout:g} s. Try again when it is "
                f"done; if that process is surely dead, free it: {self.binary} force-unlock {events.lock.id}"
            )
        if events.stale:
            return StaleError("the state has changed since this plan was made; plan again")
        said = self.redactor()("; ".join(events.errors) or error.stderr)
        if isinstance(error, ToolTimeout):
            return ToolTimeout(error.argv, error.returncode, said, error.timeout)
        return ToolError(error.argv, error.returncode, said)


@contextmanager
def _one_at_a_time(cache: str | None) -> Iterator[None]:
    """Terraform's plugin cache is not safe for several inits at the same time."""
    if cache is None:
        yield
        return
    Path(cache).mkdir(parents=True, exist_ok=True)
    with (Path(cache) / ".triplane.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
