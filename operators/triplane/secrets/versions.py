"""Which version of each secret is the latest: what is deployed with it, and what a drift check compares that with."""

from __future__ import annotations

from collections.abc import Mapping

from triplane.secrets.stored import Stored
from triplane.secrets.stores import version

Used = Mapping[str, Mapping[str, str]]
"""Address of a component -> name of a secret that it uses -> its reference."""


def current(used: Used) -> dict[str, dict[str, str]]:
    """The same with versions in place of references; each secret is looked at once.

    :raises InputError: one is missing, disabled, or may not be looked at
    :raises TransientError: a store is busy
    """
    found: dict[str, str] = {}
    for secrets in used.values():
        for reference in secrets.values():
            if reference not in found:
                found[reference] = version(Stored.parse(reference))
    return {
        address: {name: found[reference] for name, reference in secrets.items()}
        for address, secrets in used.items()
        if secrets
    }
