"""What the Google targets share: how a call is made, and Google's errors as ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from triplane.core.errors import InputError, TerminalError, TransientError
from triplane.serverless.target import Desired, Progress, Waiting

CALL: Final[dict[str, Any]] = {"timeout": 10.0, "retry": None}
"""How every call is made: what fails is asked again by whoever drives the deployment, not in here."""
ATTEMPTS: Final = re.compile(r"[0-9a-f]{8,32}")


def step(name: str, work: Callable[[], Progress]) -> Progress:
    """Do ``work``. Where something has changed between its look and its act, it has to look again."""
    from google.api_core.exceptions import Conflict

    with google_errors(name):
        try:
            return work()
        except Conflict as error:
            return Waiting(why=f"{name} is busy or was changed meanwhile: {error.message}", seconds=2.0)


@contextmanager
def google_errors(name: str) -> Iterator[None]:
    """Google's errors as ours. A token that has expired is one that a retry gets anew."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth
    from requests import RequestException

    transient = (
        exceptions.TooManyRequests,
        exceptions.ServerError,
        exceptions.RetryError,
        exceptions.Unauthorized,
        exceptions.Conflict,
        auth.TransportError,
        RequestException,
    )
    try:
        yield
    except exceptions.BadRequest as error:
        raise InputError(f"{name}: Google refuses this: {error.message}") from error
    except transient as error:
        raise TransientError(f"{name}: {error}") from error
    except auth.RefreshError as error:
        raise InputError(f"{name}: Google refuses the connection: {error}; check its key") from error
    except (exceptions.GoogleAPIError, auth.GoogleAuthError) as error:
        raise TerminalError(f"{name}: {error}") from error


def attempt_of(desired: Desired) -> str:
    """What marks everything that this deployment makes. :raises InputError: it has none"""
    if not ATTEMPTS.fullmatch(desired.attempt):
        raise InputError(f"{desired.name}: {desired.attempt!r} does not name a deployment")
    return desired.attempt
