"""The only place that starts a process."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from triplane.core import jobs
from triplane.core.errors import InputError, OutputTooLarge, ToolError, ToolLost, ToolTimeout, TransientError
from triplane.core.jobs import Job
from triplane.core.private import held
from triplane.core.private import private_dir as private_dir
from triplane.core.private import write_private as write_private
from triplane.core.redact import Redactor

GUARDIAN = Path(__file__).with_name("guardian.py")
ALWAYS_PASSED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
)
STDERR_TAIL = 4000
TICK_SECONDS = 0.05
READ_BYTES = 65536

LineHandler = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call of a tool.

    ``env`` is its complete environment (see :func:`tool_env`); secrets belong there, in ``stdin`` or
    in 0600 files, never in ``argv``. ``grace`` is in seconds, from ``stop_signal`` to SIGKILL.
    ``ok`` holds the return codes that are not errors. ``max_output`` is in bytes, None for no limit. ``name`` is
    what messages call a tool whose ``argv[0]`` does not say it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    stdin: bytes | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 30.0
    ok: frozenset[int] = frozenset({0})
    max_output: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Completed:
    """A tool that ended as expected. ``stdout`` is as the tool wrote it, ``stderr`` is redacted."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    command: Command,
    *,
    on_line: LineHandler | None = None,
    redact: Callable[[str], str] | None = None,
    timeout: float | None = None,
    job: Job | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Completed:
    """Run a tool to its end and hand each line of its output, redacted, to ``on_line`` as it comes.

    The tool runs under a guardian: if this process stops or is killed, the tool is asked to stop in its
    own way, and is killed only after its grace. With a ``job``, a later process finds it by that (see
    :func:`attach`). ``timeout`` is in seconds; ``on_start`` gets the tool's process id.

    :raises InputError: the tool is not installed
    :raises ToolError: it ended with a return code that is not in ``command.ok``
    :raises ToolLost: its guardian was killed, so how it ended is not known
    :raises ToolTimeout: it did not end in time and was stopped
    :raises OutputTooLarge: it wrote more than ``command.max_output`` and was stopped
    :raises TransientError: the tool of this ``job`` still runs
    """
    redact = redact or Redactor()
    with _files(command, job) as (out, err, lock):
        output = _Output(out, err, on_line, redact)
        tool = _Tool(command, out, err, lock, job)
        problem: ToolError | None = None
        try:
            tool.started(job, on_start)
            problem = tool.watch(output, command, timeout)
            if problem:
                tool.stop()
                tool.watch(output, command, None, limited=False)
        finally:
            returncode = tool.close()
        output.relay()
        if problem is None and command.max_output is not None and output.size() > command.max_output:
            problem = OutputTooLarge(command.argv, returncode, "", command.max_output)
        if problem:
            raise type(problem)(command.argv, returncode, output.tail(), problem.limit)  # type: ignore[call-arg,attr-defined]
        return _completed(output, command.argv, returncode, command.ok)


def attach(
    job: Job,
    *,
    on_line: LineHandler | None = None,
    redact: Callable[[str], str] | None = None,
) -> Completed | None:
    """Take over the tool that an earlier process started for ``job``: its output from the beginning, its
    result when it ends. None if there was none. The caller calls ``job.forget()`` once it has recorded it.

    :raises ToolError: as :func:`run`
    :raises ToolLost: its guardian was killed, so how it ended is not known
    :raises TransientError: the process that started it is alive, and will deal with its result
    """
    lock = job.lock()
    if lock is not None and not job.known:
        os.close(lock)
        return None
    output = None
    try:
        with job.stdout.open("rb") as out, job.stderr.open("rb") as err:
            output = _Output(out.fileno(), err.fileno(), on_line, redact or Redactor())
            argv, ok, grace = job.command()
            kill_at: float | None = None
            while lock is None:
                if job.owned and not job.ours:
                    name = Path(argv[0]).name
                    raise TransientError(
                        f"{name} of an earlier try still runs, and its task is alive; try again"
                    )
                output.relay()
                time.sleep(TICK_SECONDS)
                lock = job.lock()
                kill_at = kill_at or time.monotonic() + grace + 30
                if lock is None and job.pid and time.monotonic() > kill_at:
                    _kill_group(job.pid)
            output.relay()
            returncode = job.returncode
            if returncode is None:
                raise ToolLost(argv, -signal.SIGKILL, output.tail())
            return _completed(output, argv, returncode, ok)
    finally:
        if lock is not None:
            os.close(lock)


