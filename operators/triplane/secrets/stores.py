"""Reads the clouds' stores of secrets, with an Airflow connection of the cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from triplane.core.errors import InputError, TransientError
from triplane.secrets.stored import Stored
from triplane.settings import register_secret

_MISSING = "there is no {}: create it, or correct `secrets` in the platform spec"
_FORBIDDEN = "connection {} may not read {}: {}"
_AWS_MISSING = ("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound")
_AWS_FORBIDDEN = (
    "AccessDeniedException",
    "UnrecognizedClientException",
    "DecryptionFailure",
    "InvalidRequestException",
    "ExpiredToken",
    "ExpiredTokenException",
)


class Found(NamedTuple):
    """A secret's value, and the version that it has."""

    value: str
    version: str


def read(stored: Stored) -> Found:
    """The secret's value, masked from now on.

    :raises InputError: it is not there, may not be read, is disabled, or has no such part
    :raises TransientError: the store is busy
    """
    found = _READ[stored.store](stored)
    register_secret(found.value)
    if not stored.part:
        return found
    try:
        value = json.loads(found.value)[stored.part]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{stored.said} is no JSON object with a {stored.part!r}") from None
    return Found(register_secret(value if isinstance(value, str) else json.dumps(value)), found.version)


def version(stored: Stored) -> str:
    """The version that :func:`read` would give, without reading the value where the store allows that.

    :raises InputError: it is not there, is disabled, or may not be looked at
    :raises TransientError: the store is busy
    """
    return _VERSION[stored.store](stored)


def _secretsmanager(stored: Stored) -> Found:
    with _aws_errors(stored):
        answer = _aws(stored, "secretsmanager").get_secret_value(SecretId=stored.name, **_aws_version(stored))
    if "SecretString" not in answer:
        raise InputError(f"{stored.said} holds bytes, not a text")
    return Found(answer["SecretString"], answer["VersionId"])


def _secretsmanager_version(stored: Stored) -> str:
    with _aws_errors(stored):
        stages = (
            _aws(stored, "secretsmanager").describe_secret(SecretId=stored.name).get("VersionIdsToStages", {})
        )
    wanted = _aws_version(stored)
    for number, named in stages.items():
        if wanted.get("VersionId") == number or (
            wanted.get("VersionStage", "AWSCURRENT") in named and "VersionId" not in wanted
        ):
            return str(number)
    raise InputError(_MISSING.format(stored.said))


def _aws_version(stored: Stored) -> dict[str, str]:
    if not stored.version:
        return {}
    return {"VersionStage" if stored.version.startswith("AWS") else "VersionId": stored.version}


def _ssm(stored: Stored) -> Found:
    parameter = _parameter(stored, decrypt=True)
    return Found(parameter["Value"], str(parameter["Version"]))


def _ssm_version(stored: Stored) -> str:
    return str(_parameter(stored, decrypt=False)["Version"])


def _parameter(stored: Stored, *, decrypt: bool) -> dict[str, Any]:
    name = f"{stored.name}:{stored.version}" if stored.version else stored.name
    with _aws_errors(stored):
        answer = _aws(stored, "ssm").get_parameter(Name=name, WithDecryption=decrypt)
    found: dict[str, Any] = answer["Parameter"]
    return found


def _aws(stored: Stored, service: str) -> Any:
    from triplane.clouds import aws

    return aws.client(service, stored.connection, stored.place)


@contextmanager
def _aws_errors(stored: Stored) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code, said = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        if code in _AWS_MISSING:
            raise InputError(_MISSING.format(stored.said)) from error
        if code in _AWS_FORBIDDEN:
            raise InputError(_FORBIDDEN.format(stored.connection, stored.said, said)) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        busy = status >= 500 or status == 429 or "Throttl" in code
        raise (TransientError if busy else InputError)(f"{stored.said}: {code}: {said}") from error
    except BotoCoreError as error:
        raise TransientError(f"{stored.said}: {error}") from error


def _secretmanager(stored: Stored) -> Found:
    with _google_errors(stored):
        payload = _google(stored).access_secret_version(name=_google_name(stored), timeout=20, retry=None)
    return Found(payload.payload.data.decode(), payload.name.rpartition("/")[2])


def _secretmanager_version(stored: Stored) -> str:
    from google.cloud.secretmanager_v1 import SecretVersion

    with _google_errors(stored):
        found = _google(stored).get_secret_version(name=_google_name(stored), timeout=20, retry=None)
    if found.state != SecretVersion.State.ENABLED:
        raise InputError(f"{stored.said} is {found.state.name.lower()}; enable it, or name another version")
    return str(found.name.rpartition("/")[2])


def _google_name(stored: Stored) -> str:
    return f"projects/{stored.place}/secrets/{stored.name}/versions/{stored.version or 'latest'}"


def _google(stored: Stored) -> Any:
    from google.cloud.secretmanager_v1 import SecretManagerServiceClient

    from triplane.clouds import gcp

    return gcp.client(SecretManagerServiceClient, stored.connection)


@contextmanager
def _google_errors(stored: Stored) -> Iterator[None]:
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except exceptions.NotFound as error:
        raise InputError(_MISSING.format(stored.said)) from error
    except exceptions.PermissionDenied as error:
        raise InputError(_FORBIDDEN.format(stored.connection, stored.said, error.message)) from error
    except (exceptions.TooManyRequests, exceptions.ServerError, exceptions.Unauthorized) as error:
        raise TransientError(f"{stored.said}: {error}") from error
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise InputError(f"{stored.said}: {error}") from error


def _keyvault(stored: Stored) -> Found:
    with _azure_errors(stored):
        found = _azure(stored).get_secret(stored.name, stored.version or None)
    return Found(found.value or "", str(found.properties.version))


def _keyvault_version(stored: Stored) -> str:
    """Key Vault shows to who may only read a secret nothing about it but the whole of it."""
    return _keyvault(stored).version


def _azure(stored: Stored) -> Any:
    from azure.keyvault.secrets import SecretClient

    from triplane.clouds import azure

    url = f"https://{stored.place}.{azure.vault_suffix(stored.connection)}"
    return SecretClient(url, azure.credential(stored.connection))


@contextmanager
def _azure_errors(stored: Stored) -> Iterator[None]:
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ResourceNotFoundError,
    )

    try:
        yield
    except ResourceNotFoundError as error:
        raise InputError(_MISSING.format(stored.said)) from error
    except HttpResponseError as error:
        if isinstance(error, ClientAuthenticationError) or error.status_code in (401, 403):
            raise InputError(_FORBIDDEN.format(stored.connection, stored.said, error.message)) from error
        busy = error.status_code is None or error.status_code >= 500 or error.status_code == 429
        raise (TransientError if busy else InputError)(f"{stored.said}: {error.message}") from error
    except AzureError as error:
        raise TransientError(f"{stored.said}: {error}") from error


_READ: dict[str, Callable[[Stored], Found]] = {
    "secretsmanager": _secretsmanager,
    "ssm": _ssm,
    "secretmanager": _secretmanager,
    "keyvault": _keyvault,
}
_VERSION: dict[str, Callable[[Stored], str]] = {
    "secretsmanager": _secretsmanager_version,
    "ssm": _ssm_version,
    "secretmanager": _secretmanager_version,
    "keyvault": _keyvault_version,
}
