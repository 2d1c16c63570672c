"""Starts the services of one sandbox and finds again exactly the processes that it started.

A process is known by its pid *and* its start time, and by a marker in its environment: the marker also finds
children that left their process group, and processes whose pid a crash kept from being written down.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from triplane.sandbox.service import Service

MARKER = "TRIPLANE_SANDBOX_ID"
STOP_SECONDS = 5.0
PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A started service. ``started`` is the kernel's start time in clock ticks since boot."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return start_time(self.pid) == self.started


def start(service: Service, *, sandbox_id: str, directory: Path, log: Path) -> Process:
    """Start ``service`` in a session of its own, with a minimal environment; its output goes to ``log``."""
    directory.mkdir(parents=True, exist_ok=True)
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "PYTHONUNBUFFERED": "1",
        **service.env,
        MARKER: sandbox_id,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            service.argv, cwd=directory, env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    return Process(process.pid, start_time(process.pid) or 0)


def stop(sandbox_id: str, processes: list[Process]) -> None:
    """Stop ``processes``, their groups and all marked processes: SIGTERM, then SIGKILL after 5 seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        signalled: set[Process] = set()
        while remaining := {*marked(sandbox_id), *(each for each in processes if each.alive)}:
            for process in remaining - signalled:
                _signal(process, number)
            signalled |= remaining
            if time.monotonic() > deadline:
                break
            _wait(remaining, 0.2)
        else:
            return
    raise TimeoutError(f"processes {sorted(process.pid for process in remaining)} survived SIGKILL")


def marked(sandbox_id: str) -> Iterator[Process]:
    """Every live process whose environment carries the marker of this sandbox."""
    wanted = f"{MARKER}={sandbox_id}".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and (started := start_time(int(entry.name))):
            yield Process(int(entry.name), started)


def start_time(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None if there is none, or a zombie."""
    try:
        _reap(pid)
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log file; empty if there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _signal(process: Process, number: int) -> None:
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        pass


def _wait(processes: set[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.alive for process in processes):
        time.sleep(0.02)


def _reap(pid: int) -> None:
    """Collect the exit status if ``pid`` is a child of ours, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
