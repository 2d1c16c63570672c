"""Which components of a platform use which secrets of the clouds' stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from triplane.core.references import references
from triplane.factories.components import ENVIRONMENT
from triplane.factories.context import Build
from triplane.factories.values import follows_by_itself, stored
from triplane.spec.functions import Function
from triplane.spec.model import Stack
from triplane.spec.secrets import Secret


def used_secrets(build: Build, cloud: str) -> dict[str, dict[str, str]]:
    """Address -> name of a secret -> its reference, of those whose new versions a deployment would bring.

    Not among them: a pinned version, what Airflow keeps, and what a component follows by itself.
    """
    tracked = {
        name: secret
        for name, secret in build.platform.secrets.items()
        if secret.store and secret.track and not secret.version
    }
    if not tracked:
        return {}
    found = {address: _of(build, body, tracked) for address, body in _components(build, cloud)}
    return {address: secrets for address, secrets in found.items() if secrets}


def secret_components(build: Build, cloud: str) -> list[dict[str, Any]]:
    """The same by secret, for the drift check."""
    found: dict[str, dict[str, Any]] = {}
    for address, secrets in used_secrets(build, cloud).items():
        for name, reference in secrets.items():
            entry = {"reference": reference, "scope": f"{ENVIRONMENT}/{cloud}", "users": []}
            found.setdefault(f"{cloud}/secret/{name}", entry)["users"].append(address)
    return [{"address": address, **entry} for address, entry in found.items()]


def _components(build: Build, cloud: str) -> Iterator[tuple[str, Any]]:
    part = build.platform.cloud(cloud)
    for address in build.platform.addresses(cloud):
        _, kind, name = address.split("/")
        bodies = getattr(part, kind if kind in ("machines", "manifests") else f"{kind}s")
        yield address, bodies[name]


def _of(build: Build, body: Any, tracked: Mapping[str, Secret]) -> dict[str, str]:
    names = {name.removeprefix("secret.") for name in references(body.asdict())}
    names |= set(body.secrets.values()) if isinstance(body, Stack) else set()
    return {
        name: str(stored(build.platform, secret)._replace(part=""))
        for name, secret in tracked.items()
        if name in names and not (isinstance(body, Function) and follows_by_itself(build.platform, name))
    }
