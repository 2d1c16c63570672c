"""What a user wrote, handed to operators: per environment, and never taken for a Jinja template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.core.references import references, resolve
from triplane.secrets.stored import Stored
from triplane.spec.model import AwsCloud, AzureCloud, GcpCloud, Platform
from triplane.spec.secrets import REFERENCE, STORED, Secret


class PerEnvironment:
    """A value that depends on the run's environment; Airflow resolves it when it renders the task."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def resolve(self, context: Any) -> Any:
        """The value for the environment that this run was started with."""
        return self._values[context["params"]["environment"]]

    def of(self, environment: str) -> Any:
        """The value for an environment."""
        return self._values[environment]

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
    if not references(value):  # then it is the same everywhere
        return PerEnvironment(dict.fromkeys(platform.environments, resolve(value, str)))
    return PerEnvironment({name: resolve(value, _lookup(platform, name)) for name in platform.environments})


def function_environment(platform: Platform, environment: Mapping[str, str]) -> PerEnvironment:
    """The environment of a function: as :func:`per_environment`, but what the cloud itself can read stays a reference.

    To the version that is the latest when the function is planned, unless the secret is not to be tracked.
    """
    written = {key: _by_reference(platform, value) or value for key, value in environment.items()}
    return per_environment(platform, written)


def follows_by_itself(platform: Platform, name: str) -> bool:
    """Whether functions are given the secret without its version, so that no deployment brings a newer one."""
    secret = platform.secrets[name]
    return secret.store == "ssm" and secret.deliver == "reference"


def _by_reference(platform: Platform, value: str) -> str | None:
    """What the targets call an entry of their cloud's store; None where the value itself is to be delivered."""
    found = REFERENCE.fullmatch(value.strip())
    secret = platform.secrets[found[1]] if found else None
    if secret is None or secret.store is None or secret.deliver == "value":
        return None
    entry = stored(platform, secret)
    version = f"${{{entry.of_version}}}" if secret.track else entry.version
    match secret.store:
        case "secret_manager":
            return f"secretmanager://{entry.name}/{version or 'latest'}"
        case "key_vault":
            return "/".join(filter(None, (f"keyvault://{entry.place}", entry.name, version)))
        case "ssm":
            from triplane.serverless.aws.fargate_task import reference

            return reference(entry.name)
    return "/".join(filter(None, (f"secretsmanager://{entry.name}", version)))


def secret_reference(platform: Platform, name: str) -> str:
    """The reference under which an operator finds a secret of the spec.

    ``${variable.<Airflow Variable>}``, ``${connection.<connection id>}``, or the URL of an entry of a cloud's store.
    """
    secret = platform.secrets[name]
    if secret.store:
        return f"${{{stored(platform, secret)}}}"
    kind = "connection" if secret.variable is None else "variable"
    return f"${{{kind}.{secret.variable or secret.connection}}}"


def stored(platform: Platform, secret: Secret) -> Stored:
    """The entry of a cloud's store, as operators take it."""
    assert secret.store
    cloud, name = platform.cloud(STORED[secret.store]), str(getattr(secret, secret.store))
    match cloud:
        case AwsCloud():
            place = cloud.region
        case GcpCloud():
            place = cloud.project
        case AzureCloud():
            place, _, name = name.partition("/")
    store = secret.store.replace("_", "")
    return Stored(store, cloud.connection, place, name, secret.version or "", secret.part or "")


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
