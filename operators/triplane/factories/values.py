"""What a user wrote, handed to operators: per environment, and never taken for a Jinja template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.core.references import resolve
from triplane.spec.model import Platform


class PerEnvironment:
    """A value that depends on the run's environment; Airflow resolves it when it renders the task."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def resolve(self, context: Any) -> Any:
        """The value for the environment that this run was started with."""
        return self._values[context["params"]["environment"]]

    def iter_references(self) -> tuple[()]:
        """It refers to no task."""
        return ()

    def serialize(self) -> Any:
        """What the UI shows before a run exists."""
        return dict(self._values)


def per_environment(platform: Platform, value: Any) -> PerEnvironment:
    """``value`` with ``${environment}``, ``${env.x}`` and ``${secret.x}`` replaced, for each environment.

    Secrets become what :func:`secret_reference` says; outputs of stacks stay as they are written.
    """
    return PerEnvironment({name: resolve(value, _lookup(platform, name)) for name in platform.environments})


def secret_reference(platform: Platform, name: str) -> str:
    """The reference under which an operator finds a secret of the spec.

    ``${variable.<Airflow Variable>}`` or ``${connection.<connection id>}``.
    """
    secret = platform.secrets[name]
    kind = "connection" if secret.variable is None else "variable"
    return f"${{{kind}.{secret.variable or secret.connection}}}"


def _lookup(platform: Platform, environment: str) -> Any:
    variables = platform.environments[environment].variables

    def find(name: str) -> Any:
        kind, _, rest = name.partition(".")
        if name == "environment":
            return environment
        if kind == "env":
            return variables[rest]
        if kind == "secret":
            return secret_reference(platform, rest)
        return f"${{{name}}}"

    return find
