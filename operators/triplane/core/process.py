"""The only place that starts a process."""

from __future__ import annotations

import fcntl
import os
import selectors
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

from triplane.core.errors import InputError, ToolError, ToolTimeout
from triplane.core.redact import Redactor

GUARDIAN = Path(__file__).with_name("guardian.py")
ALWAYS_PASSED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
)
STDERR_TAIL = 4000
PRIVATE_PREFIX = "triplane-task-"
ABANDONED_SECONDS = 60.0

LineHandler = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call of a tool.

    ``env`` is its complete environment (see :func:`tool_env`); secrets belong there, in ``stdin`` or
    in 0600 files, never in ``argv``. ``grace`` is in seconds, from ``stop_signal`` to SIGKILL.
    ``ok`` holds the return codes that are not errors.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    stdin: bytes | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 30.0
    ok: frozenset[int] = frozenset({0})


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
) -> Completed:
    """Run a tool to its end and hand each line of its output, redacted, to ``on_line`` as it comes.

    The tool runs under a guardian: if this process stops or is killed, the tool is asked to stop in its
    own way, and is killed only after its grace. ``timeout`` is in seconds.

    :raises InputError: the tool is not installed
    :raises ToolError: it ended with a return code that is not in ``command.ok``
    :raises ToolTimeout: it did not end in time and was stopped
    """
    redact = redact or Redactor()
    tool = _Tool(command)
    output = _Output(on_line, redact)
    try:
        in_time = tool.read(output, None if timeout is None else time.monotonic() + timeout)
        if not in_time:
            tool.stop()
            tool.read(output, None)
    finally:
        returncode = tool.close()
    stdout, stderr = output.text()
    if not in_time:
        raise ToolTimeout(command.argv, returncode, redact(stderr[-STDERR_TAIL:]), timeout or 0)
    if returncode not in command.ok:
        said = stderr if stderr.strip() else stdout
        raise ToolError(command.argv, returncode, redact(said[-STDERR_TAIL:]))
    return Completed(command.argv, returncode, stdout, redact(stderr))


def stop_all() -> None:
    """Ask every tool that this process runs to stop; :func:`run` then ends with a ToolError."""
    for tool in tuple(_RUNNING):
        tool.stop()


def tool_env(*passed: str, **extra: str) -> dict[str, str]:
    """A tool's environment: what every tool needs, the variables named in ``passed``, and ``extra``."""
    names = (*ALWAYS_PASSED, *passed)
    return {name: os.environ[name] for name in names if name in os.environ} | extra


@contextmanager
def private_dir() -> Iterator[Path]:
    """A directory that only this user can read, removed at the end.

    If this process is killed, it stays as long as a guarded tool still works in it; the next
    ``private_dir`` on this machine then removes it.
    """
    _remove_abandoned()
    path = Path(tempfile.mkdtemp(prefix=PRIVATE_PREFIX))
    held = os.open(path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    _HELD.append(held)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        _HELD.remove(held)
        os.close(held)


def write_private(path: Path, data: str | bytes) -> Path:
    """Write a file that only this user can read, from its first byte on."""
    content = data.encode() if isinstance(data, str) else data
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    path.chmod(0o600)
    return path


@dataclass
class _Output:
    """Collects what a tool writes and reports it line by line."""

    on_line: LineHandler | None
    redact: Callable[[str], str]
    chunks: dict[str, list[bytes]] = field(default_factory=lambda: {"stdout": [], "stderr": []})
    rest: dict[str, bytes] = field(default_factory=lambda: {"stdout": b"", "stderr": b""})

    def feed(self, stream: str, data: bytes) -> None:
        self.chunks[stream].append(data)
        if self.on_line is None:
            return
        *lines, self.rest[stream] = (self.rest[stream] + data).split(b"\n")
        for line in lines:
            self._report(line)

    def text(self) -> tuple[str, str]:
        for stream, rest in self.rest.items():
            if rest:
                self.rest[stream] = b""
                self._report(rest)
        out, err = (b"".join(self.chunks[name]).decode(errors="replace") for name in ("stdout", "stderr"))
        return out, err

    def _report(self, line: bytes) -> None:
        if self.on_line is not None:
            self.on_line(self.redact(line.decode(errors="replace").rstrip("\r")))


class _Tool:
    """A running tool, its guardian, and the lifeline between the guardian and us."""

    def __init__(self, command: Command) -> None:
        if shutil.which(command.argv[0], path=command.env.get("PATH")) is None:
            raise InputError(f"{command.argv[0]} is not installed or not on PATH; install it on this worker")
        lifeline, self._lifeline = os.pipe()
        stdin = _stdin(command.stdin)
        try:
            self._guardian = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(GUARDIAN)),
                    *(str(lifeline), str(int(command.stop_signal)), str(command.grace)),
                    *command.argv,
                ],
                cwd=command.cwd,
                env=dict(command.env),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(lifeline, *_HELD),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline)
            if stdin != subprocess.DEVNULL:
                os.close(stdin)
        _RUNNING.append(self)

    def read(self, output: _Output, deadline: float | None) -> bool:
        """Read until the tool ends (true) or the deadline passes (false)."""
        pipes = {self._guardian.stdout: "stdout", self._guardian.stderr: "stderr"}
        with selectors.DefaultSelector() as selector:
            for pipe, stream in pipes.items():
                if pipe is not None and not pipe.closed:
                    selector.register(pipe, selectors.EVENT_READ, stream)
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                for key, _ in selector.select(left):
                    if data := os.read(key.fd, 65536):
                        output.feed(key.data, data)
                    else:
                        selector.unregister(key.fileobj)
        return True

    def stop(self) -> None:
        if self._lifeline >= 0:
            lifeline, self._lifeline = self._lifeline, -1
            os.close(lifeline)

    def close(self) -> int:
        """Stop the tool if it still runs, and return its code."""
        if self._guardian.poll() is None and not self._ended():
            self.stop()
        for pipe in (self._guardian.stdout, self._guardian.stderr):
            if pipe is not None:
                pipe.close()
        returncode = self._guardian.wait()
        self.stop()
        if self in _RUNNING:
            _RUNNING.remove(self)
        return returncode

    def _ended(self) -> bool:
        """Whether the guardian is about to end by itself: its output is closed then."""
        try:
            self._guardian.wait(0.5)
        except subprocess.TimeoutExpired:
            return False
        return True


_RUNNING: list[_Tool] = []
_HELD: list[int] = []
"""Locks on our private directories; guardians inherit them."""


def _remove_abandoned() -> None:
    """Remove private directories of this user that nobody holds any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{PRIVATE_PREFIX}*"):
        try:
            found = path.stat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < ABANDONED_SECONDS:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(descriptor)


def _stdin(data: bytes | None) -> int:
    if data is None:
        return subprocess.DEVNULL
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("triplane")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