def left_over(
    job: Job, *, on_line: LineHandler | None = None, redact: Callable[[str], str] | None = None
) -> Completed | None:
    """What an earlier process's tool for ``job`` ended with, waiting for its end; forgotten then.

    None if there was none, or if it did not end well: the caller observes and decides anew.
    """
    try:
        return attach(job, on_line=on_line, redact=redact)
    except ToolError as error:
        if on_line is not None:
            on_line(f"an earlier try: {error}")
        return None
    finally:
        if not job.running:
            job.forget()


def stop_all() -> None:
    """Ask every tool that this process runs to stop; :func:`run` then ends with a ToolError."""
    for tool in tuple(_RUNNING):
        tool.stop()


def tool_env(*passed: str, **extra: str) -> dict[str, str]:
    """A tool's environment: what every tool needs, the variables named in ``passed``, and ``extra``."""
    names = (*ALWAYS_PASSED, *passed)
    return {name: os.environ[name] for name in names if name in os.environ} | extra


@dataclass
class _Output:
    """What a tool has written into its two files so far, reported line by line."""

    out: int
    err: int
    on_line: LineHandler | None
    redact: Callable[[str], str]
    seen: dict[int, int] = field(default_factory=dict)
    rest: dict[int, bytes] = field(default_factory=dict)

    def relay(self, *, last: bool = False) -> None:
        """Report the lines that have come since."""
        if self.on_line is None:
            return
        for fd in (self.out, self.err):
            while data := os.pread(fd, READ_BYTES, self.seen.get(fd, 0)):
                self.seen[fd] = self.seen.get(fd, 0) + len(data)
                *lines, self.rest[fd] = (self.rest.get(fd, b"") + data).split(b"\n")
                for line in lines:
                    self._report(line)
            if last and (rest := self.rest.pop(fd, b"")):
                self._report(rest)

    def size(self) -> int:
        return os.fstat(self.out).st_size + os.fstat(self.err).st_size

    def text(self) -> tuple[str, str]:
        self.relay(last=True)
        return _read(self.out), self.redact(_read(self.err))

    def tail(self) -> str:
        """What the tool said last, for an error."""
        self.relay(last=True)
        said = _read(self.err, STDERR_TAIL)
        return self.redact(said if said.strip() else _read(self.out, STDERR_TAIL))

    def _report(self, line: bytes) -> None:
        if self.on_line is not None:
            self.on_line(self.redact(line.decode(errors="replace").rstrip("\r")))


