"""What boto3 raises, as our own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from triplane.core.errors import TransientError
from triplane.serverless.target import DeployFailed

TRANSIENT: Final = frozenset(
    {
        "ConflictException",
        "InternalServerException",
        "LimitExceededException",
        "RequestTimeout",
        "ResourceInUseException",
        "ServiceException",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """``TransientError`` where a retry may help, else ``DeployFailed``."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        details = error.response.get("Error", {})
        message = f"{doing}: {details.get('Code')}: {details.get('Message')}"
        if details.get("Code") in TRANSIENT or status >= 500:
            raise TransientError(message) from error
        raise DeployFailed(message) from error
    except BotoCoreError as error:
        raise TransientError(f"{doing}: {error}") from error
