"""What a runner of tests is, and the two that need nothing but the worker: its workspace, and buildah."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from triplane.core.digest import tree_files
from triplane.core.errors import InputError, ToolError
from triplane.core.process import Command, run, tool_env

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run. ``commands`` are lines of a shell script that ends at the first one that fails.

    ``report`` is a file (or a glob, in a workspace) of JUnit XML, None where there is none. ``environment`` may
    hold secrets.
    """

    name: str
    commands: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    report: str | None = None
    timeout: float = 600.0

    @property
    def shell(self) -> tuple[str, ...]:
        """The commands as one."""
        return ("sh", "-e", "-c", "\n".join(self.commands))


@dataclass(frozen=True)
class Outcome:
    """``problem`` says how the commands failed, None if all ended well."""

    problem: str | None
    reports: Sequence[bytes]


class Runner(Protocol):
    """Runs tests; :func:`triplane.core.process.stop_all` or ``cancel`` ends them early."""

    def run(self, request: Request, log: Log) -> Outcome:
        """Run the commands and fetch the reports, also where they failed. Raises ``ToolTimeout``."""

    def cancel(self) -> None:
        """End the commands."""


class Workspace:
    """Runs in a copy of a folder of the source, as the worker's user."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self._source = source
        self._folder = scratch / "workspace"

    def run(self, request: Request, log: Log) -> Outcome:
        """Run the commands; a report that is part of the source is removed first."""
        if not self._source.is_dir():
            raise InputError(f"{self._source}: there is no such folder to run {request.name} in")
        shutil.copytree(self._source, self._folder, symlinks=True)
        for stale in self._reports(request):
            stale.unlink()
        command = Command(
            argv=request.shell, env=tool_env(**request.environment), cwd=self._folder, name=request.name
        )
        problem = _problem(command, log, request.timeout)
        return Outcome(problem, [path.read_bytes() for path in self._reports(request)])

    def cancel(self) -> None:
        """Nothing beyond ``stop_all``."""

    def _reports(self, request: Request) -> list[Path]:
        """The report's files; a link that leads out of the workspace is none."""
        if not request.report:
            return []
        found = set(self._folder.glob(request.report))
        return [path for path in tree_files(self._folder) if path in found and not path.is_symlink()]


class BuildahRun:
    """Runs in a container of an image, given as OCI layout, with the storage and isolation of a buildah build.

    Buildah calls the image as the layout's folder is called, which must be a valid name.
    """

    def __init__(self, layout: Path, storage: Sequence[str], *, isolation: str = "chroot") -> None:
        self._layout = layout
        self._storage = storage
        self._isolation = isolation

    def run(self, request: Request, log: Log) -> Outcome:
        """Make a container, run the commands in it, remove it."""
        start = self._command("from", "--quiet", f"oci:{self._layout.name}")
        container = run(replace(start, cwd=self._layout.parent), timeout=600).stdout.strip()
        try:
            problem = _problem(self._run(container, request), log, request.timeout)
            return Outcome(problem, self._report(container, request))
        finally:
            run(self._command("rm", container), timeout=120)

    def cancel(self) -> None:
        """Nothing beyond ``stop_all``."""

    def _report(self, container: str, request: Request) -> list[bytes]:
        if not request.report:
            return []
        try:
            return [run(self._in(container, "cat", request.report), timeout=60).stdout.encode()]
        except ToolError:
            return []

    def _run(self, container: str, request: Request) -> Command:
        """The variables come on standard input: they may be secrets, and buildah takes them as arguments alone."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in request.environment.items()]
        script = "\n".join(['eval "$(cat)"', *request.commands])
        command = self._in(container, "sh", "-e", "-c", script)
        return replace(command, stdin="\n".join(exports).encode(), name=request.name)

    def _in(self, container: str, *argv: str) -> Command:
        return self._command("run", "--isolation", self._isolation, container, "--", *argv)

    def _command(self, *arguments: str) -> Command:
        env = tool_env("STORAGE_DRIVER", "STORAGE_OPTS", "CONTAINERS_CONF")
        return Command(argv=("buildah", *self._storage, *arguments), env=env, grace=10)


def _problem(command: Command, log: Log, timeout: float) -> str | None:
    from triplane.core.errors import ToolLost, ToolTimeout

    try:
        run(command, on_line=log, timeout=timeout)
    except (ToolTimeout, ToolLost):
        raise
    except ToolError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return f"ended with {error.returncode}: {last[0]}"
    return None
