"""The routes of the spec, for operators."""

from __future__ import annotations

from typing import Any

from triplane.factories.context import Build, spec


def routes_of(build: Build) -> list[dict[str, Any]]:
    """The routes of a platform, as operators take them (``notify=``)."""
    platform = build.platform
    return [route.plain(name, platform.name) for name, route in platform.notify.items()]


def routes(platform: str | None = None) -> list[dict[str, Any]]:
    """The same for a DAG of your own.

    :param platform: path of the platform spec, by default ``[triplane] platform``
    """
    return routes_of(spec(platform))
