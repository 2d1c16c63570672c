"""What boto3 raises, as the errors of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from triplane.core.errors import InputError, StaleError, TerminalError, TransientError

_TRANSIENT: Final = frozenset(
    {
        "ConcurrentModificationException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ResourceConflictException",
        "ResourceNotReadyException",
        "ServerException",
        "ServiceException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "UpdateInProgressException",
    }
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_REFUSED: Final = frozenset(
    {"InvalidParameterException", "InvalidParameterValueException", "ValidationException", "ClientException"}
)


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """Raises our errors for boto3's; ``doing`` begins their message.

    :raises TransientError: throttling, a failure on the side of AWS, no network, credentials that have run out
    :raises StaleError: it was changed by somebody else since it was read
    :raises InputError: AWS refuses what was written
    :raises TerminalError: all else
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    try:
        yield
    except ClientError as error:
        raise _ours(doing, error) from error
    except ParamValidationError as error:
        raise InputError(f"{doing}: {error}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise TerminalError(f"{doing}: {error}; complete the AWS connection") from error
    except BotoCoreError as error:
        raise TransientError(f"{doing}: {error}") from error


def code_of(error: Any) -> str:
    """The code of a botocore ``ClientError``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def found(call: Callable[..., Any], *missing: str, **which: Any) -> Any:
    """The answer of ``call``, None when it answers with one of the codes ``missing``."""
    from botocore.exceptions import ClientError

    try:
        return call(**which)
    except ClientError as error:
        if code_of(error) in (missing or ("ResourceNotFoundException",)):
            return None
        raise


def _ours(doing: str, error: Any) -> Exception:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{doing}: {code}: {error.response.get('Error', {}).get('Message')}"
    if code in _EXPIRED:
        return TransientError(f"{message}; the credentials of the AWS connection have run out, renew them")
    if code in _TRANSIENT or status >= 500 or status == 429:
        return TransientError(message)
    if code == "PreconditionFailedException":
        return StaleError(f"{message}; somebody else changed it meanwhile, plan again")
    return (InputError if code in _REFUSED else TerminalError)(message)