class _Tool:
    """A running tool, its guardian, and the lifeline between the guardian and us."""

    def __init__(self, command: Command, out: int, err: int, lock: int | None, job: Job | None) -> None:
        self._command = command
        lifeline, self._lifeline = os.pipe()
        self._status, status = os.pipe()
        stdin = _stdin(command.stdin)
        keep = (*held(), *(() if lock is None else (lock,)))
        try:
            self._guardian = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(GUARDIAN), str(lifeline), str(status)),
                    *(str(int(command.stop_signal)), str(command.grace)),
                    *("-" if job is None else str(job.result), *command.argv),
                ],
                cwd=command.cwd,
                env=dict(command.env),
                stdin=stdin,
                stdout=out,
                stderr=err,
                pass_fds=(lifeline, status, *keep),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            os.close(self._status)
            raise
        finally:
            os.close(lifeline)
            os.close(status)
            if stdin != subprocess.DEVNULL:
                os.close(stdin)
        self._pid: int | None = None
        _RUNNING.append(self)

    def started(self, job: Job | None, on_start: Callable[[int], None] | None) -> None:
        """Wait until the tool runs, and tell whoever wants to know."""
        said = os.read(self._status, 32)
        self._pid = int(said) if said else None
        if self._pid is None:
            return
        if job is not None:
            job.note("pid", str(self._pid))
        if on_start is not None:
            on_start(self._pid)

    def watch(
        self, output: _Output, command: Command, timeout: float | None, *, limited: bool = True
    ) -> ToolError | None:
        """Relay output until the tool ends (None), or until it passes a limit (the error to raise)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = os.pidfd_open(self._guardian.pid) if hasattr(os, "pidfd_open") else None
        try:
            while self._guardian.poll() is None:
                left = TICK_SECONDS if deadline is None else min(TICK_SECONDS, deadline - time.monotonic())
                if left < 0:
                    return ToolTimeout(command.argv, 0, "", timeout or 0)
                if limited and command.max_output is not None and output.size() > command.max_output:
                    return OutputTooLarge(command.argv, 0, "", command.max_output)
                output.relay()
                select.select([] if ended is None else [ended], [], [], left)
        finally:
            if ended is not None:
                os.close(ended)
        return None

    def stop(self) -> None:
        if self._lifeline >= 0:
            lifeline, self._lifeline = self._lifeline, -1
            os.close(lifeline)

    def close(self) -> int:
        """Stop the tool if it still runs, and return its code."""
        if self._guardian.poll() is None:
            self.stop()
        returncode = self._guardian.wait()
        if returncode < 0:
            self._outlive_guardian()
        os.close(self._status)
        self.stop()
        if self in _RUNNING:
            _RUNNING.remove(self)
        return returncode

    def _outlive_guardian(self) -> None:
        """The guardian was killed: the tool was told to stop, and gets its grace from us."""
        deadline = time.monotonic() + self._command.grace
        while time.monotonic() < deadline:
            if select.select([self._status], [], [], TICK_SECONDS)[0] and not os.read(self._status, 32):
                return
        if self._pid is not None:
            _kill_group(self._pid)


_RUNNING: list[_Tool] = []


@contextmanager
def _files(command: Command, job: Job | None) -> Iterator[tuple[int, int, int | None]]:
    """Where the tool writes: in memory, or into the job's folder, whose lock comes with it."""
    if shutil.which(command.argv[0], path=command.env.get("PATH")) is None:
        raise InputError(f"{command.argv[0]} is not installed or not on PATH; install it on this worker")
    if job is None:
        out, err = _memory(), _memory()
        try:
            yield out, err, None
        finally:
            os.close(out)
            os.close(err)
        return
    lock = job.lock()
    if lock is None:
        name = command.name or Path(command.argv[0]).name
        raise TransientError(f"{name} of an earlier try still runs; try again")
    try:
        job.start(command.argv, command.ok, command.grace, command.cwd)
        with jobs.opened(job) as (out, err):
            yield out, err, lock
    finally:
        os.close(lock)


def _completed(output: _Output, argv: tuple[str, ...], returncode: int, ok: frozenset[int]) -> Completed:
    if returncode < 0:
        raise ToolLost(argv, returncode, output.tail())
    if returncode not in ok:
        raise ToolError(argv, returncode, output.tail())
    return Completed(argv, returncode, *output.text())


def _read(fd: int, last: int | None = None) -> str:
    size = os.fstat(fd).st_size
    at = 0 if last is None else max(0, size - last)
    chunks = []
    while at < size and (data := os.pread(fd, size - at, at)):
        chunks.append(data)
        at += len(data)
    return b"".join(chunks).decode(errors="replace")


def _memory() -> int:
    """A file that no name leads to, for output and input that may hold secrets."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("triplane")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _stdin(data: bytes | None) -> int:
    if data is None:
        return subprocess.DEVNULL
    descriptor = _memory()
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
