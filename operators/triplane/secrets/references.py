"""What every reference of a spec stands for, the clouds' secrets among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triplane import settings
from triplane.core.errors import InputError


def lookup_in(scope: str) -> Callable[[str], Any]:
    """As :func:`triplane.settings.lookup`, and secrets where the clouds keep them.

    ``${secretsmanager://aws_default@eu-west-1/shop/database?part=password}`` and the like, see
    :class:`triplane.secrets.stored.Stored`, are read once for each lookup and masked. One that ends with ``#version`` is
    the version.
    """
    plain = settings.lookup(scope)
    cache: dict[str, str] = {}

    def find(name: str) -> Any:
        if "://" not in name:
            return plain(name)
        if name not in cache:
            from triplane.secrets.stored import VERSION, Stored
            from triplane.secrets.stores import read, version

            try:
                if name.endswith(VERSION):
                    cache[name] = version(Stored.parse(name.removesuffix(VERSION)))
                else:
                    cache[name] = read(Stored.parse(name)).value
            except InputError as error:
                raise KeyError(str(error)) from error
        return cache[name]

    return find
