"""What the streams of all clouds have in common."""

from __future__ import annotations

from typing import Literal

from triplane.core.errors import InputError
from triplane.serverless.events.source import Options

COMMON = frozenset(
    {"function", "stream", "batch_size", "starting_position", "retries", "dead_letter", "enabled"}
)
"""``stream`` is what is read, as its cloud names it; ``starting_position`` is ``latest`` or ``earliest``."""
Position = Literal["latest", "earliest"]


def check(name: str, options: Options) -> None:
    """:raises InputError: it does not say what reads what"""
    missing = [key for key in ("function", "stream") if not options.get(key)]
    if missing:
        raise InputError(f"{name}: a stream needs {' and '.join(repr(key) for key in missing)}")


def number(name: str, options: Options, key: str, default: int, least: int, most: int) -> int:
    """A whole number. :raises InputError: the cloud does not take it"""
    value = options.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name}: {key} {value!r} is not a whole number between {least} and {most}")
    return value


def position(name: str, options: Options) -> Position:
    """Where reading begins. :raises InputError: it is neither of the two"""
    value = options.get("starting_position") or "latest"
    if value == "latest" or value == "earliest":
        return "latest" if value == "latest" else "earliest"
    raise InputError(f"{name}: starting_position {value!r} is neither 'latest' nor 'earliest'")
