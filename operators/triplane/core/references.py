"""``${network.vpc_id}`` in the values of a spec: find such references, and put real values in.

A reference is a name with dots, or a URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from triplane.core.errors import InputError

SECRETS = ("variable.", "connection.", "secret.")
_REFERENCE = re.compile(r"\$\{\s*([A-Za-z_][\w-]*(?:\.[\w-]+)*|[a-z]+://[^\s${}]+)\s*\}")


def references(value: Any) -> set[str]:
    """Every reference in ``value``, without its braces: ``{"network.vpc_id"}``."""
    if isinstance(value, str):
        return set(_REFERENCE.findall(value))
    if isinstance(value, Mapping):
        return {name for item in value.values() for name in references(item)}
    if isinstance(value, (list, tuple)):
        return {name for item in value for name in references(item)}
    return set()


def is_secret(name: str) -> bool:
    """Whether a reference is to a secret: of Airflow, or of a cloud's store."""
    return "://" in name or name.startswith(SECRETS)


def holds_secret(value: Any) -> bool:
    """Whether ``value``, as written, refers to a secret."""
    return any(is_secret(name) for name in references(value))


def resolve(value: Any, lookup: Callable[[str], Any]) -> Any:
    """``value`` with each reference replaced by ``lookup(name)``.

    A string that is one reference takes the looked-up value as it is, of whatever type; inside a
    longer string its text is put in. A ``KeyError`` of ``lookup`` becomes an :class:`InputError`.
    """
    if isinstance(value, Mapping):
        return {key: resolve(item, lookup) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, lookup) for item in value]
    if not isinstance(value, str):
        return value
    if whole := _REFERENCE.fullmatch(value.strip()):
        return _get(whole[1], lookup)
    return _REFERENCE.sub(lambda match: str(_get(match[1], lookup)), value)


def _get(name: str, lookup: Callable[[str], Any]) -> Any:
    try:
        return lookup(name)
    except KeyError as error:
        raise InputError(f"${{{name}}} has no value: {error.args[0] if error.args else name}") from error
