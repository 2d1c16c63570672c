"""Runs one tool and outlives whoever asked for it.

Started by :mod:`triplane.core.process` as a script, in a session of its own::

    guardian.py LIFELINE_FD STATUS_FD STOP_SIGNAL GRACE_SECONDS RESULT TOOL [ARG ...]

The tool writes into the guardian's own standard output and error, which are files: no pipe breaks
whoever dies. When the lifeline is closed - the caller wants to stop, or was killed - the guardian sends
the tool ``STOP_SIGNAL`` and waits, so that the tool can save its state and free its locks; after
``GRACE_SECONDS`` it kills the tool's process group. If the guardian itself is killed, the kernel sends
the tool ``STOP_SIGNAL`` (Linux).

The tool's process id goes to ``STATUS_FD``; tool and guardian keep that, and every lock that they were
started with, open while they live. The return code goes to the file ``RESULT`` (``-``: to no file).

Only a little of the standard library is imported: this starts before every tool, and ``signal`` or
``subprocess`` would double the time.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the enums of ``signal``
import os
import select
import sys
import time

TICK_SECONDS = 0.02
PR_SET_PDEATHSIG = 1
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


def main(argv: list[str]) -> int:
    """Run the tool; the return code is the tool's, or 128 + N if signal N ended it."""
    lifeline, status, stop_signal, grace, result, *tool = argv
    for name in INTERRUPTS:
        signal.signal(name, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        os.close(int(lifeline))
        _become(tool, int(stop_signal))
    try:
        os.write(int(status), f"{pid}\n".encode())
    except OSError:
        pass
    code = _watch(pid, int(lifeline), int(stop_signal), float(grace))
    _kill_group(pid)  # what the tool left behind, such as the steps of a build that was stopped
    code = 128 - code if code < 0 else code
    _leave(result, code)
    return code


def _become(tool: list[str], stop_signal: int) -> None:
    """The child turns into the tool: in a session of its own, and told when its guardian dies."""
    try:
        os.setsid()
        for name in INTERRUPTS:
            signal.signal(name, signal.SIG_DFL)
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
        os.execvp(tool[0], tool)
    except OSError as error:
        os.write(2, f"cannot run {tool[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _watch(pid: int, lifeline: int, stop_signal: int, grace: float) -> int:
    """Wait for the tool's end, or for the lifeline's and then for no longer than ``grace``."""
    ended = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    watched = [lifeline] if ended is None else [lifeline, ended]
    tick = TICK_SECONDS if ended is None else None
    while (code := _ended(pid)) is None and lifeline not in select.select(watched, [], [], tick)[0]:
        pass
    if code is None:
        _signal_it(pid, stop_signal)
    kill_at = time.monotonic() + grace
    while code is None and (code := _ended(pid)) is None and time.monotonic() < kill_at:
        time.sleep(TICK_SECONDS)
    if code is not None:
        return code
    _kill_group(pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _signal_it(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _leave(result: str, code: int) -> None:
    if result != "-":
        with open(f"{result}.new", "w") as file:
            file.write(str(code))
        os.replace(f"{result}.new", result)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
