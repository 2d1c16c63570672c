"""What all operators of this feature share: references, redaction, errors as Airflow takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.core.errors import InputError, TerminalError, TriplaneError
from triplane.core.references import holds_secret, resolve

if TYPE_CHECKING:
    from triplane.core.change import ComponentChange


def resolved(values: Mapping[str, Any], lookup: Callable[[str], Any], *, strict: bool) -> dict[str, Any]:
    """``values`` with their references looked up. Unless ``strict``, the output of a stack that was not applied yet is
    ``UNKNOWN``; a secret that cannot be had is an error in any case.
    """
    from triplane.serverless.target import UNKNOWN

    found: dict[str, Any] = {}
    for key, value in values.items():
        try:
            found[key] = resolve(value, lookup)
        except InputError:
            if strict or holds_secret(value):
                raise
            found[key] = UNKNOWN
    return found


def redacted(change: ComponentChange) -> ComponentChange:
    """A change whose lines hold no secret."""
    redact = settings.redactor()
    return replace(change, lines=tuple(redact(line) for line in change.lines))


@contextmanager
def airflow_errors(address: str) -> Iterator[None]:
    """Our errors as Airflow's: a retry is allowed only where it can help."""
    try:
        yield
    except TriplaneError as error:
        kind = AirflowFailException if isinstance(error, TerminalError) else AirflowException
        raise kind(f"{address}: {settings.redactor()(str(error))}") from error
