"""AWS Lambda: code and configuration become a published version, and the alias ``live`` says which one serves.

Versions are immutable, so what served before stays there untouched, and going back is one move of the alias.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

from triplane.core.errors import InputError, TerminalError, TransientError
from triplane.serverless.target import Deployed, DeployFailed, Desired, Log, Observed, Option, Unknown

ALIAS = "live"
STAMP = "triplane "
UPLOAD_LIMIT = 50 * 1024 * 1024
ROLE_SECONDS = 30.0
POLL_SECONDS = 2.0
_FIELDS: Final = {
    "handler": "Handler",
    "runtime": "Runtime",
    "role": "Role",
    "memory": "MemorySize",
    "timeout": "Timeout",
}
_TRANSIENT: Final = frozenset(
    {
        "ResourceConflictException",
        "ResourceNotReadyException",
        "ServiceException",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestTimeout",
    }
)


class AwsLambda:
    """Functions of one account and region; ``client`` is boto3's of ``lambda``.

    Options: ``handler``, ``runtime`` and ``role`` (needed), ``memory`` in MiB, ``timeout`` in seconds.
    ``wait_seconds`` limits each wait for a function to become ready.
    """

    kind: Literal["package", "image"] = "package"
    options = frozenset(_FIELDS)

    def __init__(self, client: Any, *, wait_seconds: float = 300.0) -> None:
        self._client = client
        self._wait_seconds = wait_seconds

    def observe(self, name: str) -> Observed | None:
        """What ``live`` leads to (``3=90,4=10`` where its traffic is split). A function without that alias is there,
        but serves no version: ``""``.
        """
        with _errors(f"reading {name}"):
            alias = self._found(self._client.get_alias, FunctionName=name, Name=ALIAS)
            if alias is not None:
                live = self._client.get_function_configuration(
                    FunctionName=name, Qualifier=alias["FunctionVersion"]
                )
                return _observed(live, _version_of(alias))
            latest = self._found(self._client.get_function_configuration, FunctionName=name)
        return None if latest is None else _observed(latest, "")

    def deploy(self, desired: Desired, observed: Observed | None, log: Log) -> Deployed:
        """Publishes a version and moves ``live`` to it once it is active."""
        package = _package(desired)
        settings = _settings(desired)
        try:
            with _errors(f"deploying {desired.name}"):
                if observed is None:
                    self._create(desired.name, package, settings, log)
                else:
                    self._update(desired.name, package, settings, log)
                version = self._publish(desired, log)
                self._move_alias(desired.name, version)
        except (DeployFailed, TerminalError) as error:
            restored = self._put_back(desired.name, observed, log)
            raise DeployFailed(f"{desired.name}: {error}", restored=restored) from error
        log(f"{desired.name}: {ALIAS} leads to version {version}")
        return Deployed(version=version, details={"alias": ALIAS})

    def verify(self, desired: Desired, deployed: Deployed) -> None:
        """Reads back the alias, and the code and the stamp of the version it leads to."""
        observed = self.observe(desired.name)
        if observed is None or "=" in observed.version:
            raise DeployFailed(
                f"{desired.name}: {ALIAS} is gone, or sends part of its traffic to another version"
            )
        if observed.version != deployed.version:
            raise DeployFailed(f"{desired.name}: version {observed.version} serves, not {deployed.version}")
        if observed.artifact != desired.artifact:
            raise DeployFailed(f"{desired.name}: {observed.artifact} serves, not {desired.artifact}")
        if observed.config != desired.config:
            raise DeployFailed(f"{desired.name}: version {deployed.version} has another configuration")

    def restore(self, name: str, previous: Observed) -> None:
        """Moves ``live`` back to the version of ``previous``."""
        if not previous.version:
            raise InputError(f"{name}: no version served before, so there is none to go back to")
        with _errors(f"restoring {name}"):
            self._move_alias(name, previous.version)

    def delete(self, name: str) -> None:
        """Deletes the function, its versions and aliases."""
        with _errors(f"deleting {name}"):
            self._found(self._client.delete_function, FunctionName=name)

    def _create(self, name: str, package: bytes, settings: Mapping[str, Any], log: Log) -> None:
        log(f"{name}: creating the function with {len(package)} bytes of code")
        self._when_role_is_ready(
            lambda: self._client.create_function(
                FunctionName=name, Code={"ZipFile": package}, Publish=False, **settings
            ),
            log,
        )
        self._wait("function_active_v2", FunctionName=name)

    def _update(self, name: str, package: bytes, settings: Mapping[str, Any], log: Log) -> None:
        log(f"{name}: sending {len(package)} bytes of code")
        self._wait("function_updated_v2", FunctionName=name)
        self._client.update_function_code(FunctionName=name, ZipFile=package, Publish=False)
        self._wait("function_updated_v2", FunctionName=name)
        log(f"{name}: updating the configuration")
        self._when_role_is_ready(
            lambda: self._client.update_function_configuration(FunctionName=name, **settings), log
        )
        self._wait("function_updated_v2", FunctionName=name)

    def _publish(self, desired: Desired, log: Log) -> str:
        published = self._client.publish_version(
            FunctionName=desired.name,
            CodeSha256=_code_sha256(desired.artifact),
            Description=f"{STAMP}{desired.config}",
        )
        version = str(published["Version"])
        log(f"{desired.name}: published version {version}, waiting until it is active")
        self._wait("published_version_active", FunctionName=desired.name, Qualifier=version)
        if (code := _artifact(published["CodeSha256"])) != desired.artifact:
            raise DeployFailed(
                f"version {version} holds {code}, not {desired.artifact}; somebody else deployed"
            )
        return version

    def _move_alias(self, name: str, version: str) -> None:
        first, *others = version.split(",")
        parts = [part.partition("=") for part in others]
        weights = {other: int(share) / 100 for other, _, share in parts}
        alias = {"FunctionName": name, "Name": ALIAS, "FunctionVersion": first.partition("=")[0]}
        if self._found(self._client.get_alias, FunctionName=name, Name=ALIAS) is None:
            self._client.create_alias(**alias)
        else:
            self._client.update_alias(**alias, RoutingConfig={"AdditionalVersionWeights": weights})

    def _put_back(self, name: str, observed: Observed | None, log: Log) -> str | None:
        """The version that serves again, None when none did before."""
        with _errors(f"putting back {name}"):
            if observed is None:
                log(f"{name}: removing the function that this deployment made")
                self._found(self._client.delete_function, FunctionName=name)
                return None
            if not observed.version:
                return None
            log(f"{name}: moving {ALIAS} back to version {observed.version}")
            self._move_alias(name, observed.version)
            return observed.version

    def _wait(self, waiter: str, **which: str) -> None:
        from botocore.exceptions import WaiterError

        attempts = max(1, int(self._wait_seconds / POLL_SECONDS))
        try:
            self._client.get_waiter(waiter).wait(
                **which, WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": attempts}
            )
        except WaiterError as error:
            answer = error.last_response.get("Configuration", error.last_response)
            reason = answer.get("StateReason") or answer.get("LastUpdateStatusReason") or error
            raise DeployFailed(f"it did not become ready: {reason}") from error

    def _when_role_is_ready(self, call: Callable[[], Any], log: Log) -> None:
        """Lambda cannot assume a role in the first seconds of its life."""
        deadline = time.monotonic() + ROLE_SECONDS
        while True:
            try:
                call()
                return
            except self._client.exceptions.InvalidParameterValueException as error:
                if "cannot be assumed" not in str(error) or time.monotonic() > deadline:
                    raise
            log("waiting until Lambda can assume the role")
            time.sleep(POLL_SECONDS)

    def _found(self, call: Callable[..., Any], **which: str) -> Any:
        """The answer, None when there is no such thing."""
        try:
            return call(**which)
        except self._client.exceptions.ResourceNotFoundException:
            return None


def _package(desired: Desired) -> bytes:
    if desired.package is None:
        raise InputError(f"{desired.name}: Lambda runs packages, and none is given")
    if len(desired.package) > UPLOAD_LIMIT:
        raise InputError(
            f"{desired.name}: the package has {len(desired.package)} bytes, and Lambda takes {UPLOAD_LIMIT} at "
            "most; leave files out with .deployignore"
        )
    return desired.package


def _settings(desired: Desired) -> dict[str, Any]:
    """The arguments of ``create_function`` and ``update_function_configuration`` that a spec decides."""
    missing = {"handler", "runtime", "role"} - set(desired.options)
    if missing:
        raise InputError(f"{desired.name}: Lambda needs {', '.join(sorted(missing))}")
    unknown = sorted(key for key, value in desired.options.items() if isinstance(value, Unknown))
    if unknown:
        raise InputError(f"{desired.name}: {', '.join(unknown)} is not known yet; apply its stack first")
    settings = {_FIELDS[key]: value for key, value in desired.options.items()}
    return {**settings, "Environment": {"Variables": desired.known_environment()}}


def _version_of(alias: Mapping[str, Any]) -> str:
    """The version that an alias leads to, with shares in percent where it leads to several."""
    weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    version = str(alias["FunctionVersion"])
    if not weights:
        return version
    shares = {other: round(100 * weight) for other, weight in sorted(weights.items())}
    first = f"{version}={100 - sum(shares.values())}"
    return ",".join([first, *(f"{other}={share}" for other, share in shares.items())])


def _observed(configuration: Mapping[str, Any], version: str) -> Observed:
    description = configuration.get("Description") or ""
    options: dict[str, Option] = {key: configuration.get(field) for key, field in _FIELDS.items()}
    return Observed(
        version=version,
        artifact=_artifact(configuration.get("CodeSha256") or ""),
        config=description.removeprefix(STAMP)
        if description.startswith(STAMP) and "=" not in version
        else None,
        environment=(configuration.get("Environment") or {}).get("Variables") or {},
        options={key: value for key, value in options.items() if value is not None},
    )


def _code_sha256(artifact: str) -> str:
    """Lambda writes the digest of a package in base64."""
    return base64.b64encode(bytes.fromhex(artifact.removeprefix("sha256:"))).decode()


def _artifact(code_sha256: str) -> str | None:
    try:
        return f"sha256:{base64.b64decode(code_sha256, validate=True).hex()}" if code_sha256 else None
    except binascii.Error:
        return None


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """What boto3 raises, as ``TransientError`` where a retry may help, else as ``DeployFailed``."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        details = error.response.get("Error", {})
        message = f"{doing}: {details.get('Code')}: {details.get('Message')}"
        if details.get("Code") in _TRANSIENT or status >= 500:
            raise TransientError(message) from error
        raise DeployFailed(message) from error
    except BotoCoreError as error:
        raise TransientError(f"{doing}: {error}") from error
