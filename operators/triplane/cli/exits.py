"""How the commands that talk to Airflow end: the exit codes that CI may rely on."""

from __future__ import annotations

from enum import IntEnum

from triplane.core.errors import TriplaneError


class Exit(IntEnum):
    """Exit codes; docs/guides/ci.md explains them."""

    DONE = 0
    """As asked, or there was nothing to do; without ``--wait``: it was started."""
    FAILED = 1
    """The run failed, or Airflow answered with an error."""
    USAGE = 2
    """Wrong usage: nothing was started or answered."""
    WAITING = 3
    """It waits for people, or did not end in time; it goes on."""
    NOT_APPROVED = 4
    """Rejected, expired, or an answer that does not count."""
    DRIFT = 5
    """Drift was found."""
    UNREACHABLE = 6
    """Airflow is away, for longer than ``--patience``."""
    DENIED = 7
    """Airflow knows nobody by these credentials, or does not let him do this."""
    INTERRUPTED = 130
    """Ctrl-C: the run goes on."""


class RemoteError(TriplaneError):
    """Airflow answered with an error."""

    code = Exit.FAILED


class UnreachableError(RemoteError):
    """Airflow does not answer, for longer than we are willing to wait."""

    code = Exit.UNREACHABLE


class DeniedError(RemoteError):
    """Airflow does not accept the credentials, or they do not suffice."""

    code = Exit.DENIED


class NotFoundError(RemoteError):
    """There is no such run, DAG or task."""
