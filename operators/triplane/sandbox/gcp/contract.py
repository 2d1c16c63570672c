"""The contract of each API, from the discovery documents that google-api-python-client ships.

A request that the real API would not accept is refused: unknown path, method, query parameter or field,
wrong type, unknown enum value. What is output only is dropped from the body, as the real APIs do.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import googleapiclient

from triplane.sandbox.gcp.errors import ApiError, bad_request

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
APIS = {
    "cloudbuild": ("cloudbuild.v1",),
    "clouddeploy": ("clouddeploy.v1",),
    "run": ("run.v2",),
    "cloudfunctions": ("cloudfunctions.v2",),
    "container": ("container.v1",),
    "artifactregistry": ("artifactregistry.v1",),
    "compute": ("compute.v1",),
    "sqladmin": ("sqladmin.v1", "sqladmin.v1beta4"),
    "iam": ("iam.v1",),
    "iamcredentials": ("iamcredentials.v1",),
    "logging": ("logging.v2",),
    "monitoring": ("monitoring.v3",),
    "oslogin": ("oslogin.v1",),
    "pubsub": ("pubsub.v1",),
    "cloudscheduler": ("cloudscheduler.v1",),
    "secretmanager": ("secretmanager.v1",),
    "storage": ("storage.v1",),
}
# What every Google API takes; client libraries send the first two with a ``$``.
COMMON = frozenset({"alt", "$alt", "$.xgafv", "$prettyPrint", "$fields", "$httpMethod"})
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}
EnumNumbers = dict[frozenset[str], dict[int, str]]
Violations = list[tuple[str, str]]


@dataclass(frozen=True)
class Method:
    """One method of an API: ``id`` such as ``run.projects.locations.services.get``."""

    id: str
    path: str
    segments: tuple[str, ...]
    parameters: dict[str, Any]
    request: str | None

    @property
    def resource(self) -> str:
        """The id without its verb."""
        return self.id.rpartition(".")[0]


class Document:
    """One discovery document. ``enum_numbers`` tells the names of enums that clients send as numbers."""

    def __init__(self, name: str, enum_numbers: EnumNumbers | None = None) -> None:
        self._document = json.loads((DOCUMENTS / f"{name}.json").read_text())
        self._numbers = enum_numbers or {}
        self._common = COMMON | set(self._document["parameters"])
        self._methods: dict[tuple[str, int], list[Method]] = defaultdict(list)
        self._collect(self._document)

    def match(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method of ``verb`` and ``path`` (no query) with its path parameters."""
        parts = tuple(unquote(part) for part in path.strip("/").split("/"))
        # ``services/x:getIamPolicy`` would fit the path of ``services.get`` too.
        for method in sorted(
            self._methods[verb, len(parts)], key=lambda method: ":" not in method.segments[-1]
        ):
            if (params := _bind(method, parts)) is not None:
                return method, params
        return None

    def check_query(self, method: Method, query: list[tuple[str, str]]) -> dict[str, Any]:
        """Query parameters by name, typed. Raises 400 for one that the method does not have."""
        found: dict[str, Any] = {}
        wrong: Violations = []
        for name, text in query:
            spec = method.parameters.get(name)
            if name in self._common:
                continue
            if spec is None or spec["location"] != "query":
                text = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
                wrong.append(("", text))
                continue
            value = _query_value(spec, text)
            if value is None:
                wrong.append((name, f"Invalid value at '{name}' ({spec['type']}), \"{text}\""))
            elif spec.get("repeated"):
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        if wrong:
            raise bad_request(wrong)
        return found

    def check_body(self, method: Method, body: Any) -> dict[str, Any]:
        """The body without output-only fields. Raises 400 for fields that the method does not know."""
        if method.request is None:
            if body:
                raise ApiError(400, "Request body is not allowed for this method.")
            return {}
        wrong: Violations = []
        checked = self._object(method.request, body if body is not None else {}, "", wrong)
        if wrong:
            raise bad_request(wrong)
        return checked

    def _collect(self, node: dict[str, Any]) -> None:
        for spec in node.get("methods", {}).values():
            path = self._document["servicePath"] + (spec.get("flatPath") or spec["path"])
            segments = tuple(path.strip("/").split("/"))
            request = spec.get("request", {}).get("$ref")
            full = self._document["servicePath"] + spec["path"]
            method = Method(spec["id"], full, segments, spec.get("parameters", {}), request)
            self._methods[spec["httpMethod"], len(segments)].append(method)
        for resource in node.get("resources", {}).values():
            self._collect(resource)

    def _object(self, schema: str, value: Any, at: str, wrong: Violations) -> dict[str, Any]:
        spec = self._document["schemas"][schema]
        if not isinstance(value, dict):
            wrong.append((at, f"Invalid value at '{at}' ({schema}), {json.dumps(value)}"))
            return {}
        properties, extra = spec.get("properties", {}), spec.get("additionalProperties")
        result = {}
        for name, item in value.items():
            here = f"{at}.{name}" if at else name
            field = properties.get(name, extra)
            if field is None and not (schema == "HttpBody" or name == "@type"):
                where = f" at '{at}'" if at else ""
                text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
                wrong.append((at, text))
            elif field is not None and not field.get("readOnly") and item is not None:
                result[name] = self._value(field, item, here, wrong)
        return result

    def _value(self, spec: dict[str, Any], value: Any, at: str, wrong: Violations) -> Any:
        if "$ref" in spec:
            return self._object(spec["$ref"], value, at, wrong)
        kind = spec.get("type", "any")
        if "enum" in spec and type(value) is int:
            value = self._numbers.get(frozenset(spec["enum"]), {}).get(value, value)
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not _has_type(kind, spec.get("format", ""), value) or value not in spec.get("enum", [value]):
            wrong.append((at, f"Invalid value at '{at}' ({kind}), {json.dumps(value)}"))
        elif kind == "array":
            return [self._value(spec["items"], item, f"{at}[{i}]", wrong) for i, item in enumerate(value)]
        elif kind == "object" and isinstance(spec.get("additionalProperties"), dict):
            inner = spec["additionalProperties"]
            return {name: self._value(inner, item, f"{at}.{name}", wrong) for name, item in value.items()}
        return str(value) if kind == "string" and isinstance(value, int) else value


