"""What a Lambda function is made of: our options as the API's fields, and back. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from triplane.core.errors import InputError
from triplane.serverless.aws import access as aws_access
from triplane.serverless.target import Desired, Observed, Option, main_version

ALIAS: Final = "live"
STAMP: Final = "triplane "
TAG_COMMIT, TAG_DIGEST, TAG_BUCKET = "triplane:commit", "triplane:digest", "triplane:bucket"
URLS: Final = ("none", "aws_iam", "public")
ARCHITECTURES: Final = ("x86_64", "arm64")
_PLAIN: Final = {
    "handler": "Handler",
    "runtime": "Runtime",
    "role": "Role",
    "memory": "MemorySize",
    "timeout": "Timeout",
}
OPTIONS: Final = frozenset(
    {*_PLAIN, "architecture", "layers", "ephemeral_storage", "subnets", "security_groups"}
    | {"reserved_concurrency", "url", "invokers", "bucket"}
)


class Stamp(NamedTuple):
    """What a deployment writes into the description of what it makes."""

    config: str
    attempt: str

    def __str__(self) -> str:
        return f"{STAMP}{self.config} {self.attempt}".rstrip()


def stamp_of(configuration: Mapping[str, Any]) -> Stamp | None:
    """The stamp of a function or version, None if somebody else made it."""
    description = str(configuration.get("Description") or "")
    if not description.startswith(STAMP):
        return None
    config, _, attempt = description.removeprefix(STAMP).partition(" ")
    return Stamp(config, attempt)


def check(desired: Desired) -> dict[str, Option]:
    """The options to deploy. :raises InputError: they do not fit together, or something is missing"""
    options = desired.known_options()
    name, needed = desired.name, {"role"}
    if desired.package is not None:
        needed |= {"handler", "runtime"}
    elif wrong := sorted({"handler", "runtime", "layers", "bucket"} & set(options)):
        raise InputError(f"{name}: a container image has no {', '.join(wrong)} of its own; leave that out")
    elif "@sha256:" not in desired.artifact:
        raise InputError(f"{name}: {desired.artifact} is no image with its digest (name@sha256:...)")
    if missing := sorted(needed - set(options)):
        raise InputError(f"{name}: Lambda needs {', '.join(missing)}")
    for key, choices in (("url", URLS), ("architecture", ARCHITECTURES)):
        if key in options and options[key] not in choices:
            raise InputError(f"{name}: {key} {options[key]!r} is none of {', '.join(choices)}")
    if ("subnets" in options) != ("security_groups" in options):
        raise InputError(f"{name}: `subnets` and `security_groups` go together; give both, or [] for both")
    for invoker in texts(options.get("invokers", ())):
        aws_access.checked(invoker)
    return options


def settings(desired: Desired) -> dict[str, Any]:
    """The arguments of ``update_function_configuration`` that a spec decides. Raises as :func:`check`."""
    options = check(desired)
    found: dict[str, Any] = {_PLAIN[key]: value for key, value in options.items() if key in _PLAIN}
    if "layers" in options:
        found["Layers"] = texts(options["layers"])
    if "ephemeral_storage" in options:
        found["EphemeralStorage"] = {"Size": options["ephemeral_storage"]}
    if "subnets" in options:
        found["VpcConfig"] = {
            "SubnetIds": texts(options["subnets"]),
            "SecurityGroupIds": texts(options["security_groups"]),
        }
    return {**found, "Environment": {"Variables": desired.known_environment()}}


def differing(wanted: Mapping[str, Any], configuration: Mapping[str, Any]) -> list[str]:
    """The fields of :func:`settings` that a function has not."""
    there = {field: _comparable(field, configuration.get(field)) for field in wanted}
    return sorted(field for field, value in wanted.items() if _comparable(field, value) != there[field])


def again(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``update_function_configuration`` that make a function what a version of it is."""
    vpc = configuration.get("VpcConfig") or {}
    found = {
        field: configuration[field]
        for field in (*_PLAIN.values(), "EphemeralStorage")
        if configuration.get(field)
    }
    if configuration.get("PackageType") != "Image":
        found["Layers"] = [layer["Arn"] for layer in configuration.get("Layers") or ()]
    return {
        **found,
        "Description": configuration.get("Description") or "",
        "Environment": {"Variables": _comparable("Environment", configuration.get("Environment"))},
        "VpcConfig": {key: list(vpc.get(key) or ()) for key in ("SubnetIds", "SecurityGroupIds")},
    }


