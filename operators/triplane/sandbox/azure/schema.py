"""Checks requests against the contract: path, method, api-version, body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from triplane.sandbox.azure.errors import ArmError

Shape = Literal["resource", "collection", "action"]
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}


@dataclass(frozen=True)
class Target:
    """What a request is about. ``id`` is the resource, or for a collection what contains it."""

    shape: Shape
    kind: str
    id: str
    name: str
    subscription: str
    group: str | None
    action: str = ""


@dataclass(frozen=True)
class _Operation:
    method: str
    pattern: re.Pattern[str]
    template: str
    versions: frozenset[str]


class Contract:
    """``document`` is what ``contract.build`` made."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._models: Mapping[str, Any] = document["models"]
        self._bodies: Mapping[str, Any] = document["bodies"]
        operations = [_operation(entry) for entry in document["operations"]]
        self._operations = sorted(operations, key=lambda each: each.template.count("{"))
        self._namespaces = {_parts(each.template)[0].lower() for each in self._operations}

    def match(self, method: str, path: str, version: str | None) -> Target:
        """What ``method`` on ``path`` addresses. Raises ArmError for anything the contract does not hold."""
        if not version:
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        path = path.rstrip("/")
        fitting = [operation for operation in self._operations if operation.pattern.fullmatch(path)]
        if not fitting:
            raise self._unknown(path, version)
        for operation in fitting:
            if operation.method == method and version in operation.versions:
                target = _target(operation, path)
                return replace(target, kind=self.type_name(target.kind))
        known = sorted({item for operation in fitting for item in operation.versions})
        if version not in known:
            raise ArmError(
                400,
                "NoRegisteredProviderFound",
                f"No registered resource provider found for API version '{version}' for type "
                f"'{_kind(*_parts(fitting[0].template))}'. The supported api-versions are '{', '.join(known)}'.",
            )
        raise ArmError(
            405, "MethodNotAllowed", f"The requested resource does not support http method '{method}'."
        )

    def type_name(self, kind: str) -> str:
        """``kind`` spelt as Azure does."""
        body = self._bodies.get(kind.lower())
        return str(body["type"]) if body else kind

    def clean_action(self, target: Target, body: Any) -> Any:
        """The body of an action, checked where the contract knows its model. Raises ArmError."""
        kind = f"{target.kind}/{target.action}"
        return self.clean("POST", kind, body) if kind.lower() in self._bodies else body

    def clean(self, method: str, kind: str, body: Any) -> dict[str, Any]:
        """``body`` without what only the service may write. Raises ArmError for what it does not accept."""
        entry = self._bodies.get(kind.lower())
        model = entry and entry[method]
        if not model:
            raise ArmError(501, "NotImplemented", f"The sandbox does not serve {method} of {kind}.")
        if not isinstance(body, dict):
            raise _invalid("The request content must be a JSON object.")
        return self._object(model, body, "", partial=method == "PATCH")

    def _object(self, model: str, body: Mapping[str, Any], path: str, *, partial: bool) -> dict[str, Any]:
        fields = self._models[model]
        result: dict[str, Any] = {}
        for key, value in body.items():
            if key not in fields:
                raise _invalid(
                    f"Could not find member '{key}' on object of type '{model.partition('.')[2]}'. "
                    f"Path '{path}{key}'."
                )
            if fields[key]["readonly"]:
                continue
            if value is None:
                # In a merge patch, null takes a member away.
                result |= {key: None} if partial and model.startswith("containerapps.") else {}
                continue
            result[key] = self._value(fields[key]["type"], value, f"{path}{key}", partial=partial)
        missing = [key for key, field in fields.items() if field["required"] and key not in result]
        if missing and not partial and not all(fields[key]["readonly"] for key in missing):
            raise _required(missing, path)
        return result

    def _value(self, shape: Any, value: Any, path: str, *, partial: bool) -> Any:
        if isinstance(shape, str):
            if shape in _SCALARS and not _is(shape, value):
                raise _invalid(f"Error converting value to type '{shape}'. Path '{path}'.")
            return value
        if "enum" in shape:
            if isinstance(value, str) and value.lower() in {item.lower() for item in shape["enum"]}:
                return value
            raise _invalid(f"Error converting value {value!r} to type '{shape['enum']}'. Path '{path}'.")
        if "model" in shape and isinstance(value, dict):
            return self._object(shape["model"], value, f"{path}.", partial=partial)
        if "map" in shape and isinstance(value, dict):
            return {
                key: self._value(shape["map"], item, f"{path}.{key}", partial=partial)
                for key, item in value.items()
                if item is not None
            }
        if "list" in shape and isinstance(value, list):
            items = enumerate(value)
            return [
                self._value(shape["list"], item, f"{path}[{index}]", partial=partial) for index, item in items
            ]
        raise _invalid(f"Cannot deserialize the current JSON value. Path '{path}'.")

    def _unknown(self, path: str, version: str) -> ArmError:
        provider = re.search(r"/providers/([^/]+)(?:/([^/]+))?", path)
        if provider is None:
            return ArmError(404, "NotFound", f"The path '{path}' is not known.")
        namespace, name = provider[1], provider[2] or ""
        if namespace.lower() not in self._namespaces:
            return ArmError(
                404, "InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid."
            )
        return ArmError(
            404,
            "InvalidResourceType",
            f"The resource type '{name}' could not be found in the namespace '{namespace}' for api version "
            f"'{version}', or the sandbox does not serve '{path}'.",
        )


