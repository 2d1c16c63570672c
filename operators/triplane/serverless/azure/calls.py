"""What the targets at Azure share: one call and its errors, references to Key Vault, options as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from triplane.core.errors import InputError, StaleError, TerminalError, TransientError
from triplane.serverless.target import Answer, Desired, Observed, Option, Progress, Smoke, Waiting

# For every SDK call: what a busy or failing cloud answers comes back at once, the caller asks again later.
ONCE: Mapping[str, Any] = {
    **{"retry_status": 0, "retry_read": 0, "retry_connect": 1},
    **{"connection_timeout": 10, "read_timeout": 30},
}
BUSY_SECONDS = 5.0
COMMIT_TAG, DIGEST_TAG = "triplane-commit", "triplane-digest"
_TAG_LENGTH = 256
_TOKEN_ENDED = frozenset({"ExpiredAuthenticationToken", "InvalidAuthenticationToken", "AuthenticationFailed"})
_VAULT = re.compile(
    r"keyvault://(?P<vault>[A-Za-z0-9-]{3,24})/(?P<name>[A-Za-z0-9-]{1,127})(?:/(?P<version>\w+))?"
)
T = TypeVar("T")
P = ParamSpec("P")


class Busy(TransientError):
    """Another operation on the same resource is in progress, or Azure asks for a pause."""


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Azure's errors as ours.

    :raises Busy: another operation is in progress, or there were too many requests
    :raises TransientError: the service fails or cannot be reached, or the token has just ended
    :raises TerminalError: everything else
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        raise _as_ours(what, error) from error
    except AzureError as error:
        raise TransientError(f"{what}: {error}") from error


def _as_ours(what: str, error: Any) -> Exception:
    status, message = error.status_code or 0, f"{what}: {error.message}"
    code = error_code(error)
    if status == 429 or (status == 409 and "in progress" in message.lower()):
        return Busy(message)
    if status == 408 or status >= 500 or (status == 401 and code in _TOKEN_ENDED):
        return TransientError(message)
    if code == "ResourceGroupNotFound":
        return InputError(message)
    return TerminalError(message)


def error_code(error: Any) -> str:
    """The ``code`` of an error of Resource Manager, "" if it has none."""
    return str(getattr(error.error, "code", None) or "") if error.error is not None else ""


def found_or_none(what: str, read: Callable[[], T]) -> T | None:
    """What ``read`` gives, None if that resource is not there. A missing resource group is an error."""
    from azure.core.exceptions import ResourceNotFoundError

    with calling(what):
        try:
            return read()
        except ResourceNotFoundError as error:
            if error_code(error) in ("ResourceGroupNotFound", "SubscriptionNotFound"):
                raise
            return None


def stepwise(step: Callable[P, Progress]) -> Callable[P, Progress]:
    """A step during which the resource may be busy: then it waits."""

    @wraps(step)
    def careful(*args: P.args, **kwargs: P.kwargs) -> Progress:
        try:
            return step(*args, **kwargs)
        except Busy as error:
            return Waiting(why=str(error), seconds=BUSY_SECONDS)

    return careful


def word(value: Any) -> str:
    """The text of a value of an enumeration, "" for None."""
    return str(getattr(value, "value", value) or "")


def tags(desired_revision: str, artifact: str | None) -> dict[str, str]:
    """Tags that say what serves: the commit, and the digest of the package or image."""
    digest = (artifact or "").rpartition("@")[2]
    found = {COMMIT_TAG: desired_revision, DIGEST_TAG: digest}
    return {key: value[:_TAG_LENGTH] for key, value in found.items() if value}


def vault_url(value: str) -> str | None:
    """The URL of the secret that ``keyvault://VAULT/NAME[/VERSION]`` names, None for any other value.

    :raises InputError: it begins so and names none
    """
    if not value.startswith("keyvault://"):
        return None
    match = _VAULT.fullmatch(value)
    if match is None:
        raise InputError(f"{value}: write a secret as keyvault://VAULT/NAME or keyvault://VAULT/NAME/VERSION")
    version = f"/{match['version']}" if match["version"] else ""
    return f"https://{match['vault']}.vault.azure.net/secrets/{match['name']}{version}"


def vault_reference(url: str) -> str:
    """``keyvault://VAULT/NAME[/VERSION]`` for the URL of a secret; a URL of another form stays as it is."""
    match = re.fullmatch(r"https://([\w-]+)\.vault\.azure\.net/secrets/([\w-]+)(?:/(\w+))?/?", url)
    return "keyvault://" + "/".join(part for part in match.groups() if part) if match else url


def as_written(found: Option, written: Any) -> Option:
    """``written`` where it means the same as what Azure tells: in other case, another order, ``0.50`` for 0.5."""
    same = _same(found) == _same(written) or (not found and not written)
    return written if written is not None and same else found


def _same(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sorted(str(item).lower() for item in value)
    if isinstance(value, bool) or value is None:
        return value
    try:
        return float(value)
    except ValueError:
        return str(value).lower()


def identity_body(wanted: Sequence[str]) -> dict[str, Any]:
    """``identity`` of a resource: resource ids of managed identities, or ``system`` for its own."""
    users = [item for item in wanted if item.lower() != "system"]
    kinds = [*(["SystemAssigned"] if len(users) < len(wanted) else []), *(["UserAssigned"] if users else [])]
    body: dict[str, Any] = {"type": ", ".join(kinds) or "None"}
    return body | ({"userAssignedIdentities": {item: {} for item in users}} if users else {})


def identities(identity: Any) -> list[str]:
    """What :func:`identity_body` was made from."""
    if identity is None:
        return []
    own = ["system"] if "systemassigned" in word(identity.type).lower() else []
    return [*own, *sorted(identity.user_assigned_identities or {})]


def list_of(value: Option) -> list[str]:
    """An option that is a list of texts; one text is a list of one."""
    if value is None:
        return []
    return (
        [value]
        if isinstance(value, str)
        else [str(item) for item in value]
        if isinstance(value, Sequence)
        else [str(value)]
    )


def stamp(desired: Desired, **more: Any) -> str:
    """What a deployment leaves on what it makes, as JSON: whose it is and how it was written."""
    kept = {
        "attempt": desired.attempt,
        "config": desired.config,
        "artifact": desired.artifact,
        "revision": desired.revision,
        "options": desired.known_options(),
        **more,
    }
    return json.dumps(kept, sort_keys=True)


def read_stamp(text: str | None) -> dict[str, Any]:
    """What :func:`stamp` wrote; empty for anything else."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def serving(name: str, found: Observed | None, previous: Observed | None) -> None:
    """:raises StaleError: something else serves than before the deployment"""
    now, before = (found.version if found else ""), (previous.version if previous else "")
    if (found is None) != (previous is None) or now != before:
        raise StaleError(
            f"{name}: {now or 'nothing'} serves now, but {before or 'nothing'} did when this deployment began; "
            "somebody else deploys; plan again"
        )


def ask(url: str, smoke: Smoke, headers: Mapping[str, str] | None = None) -> Answer:
    """One HTTP request; an answer with status 0 where nobody answers."""
    import requests

    try:
        answer = requests.request(
            smoke.method,
            f"{url}/{smoke.path.lstrip('/')}",
            json=smoke.payload,
            headers=dict(headers or {}),
            timeout=smoke.timeout,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        return Answer(status=0, body="", log=(f"{url}: {type(error).__name__}",))
    return Answer(status=answer.status_code, body=answer.text)
