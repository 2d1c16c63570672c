"""Refuses requests that the real API would refuse: botocore's service models are the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

import botocore.loaders
import botocore.model
import botocore.validate

# Signing name -> service model. Requests of other services go to the emulator unchecked.
SERVICES = {
    "codebuild": "codebuild", "codepipeline": "codepipeline",
    "dynamodb": "dynamodb", "ec2": "ec2", "ecr": "ecr", "ecs": "ecs", "eks": "eks", "events": "events",
    "iam": "iam", "kinesis": "kinesis", "kms": "kms", "lambda": "lambda", "logs": "logs", "monitoring": "cloudwatch", "rds": "rds",
    "scheduler": "scheduler", "secretsmanager": "secretsmanager", "sqs": "sqs", "sts": "sts",
}  # fmt: skip

# Of these, lengths, ranges and patterns are checked too.
STRICT = ("codepipeline", "scheduler")


@dataclass(frozen=True)
class Refusal:
    """An error answer in the service's own protocol."""

    status: int
    code: str
    message: str
    protocol: str

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        if self.protocol == "smithy-rpc-v2-cbor":
            headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
            return self.status, headers, _cbor({"__type": self.code, "message": self.message})
        if self.protocol in ("json", "rest-json"):
            body = json.dumps({"__type": self.code, "message": self.message})
            return (
                self.status,
                {"Content-Type": "application/json", "x-amzn-ErrorType": self.code},
                body.encode(),
            )
        code, message = _escape(self.code), _escape(self.message)
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        if self.protocol == "ec2":
            body = f"<Response><Errors>{error}</Errors><RequestID>sandbox</RequestID></Response>"
        elif self.protocol == "rest-xml":
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        else:
            body = f"<ErrorResponse>{error}<RequestId>sandbox</RequestId></ErrorResponse>"
        return self.status, {"Content-Type": "text/xml"}, body.encode()