def _operation(entry: Mapping[str, Any]) -> _Operation:
    pattern = "".join(
        f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{\w+\})", entry["template"])
    )
    return _Operation(
        entry["method"],
        re.compile(pattern, re.IGNORECASE),
        entry["template"],
        frozenset(entry["api_versions"]),
    )


def _parts(template: str) -> tuple[str, list[str]]:
    """The namespace of a template, and the segments that name the resource: type, name, type, name, ..."""
    _, provider, tail = template.partition("/providers/")
    if not provider:
        return "Microsoft.Resources", template.strip("/").split("/")[2:]
    namespace, *parts = tail.split("/")
    return namespace, parts


def _kind(namespace: str, parts: list[str]) -> str:
    """``Microsoft.Web/sites``; a fixed name counts as part of it, as in ``Microsoft.Web/sites/config/appsettings``."""
    fixed = [] if len(parts) % 2 or parts[-1].startswith("{") else parts[-1:]
    return "/".join([namespace, *parts[::2], *fixed])


def _target(operation: _Operation, path: str) -> Target:
    namespace, parts = _parts(operation.template)
    shape: Shape = "action" if operation.method == "POST" else "collection" if len(parts) % 2 else "resource"
    identity, _, last = (path, "", "") if shape == "resource" else path.rpartition("/")
    group = re.search(r"/resourcegroups/([^/]+)", path, re.IGNORECASE)
    return Target(
        shape=shape,
        kind=_kind(namespace, parts[:-1] if shape == "action" else parts),
        id=identity,
        name=identity.rpartition("/")[2],
        subscription=path.split("/")[2],
        group=group and group[1],
        action=last if shape == "action" else "",
    )


def _is(shape: str, value: Any) -> bool:
    return isinstance(value, _SCALARS[shape]) and (shape == "bool" or not isinstance(value, bool))


def _invalid(message: str) -> ArmError:
    return ArmError(
        400,
        "InvalidRequestContent",
        f"The request content was invalid and could not be deserialized: '{message}'",
    )


def _required(missing: list[str], path: str) -> ArmError:
    if "location" in missing and not path:
        return ArmError(400, "LocationRequired", "The location property is required for this definition.")
    names = ", ".join(f"'{path}{key}'" for key in missing)
    return _invalid(f"Required property {names} not found in JSON.")
