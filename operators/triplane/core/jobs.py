"""Where a tool that may outlive its task leaves its output and its result."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triplane.core.digest import digest
from triplane.core.private import user_dir, write_private

KEPT_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Job:
    """One run of a tool, found again by its key; its folder is private, and in memory where possible.

    ``lock`` is held by the task, the guardian and the tool, whichever lives. ``stdout`` and ``stderr`` are what
    the tool wrote, ``result`` its return code; there is no result while it runs, and none ever if it was
    killed together with its guardian.
    """

    directory: Path

    @property
    def stdout(self) -> Path:
        """The tool's standard output."""
        return self.directory / "stdout"

    @property
    def stderr(self) -> Path:
        """The tool's standard error."""
        return self.directory / "stderr"

    @property
    def result(self) -> Path:
        """The tool's return code."""
        return self.directory / "result"

    @property
    def known(self) -> bool:
        """Whether a tool was ever started for it and its result was not forgotten."""
        return self.stdout.exists()

    @property
    def returncode(self) -> int | None:
        """The tool's return code, None while there is none."""
        return int(self.result.read_text()) if self.result.exists() else None

    def lock(self) -> int | None:
        """A descriptor that holds the lock, None where somebody else does."""
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @property
    def running(self) -> bool:
        """Whether the tool, its guardian or the task that started it still lives."""
        descriptor = self.lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def start(self, argv: Sequence[str], ok: frozenset[int], grace: float, cwd: Path | None) -> None:
        """Forget what was there, and note what is about to run, and for whom."""
        self.forget()
        note = {"argv": list(argv), "ok": sorted(ok), "grace": grace, "cwd": str(cwd or Path.cwd())}
        self._write("command", json.dumps({**note, "owner": _identity(os.getpid())}))

    @property
    def owned(self) -> bool:
        """Whether the task that started the tool is still alive, and so will deal with its result."""
        owner = self._command().get("owner")
        return owner is not None and owner == _identity(owner[0])

    @property
    def ours(self) -> bool:
        """Whether this very process started the tool."""
        return self._command().get("owner") == _identity(os.getpid())

    @property
    def cwd(self) -> Path:
        """Where the tool was started."""
        return Path(self._command()["cwd"])

    def note(self, name: str, value: str) -> None:
        """Keep something about the tool while it runs."""
        self._write(f"{name}.note", value)

    def noted(self, name: str) -> str | None:
        """What :meth:`note` kept under ``name``."""
        path = self.directory / f"{name}.note"
        return path.read_text() if path.exists() else None

    @property
    def pid(self) -> int | None:
        """The tool's process id, as far as it is known."""
        found = self.noted("pid")
        return int(found) if found else None

    def command(self) -> tuple[tuple[str, ...], frozenset[int], float]:
        """The tool's arguments, its good return codes, and its grace in seconds."""
        note = self._command()
        return tuple(note["argv"]), frozenset(note["ok"]), note["grace"]

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all."""
        os.replace(write_private(self.directory / f".{name}", text), self.directory / name)

    def _command(self) -> dict[str, Any]:
        path = self.directory / "command"
        note: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return note

    def forget(self) -> None:
        """Remove what the tool left, once it is recorded elsewhere."""
        for path in [*self.directory.glob("*.note"), self.stdout, self.stderr, self.result]:
            path.unlink(missing_ok=True)
        (self.directory / "command").unlink(missing_ok=True)


def job(key: object) -> Job:
    """The job called ``key`` (any plain value) on this machine."""
    root = user_dir("jobs", memory=True)
    _sweep(root)
    directory = root / digest([key]).removeprefix("sha256:")[:32]
    directory.mkdir(mode=0o700, exist_ok=True)
    return Job(directory)


@contextmanager
def opened(job: Job) -> Iterator[tuple[int, int]]:
    """Its output files for writing, made anew."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    out, err = (os.open(path, flags, 0o600) for path in (job.stdout, job.stderr))
    try:
        yield out, err
    finally:
        os.close(out)
        os.close(err)


def _identity(pid: int) -> list[int] | None:
    """A process and when it began, so that a later one with its number is not taken for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else [pid, int(fields[19])]


def _sweep(root: Path) -> None:
    for path in root.iterdir():
        try:
            if time.time() - path.stat().st_mtime > KEPT_SECONDS and not Job(path).running:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
