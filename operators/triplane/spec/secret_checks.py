"""What a schema cannot say about secrets: that their cloud is there, and that who gets them can read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from triplane.spec.document import Document, Problem, mapping
from triplane.spec.secrets import REFERENCE, STORED

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
    secrets, clouds = mapping(document.data, "secrets"), mapping(document.data, "clouds")
    for name, secret in secrets.items():
        if (store := _store(secret)) and STORED[store] not in clouds:
            message = f"{store} is read with the connection of cloud {STORED[store]}, which this platform does not use"
            yield document.problem(("secrets", name, store), message, on_key=True)
    for cloud in clouds:
        for function, body in mapping(clouds, cloud, "functions").items():
            for key, value in mapping(body, "environment").items():
                if message := _problem(str(mapping(body).get("target")), value, secrets):
                    yield document.problem(
                        ("clouds", cloud, "functions", function, "environment", key), message
                    )


def _problem(target: str, value: Any, secrets: Mapping[str, Any]) -> str:
    """Why this value of a function's environment cannot be delivered, empty if it can."""
    for name in REFERENCE.findall(value) if isinstance(value, str) else ():
        secret = mapping(secrets, name)
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
        if store == "ssm" and "version" in secret:
            return f"{target} reads the latest version of a parameter; {by_value}"
        if str(secret[store]).startswith("arn:"):
            return f"{target} is given a secret by its name, not by its ARN"
        if not REFERENCE.fullmatch(value.strip()):
            return f"a secret by reference is the whole value, not a piece of a text; {by_value}"
    return ""


def _store(secret: Any) -> str | None:
    return next((store for store in STORED if store in mapping(secret)), None)