def observed(version: str, function: Mapping[str, Any], outside: Mapping[str, Option]) -> Observed:
    """What serves. ``function`` is the answer of ``get_function`` for the version, ``outside`` holds the options that
    are not part of a version.
    """
    configuration = function["Configuration"]
    vpc = configuration.get("VpcConfig") or {}
    options: dict[str, Option] = {key: configuration.get(field) for key, field in _PLAIN.items()}
    options |= {
        "architecture": (configuration.get("Architectures") or ["x86_64"])[0],
        "layers": sorted(layer["Arn"] for layer in configuration.get("Layers") or ()),
        "ephemeral_storage": (configuration.get("EphemeralStorage") or {}).get("Size"),
        "subnets": sorted(vpc.get("SubnetIds") or ()),
        "security_groups": sorted(vpc.get("SecurityGroupIds") or ()),
        **outside,
    }
    stamp = stamp_of(configuration)
    return Observed(
        version=version,
        artifact=artifact_of(function),
        config=stamp.config if stamp and "=" not in version else None,
        environment=_comparable("Environment", configuration.get("Environment")),
        options={key: value for key, value in options.items() if value is not None},
    )


def artifact_of(function: Mapping[str, Any]) -> str | None:
    """The digest of the package, or the reference of the image."""
    if function["Configuration"].get("PackageType") == "Image":
        return (function.get("Code") or {}).get("ImageUri")
    return package_digest(function["Configuration"].get("CodeSha256") or "")


def code_sha256(artifact: str) -> str:
    """Lambda writes the digest of a package in base64."""
    return base64.b64encode(bytes.fromhex(artifact.removeprefix("sha256:"))).decode()


def package_digest(code_sha256: str) -> str | None:
    try:
        return f"sha256:{base64.b64decode(code_sha256, validate=True).hex()}" if code_sha256 else None
    except binascii.Error:
        return None


def version_of(alias: Mapping[str, Any]) -> str:
    """The version that an alias leads to, with shares in percent where it leads to several: ``3=90,4=10``."""
    weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    version = str(alias["FunctionVersion"])
    if not weights:
        return version
    shares = {other: round(100 * weight) for other, weight in sorted(weights.items())}
    first = f"{version}={100 - sum(shares.values())}"
    return ",".join([first, *(f"{other}={share}" for other, share in shares.items())])


def routing(version: str) -> dict[str, Any]:
    """The arguments of ``update_alias`` for what :func:`version_of` gives."""
    first, *others = version.split(",")
    parts = [part.partition("=") for part in others]
    weights = {other: int(share) / 100 for other, _, share in parts}
    return {
        "FunctionVersion": first.partition("=")[0],
        "RoutingConfig": {"AdditionalVersionWeights": weights},
    }


def shares(version: str, percent: int, before: str) -> str:
    """``version`` with ``percent`` of the traffic, the rest for what served ``before`` (its larger part)."""
    base = main_version(before)
    if percent >= 100 or not base or base == version:
        return version
    return f"{base}={100 - percent},{version}={percent}"


def versions_in(version: str) -> list[str]:
    """The versions that share the traffic in what :func:`version_of` gives."""
    return [part.partition("=")[0] for part in version.split(",")]


def at_work(configuration: Mapping[str, Any]) -> str:
    """What Lambda is doing with a function, "" if nothing."""
    if configuration.get("State") == "Pending":
        return f"it is being created ({configuration.get('StateReason') or 'Pending'})"
    if configuration.get("LastUpdateStatus") == "InProgress":
        return f"it is being updated ({configuration.get('LastUpdateStatusReason') or 'InProgress'})"
    return ""


def failure(configuration: Mapping[str, Any]) -> str:
    """Why the last thing that Lambda did with a function failed, "" if it did not."""
    if configuration.get("State") == "Failed":
        return _reason(configuration, "State")
    if configuration.get("LastUpdateStatus") == "Failed":
        return _reason(configuration, "LastUpdateStatus")
    return ""


def texts(option: Option) -> list[str]:
    """An option that is a list. :raises InputError: it is something else"""
    if isinstance(option, str | int | float) or option is None:
        raise InputError(f"{option!r} should be a list")
    return [str(each) for each in option]


def _reason(configuration: Mapping[str, Any], field: str) -> str:
    code, reason = configuration.get(f"{field}ReasonCode"), configuration.get(f"{field}Reason")
    return ": ".join(str(part) for part in (code, reason) if part) or f"{field} Failed"


def _comparable(field: str, value: Any) -> Any:
    compare: dict[str, Callable[[Any], Any]] = {
        "Environment": lambda found: dict((found or {}).get("Variables") or {}),
        "Layers": lambda found: sorted(_arn(each) for each in found or ()),
        "VpcConfig": lambda found: {
            key: sorted((found or {}).get(key) or ()) for key in ("SubnetIds", "SecurityGroupIds")
        },
    }
    return compare[field](value) if field in compare else value


def _arn(layer: Any) -> str:
    return str(layer["Arn"] if isinstance(layer, Mapping) else layer)
