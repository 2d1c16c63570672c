"""What a schema cannot say about secrets: that their cloud is there, and that who gets them can read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from triplane.spec.document import Document, Problem
from triplane.spec.secrets import STORED

_SECRET = re.compile(r"\$\{\s*secret\.([\w-]+)\s*\}")
_BY_REFERENCE = {
    "fargate": ("secrets_manager", "ssm"),
    "cloud_run": ("secret_manager",),
    "cloud_functions": ("secret_manager",),
    "azure_functions": ("key_vault",),
    "container_apps": ("key_vault",),
}
"""Target -> the stores that the cloud itself reads for it."""


def problems(document: Document) -> Iterator[Problem]:
    """Of all secrets of a spec, and of the functions that get them."""
    secrets, clouds = _mapping(document.data, "secrets"), _mapping(document.data, "clouds")
    for name, secret in secrets.items():
        if (store := _store(secret)) and STORED[store] not in clouds:
            message = f"{store} is read with the connection of cloud {STORED[store]}, which this platform does not use"
            yield document.problem(("secrets", name, store), message, on_key=True)
    for cloud in clouds:
        for function, body in _mapping(clouds, cloud, "functions").items():
            for key, value in _mapping(body, "environment").items():
                if message := _problem(str(_mapping(body).get("target")), value, secrets):
                    yield document.problem(
                        ("clouds", cloud, "functions", function, "environment", key), message
                    )


def _problem(target: str, value: Any, secrets: Mapping[str, Any]) -> str:
    """Why this value of a function's environment cannot be delivered, empty if it can."""
    for name in _SECRET.findall(value) if isinstance(value, str) else ():
        secret = _mapping(secrets, name)
        store = _store(secret)
        if store is None or secret.get("deliver") == "value":
            continue
        by_value = (
            f"say `deliver: value` in `secrets.{name}` if its value may stand in the function's environment"
        )
        if store not in _BY_REFERENCE.get(target, ()):
            return f"{target} cannot read {store} by itself; {by_value}"
        if "part" in secret:
            return f"{target} reads whole secrets, not a 'part' of one; {by_value}"
        if not _SECRET.fullmatch(value.strip()):
            return f"a secret by reference is the whole value, not a piece of a text; {by_value}"
    return ""


def _store(secret: Any) -> str | None:
    return next((store for store in STORED if store in _mapping(secret)), None)


def _mapping(data: Any, *path: str) -> Mapping[str, Any]:
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}