@dataclass(frozen=True)
class Request:
    """What the checks read of a request. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@cache
def model(service: str) -> botocore.model.ServiceModel:
    description = botocore.loaders.Loader().load_service_model(service, "service-2")
    return botocore.model.ServiceModel(description, service)


def protocol(signing_name: str, request: Request) -> str:
    """The protocol that a client speaks with a service; that of S3 with a service that is not checked.

    A service may speak several: a client of another version may take another one.
    """
    if signing_name not in SERVICES:
        return "rest-xml"
    return "json" if "x-amz-target" in request.headers else str(model(SERVICES[signing_name]).protocol)


def check(signing_name: str, request: Request) -> Refusal | None:
    """What the model of the service has against ``request``; None if nothing."""
    if signing_name not in SERVICES:
        return None
    service = model(SERVICES[signing_name])
    kind = protocol(signing_name, request)
    if kind in ("query", "ec2"):
        return _check_query(service, kind, request)
    problem = _check_json(service, kind, request)
    return Refusal(400, "ValidationException", problem, kind) if problem else None


def _check_json(service: Any, kind: str, request: Request) -> str:
    if kind == "rest-json":
        found = _rest_operation(service, request)
        if found is None:
            return ""
        operation, located = found
        body_shape = operation.input_shape.serialization.get("payload") if operation.input_shape else None
    elif kind == "json":
        name = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if name not in service.operation_names:
            return f"{service.service_name} has no operation {name!r}"
        operation, located, body_shape = service.operation_model(name), {}, None
    else:
        return ""
    if operation.input_shape is None or body_shape:
        return ""
    try:
        body = json.loads(request.body or b"{}")
    except ValueError:
        return "the body is not JSON"
    report = botocore.validate.ParamValidator().validate({**body, **located}, operation.input_shape)
    if report.has_errors():
        return f"{operation.name}: {report.generate_report()}"
    wrong = list(_wrong_choices({**body, **located}, operation.input_shape, operation.name))
    if service.signing_name in STRICT:
        wrong += _outside({**body, **located}, operation.input_shape, operation.name)
    return "; ".join(wrong)


def _rest_operation(service: Any, request: Request) -> tuple[Any, dict[str, Any]] | None:
    """The operation of a REST request, and the parameters that are not in its body."""
    for name in service.operation_names:
        operation = service.operation_model(name)
        if operation.http["method"] != request.method:
            continue
        matched = _uri_pattern(operation.http["requestUri"]).fullmatch(request.path)
        if matched and operation.input_shape is not None:
            return operation, dict(
                _located(operation.input_shape, list(matched.groups()), request, operation)
            )
    return None


@cache
def _uri_pattern(uri: str) -> re.Pattern[str]:
    path = re.sub(r"\\\{[^}]*\\\+\\\}", "(.+)", re.escape(uri.partition("?")[0]))
    return re.compile(re.sub(r"\\\{[^}]*\\\}", "([^/]+)", path) + "/?")


def _located(shape: Any, groups: list[str], request: Request, operation: Any) -> Any:
    names = re.findall(r"\{([^}+]*)\+?\}", operation.http["requestUri"].partition("?")[0])
    in_path = {name: unquote(value) for name, value in zip(names, groups, strict=True)}
    in_query = parse_qs(request.query, keep_blank_values=True)
    for name, member in shape.members.items():
        wire = member.serialization.get("name", name)
        location = member.serialization.get("location")
        if location == "uri" and wire in in_path:
            yield name, in_path[wire]
        elif location == "header" and wire.lower() in request.headers:
            yield name, _typed(member, request.headers[wire.lower()])
        elif location == "querystring" and wire in in_query:
            values = in_query[wire]
            yield (
                name,
                [_typed(member.member, each) for each in values]
                if member.type_name == "list"
                else (_typed(member, values[0])),
            )


def _typed(shape: Any, text: str) -> Any:
    if shape.type_name in ("integer", "long"):
        return int(text) if text.lstrip("-").isdigit() else text
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    return text


def _wrong_choices(value: Any, shape: Any, where: str) -> Any:
    """Strings outside of their enumeration, which botocore leaves to the service to refuse."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, each in value.items():
            if name in shape.members:
                yield from _wrong_choices(each, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list" and isinstance(value, list):
        for each in value:
            yield from _wrong_choices(each, shape.member, where)
    elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{where}: {value!r} is not one of {', '.join(shape.enum)}"


def _outside(value: Any, shape: Any, where: str) -> Any:
    """What is too long, too large, or not of the pattern."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, each in value.items():
            if name in shape.members:
                yield from _outside(each, shape.members[name], f"{where}.{name}")
    elif shape.type_name in ("string", "integer"):
        size = len(value) if isinstance(value, str) else value
        least, most = shape.metadata.get("min", size), shape.metadata.get("max", size)
        if not least <= size <= most:
            yield f"{where}: {value!r} is not between {least} and {most}"
        pattern = shape.metadata.get("pattern")
        if pattern and isinstance(value, str) and not re.fullmatch(pattern, value):
            yield f"{where}: {value!r} must satisfy regular expression pattern: {pattern}"


def _check_query(service: Any, kind: str, request: Request) -> Refusal | None:
    form = parse_qs(request.query, keep_blank_values=True)
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form |= parse_qs(request.body.decode(errors="replace"), keep_blank_values=True)
    action = (form.get("Action") or [""])[0]
    if action not in service.operation_names:
        return Refusal(400, "InvalidAction", f"{service.service_name} has no action {action!r}", kind)
    shape = service.operation_model(action).input_shape
    members = (
        {_wire_name(kind, name, member): name for name, member in shape.members.items()} if shape else {}
    )
    given = {key.split(".")[0] for key in form if not key.lower().startswith("x-amz-")} - {
        "Action",
        "Version",
    }
    if unknown := sorted(given - members.keys()):
        code = "UnknownParameter" if kind == "ec2" else "ValidationError"
        return Refusal(400, code, f"{action} has no parameter {', '.join(unknown)}", kind)
    required = {wire for wire, name in members.items() if shape and name in shape.required_members}
    if missing := sorted(required - given):
        code = "MissingParameter" if kind == "ec2" else "ValidationError"
        return Refusal(400, code, f"{action} needs the parameter {', '.join(missing)}", kind)
    return None


def _wire_name(kind: str, name: str, shape: Any) -> str:
    listed = shape.type_name == "list" and shape.serialization.get("flattened")
    own = shape.serialization.get("name", name)
    if kind == "ec2":
        return str(shape.serialization.get("queryName") or own[:1].upper() + own[1:])
    if listed and shape.member.serialization.get("name"):
        return str(shape.member.serialization["name"])
    return str(own)


def _cbor(texts: Mapping[str, str]) -> bytes:
    """A map of texts."""
    items = [item.encode() for pair in texts.items() for item in pair]
    return bytes([0xA0 + len(texts)]) + b"".join(b"\x7a" + len(item).to_bytes(4) + item for item in items)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
