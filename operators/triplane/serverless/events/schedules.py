"""What the three kinds of schedules share."""

from __future__ import annotations

from typing import Any

from triplane.core import cron_services
from triplane.core.errors import InputError
from triplane.serverless.events.source import Options
from triplane.serverless.target import UNKNOWN, Unknown

COMMON = frozenset(
    {"function", "url", "cron", "every", "timezone", "payload", "retries", "dead_letter", "enabled"}
)


def expression(service: str, options: Options) -> Any:
    """When it runs, in the words of the service; ``UNKNOWN`` while a part is.

    :raises InputError: the service cannot say it
    """
    cron, every = options.get("cron"), options.get("every")
    zone = options.get("timezone") or "UTC"
    if any(isinstance(value, Unknown) for value in (cron, every, zone)):
        return UNKNOWN
    cron_services.check(service, cron=cron, every=every, zone=zone)
    return cron_services.TRANSLATIONS[service](cron, every, zone)


def one_target(name: str, options: Options) -> None:
    """:raises InputError: it calls both a function and a URL, or neither"""
    if bool(options.get("function")) == bool(options.get("url")):
        raise InputError(f"{name}: a schedule needs exactly one of 'function' and 'url'")


def retries(name: str, options: Options, most: int, default: int | None) -> Any:
    """How often a failed call is repeated. :raises InputError: more than the cloud does"""
    found = options.get("retries")
    if isinstance(found, int) and not 0 <= found <= most:
        raise InputError(f"{name}: retries goes from 0 to {most} here")
    return default if found is None else found