class Contract:
    """All APIs of :data:`APIS`, read when first used."""

    def __init__(self, enum_numbers: EnumNumbers | None = None) -> None:
        self._numbers = enum_numbers or {}
        self.documents = cache(self._documents)

    def find(self, api: str, verb: str, path: str) -> tuple[Document, Method, dict[str, str]]:
        """Raises 404, worded as Google's front end, when no method of ``api`` has this path."""
        for document in self.documents(api):
            if found := document.match(verb, path):
                return document, *found
        raise ApiError(404, f"The requested URL {path} was not found on this server ({verb} {api}).")

    def _documents(self, api: str) -> tuple[Document, ...]:
        return tuple(Document(name, self._numbers) for name in APIS.get(api, ()))


def api_of(host: str) -> str:
    """``run`` for run.googleapis.com, europe-west1-run.googleapis.com and run.europe-west1.rep.googleapis.com."""
    name = host.split(":")[0].split(".")[0]
    return re.sub(r"^[a-z]+-[a-z]+\d+-", "", name)


def _bind(method: Method, parts: tuple[str, ...]) -> dict[str, str] | None:
    """Path parameters, None when the path is another's. ``{+name}`` spans several segments."""
    for wanted, part in zip(method.segments, parts, strict=True):
        if not (re.fullmatch(_segment(wanted), part)):
            return None
    pattern = re.sub(r"\\{\\\+(\w+)\\}", r"(?P<\1>.+)", re.escape(method.path))
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", pattern)
    found = re.fullmatch(pattern, "/".join(parts))
    if found is None:
        return None
    params = found.groupdict()
    for name, value in params.items():
        if not re.search(method.parameters[name].get("pattern", ""), value):
            return None
    return params


@cache
def _segment(template: str) -> str:
    return re.sub(r"\\{\w+\\}", r"[^/:]+" if ":" in template else r"[^/]+", re.escape(template))


def _query_value(spec: dict[str, Any], text: str) -> Any:
    kind = spec["type"]
    if kind == "boolean":
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower())
    if kind == "integer":
        return int(text) if re.fullmatch(r"-?\d+", text) else None
    if "enum" in spec and text not in spec["enum"] and not text.isdigit():
        return None
    return text


def _has_type(kind: str, format_: str, value: Any) -> bool:
    if kind == "any":
        return True
    if kind == "string" and format_ in {"int64", "uint64"}:
        return type(value) is int or (isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None)
    if kind == "string" and format_ == "byte":
        return isinstance(value, str) and _is_base64(value)
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, TYPES[kind])


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True
