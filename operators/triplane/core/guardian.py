"""Runs one tool and outlives whoever asked for it.

Started by :mod:`triplane.core.process` as a script, in a session of its own::

    guardian.py LIFELINE_FD STOP_SIGNAL GRACE_SECONDS TOOL [ARG ...]

It relays the tool's output and return code. When the lifeline is closed - the caller wants to stop,
or was killed - it sends the tool ``STOP_SIGNAL`` and keeps draining its output, so that the tool can
save its state and free its locks; after ``GRACE_SECONDS`` it kills the tool's process group.

Only the standard library is imported: this starts before every tool.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time

DRAIN_SECONDS = 2.0
TICK_SECONDS = 0.2


def main(argv: list[str]) -> int:
    """Run the tool; the return code is the tool's, or 128 + N if signal N ended it."""
    lifeline, stop_signal, grace, *tool = argv
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            tool, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_defaults
        )
    except OSError as error:
        sys.stderr.write(f"cannot run {tool[0]}: {error.strerror}\n")
        return 127
    _watch(process, int(lifeline), int(stop_signal), float(grace))
    code = process.wait()
    _kill_group(process.pid)  # what the tool left behind, such as the steps of a build that was stopped
    return 128 - code if code < 0 else code


def _defaults() -> None:
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(name, signal.SIG_DFL)


def _watch(process: subprocess.Popen[bytes], lifeline: int, stop_signal: int, grace: float) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    relays = {process.stdout.fileno(): 1, process.stderr.fileno(): 2}
    kill_at = ended_at = float("inf")
    with selectors.DefaultSelector() as selector:
        for fd in (*relays, lifeline):
            selector.register(fd, selectors.EVENT_READ)
        while relays and time.monotonic() < ended_at + DRAIN_SECONDS:
            for key, _ in selector.select(TICK_SECONDS):
                if key.fd == lifeline:
                    selector.unregister(lifeline)
                    process.send_signal(stop_signal)
                    kill_at = time.monotonic() + grace
                elif not _relay(key.fd, relays[key.fd]):
                    selector.unregister(key.fd)
                    del relays[key.fd]
            if ended_at == float("inf") and process.poll() is not None:
                ended_at = time.monotonic()
            if time.monotonic() > kill_at:
                kill_at = float("inf")
                _kill_group(process.pid)
        _wait(process, selector, lifeline, stop_signal, grace, kill_at)


def _wait(
    process: subprocess.Popen[bytes],
    selector: selectors.BaseSelector,
    lifeline: int,
    stop_signal: int,
    grace: float,
    kill_at: float,
) -> None:
    """A tool may close its output long before it ends."""
    while process.poll() is None:
        if lifeline in selector.get_map() and selector.select(TICK_SECONDS):
            selector.unregister(lifeline)
            process.send_signal(stop_signal)
            kill_at = time.monotonic() + grace
        elif lifeline not in selector.get_map():
            time.sleep(TICK_SECONDS / 4)
        if time.monotonic() > kill_at:
            _kill_group(process.pid)


def _relay(source: int, target: int) -> bool:
    data = os.read(source, 65536)
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except OSError:
            break
    return bool(data)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
