"""Serves gRPC calls of the installed Google clients from the same core as REST.

Each client library carries, for every method, its message types (in its gRPC transport) and the HTTP form of
``google.api.http`` (in its REST transport): a call is transcoded to that form, and the answer back.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import quote

import grpc
from google.api_core import path_template
from google.longrunning import operations_pb2
from google.protobuf import json_format

from triplane.sandbox.gcp.contract import EnumNumbers
from triplane.sandbox.gcp.core import Core, Request
from triplane.sandbox.gcp.errors import ApiError

# Client -> host of its REST form. A library that is not installed is left out.
CLIENTS = {
    "google.cloud.run_v2:ServicesClient": "run.googleapis.com",
    "google.cloud.run_v2:RevisionsClient": "run.googleapis.com",
    "google.cloud.container_v1:ClusterManagerClient": "container.googleapis.com",
    "google.cloud.artifactregistry_v1:ArtifactRegistryClient": "artifactregistry.googleapis.com",
    "google.cloud.devtools.cloudbuild_v1:CloudBuildClient": "cloudbuild.googleapis.com",
}
GET_OPERATION = "/google.longrunning.Operations/GetOperation"
CODES = {
    "INVALID_ARGUMENT": grpc.StatusCode.INVALID_ARGUMENT,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "ALREADY_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "ABORTED": grpc.StatusCode.ABORTED,
    "FAILED_PRECONDITION": grpc.StatusCode.FAILED_PRECONDITION,
    "RESOURCE_EXHAUSTED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "UNIMPLEMENTED": grpc.StatusCode.UNIMPLEMENTED,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True)
class Rpc:
    """One gRPC method. ``options`` are its HTTP forms, the first that fits is used."""

    host: str
    decode: Callable[[bytes], Any]
    response: Any
    options: list[dict[str, str]]


class Recorder:
    """Stands for a channel and remembers which method a transport asked for last."""

    last = ""

    def unary_unary(self, path: str, **_: Any) -> Callable[..., None]:
        self.last = path
        return lambda *args, **kwargs: None

    unary_stream = unary_unary


class Front(grpc.GenericRpcHandler):
    """Answers every method of :data:`CLIENTS`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._methods = {path: rpc for client, host in CLIENTS.items() for path, rpc in learn(client, host)}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        authorization = dict(details.invocation_metadata).get("authorization")
        if details.method == GET_OPERATION:
            return _unary(lambda raw: self._operation(raw, authorization))
        rpc = self._methods.get(details.method)
        return None if rpc is None else _unary(lambda raw: self._call(rpc, raw, authorization))

    def _call(self, rpc: Rpc, raw: bytes, authorization: str | None) -> bytes:
        answer = self._core.handle(transcode(rpc, rpc.decode(raw), authorization))
        message: bytes = _parse(answer, rpc.response).SerializeToString()
        return message

    def _operation(self, raw: bytes, authorization: str | None) -> bytes:
        self._core.tokens.check(authorization)
        answer = self._core.operation(operations_pb2.GetOperationRequest.FromString(raw).name)
        message: bytes = _parse(answer, operations_pb2.Operation).SerializeToString()
        return message


def learn(client: str, host: str) -> Iterator[tuple[str, Rpc]]:
    """The methods of ``module:Client`` by gRPC path."""
    module_name, _, class_name = client.partition(":")
    try:
        registry = getattr(importlib.import_module(module_name), class_name)._transport_registry
    except ImportError:
        return
    recorder = Recorder()
    transport = registry["grpc"].__new__(registry["grpc"])
    transport._stubs, transport._grpc_channel, transport._logged_channel = {}, recorder, recorder
    forms = registry["rest"].__mro__[1]
    for name, attribute in vars(registry["grpc"]).items():
        if not isinstance(attribute, property) or name in {"operations_client", "grpc_channel"}:
            continue
        attribute.fget(transport)  # type: ignore[misc]
        types = get_args(attribute.fget.__annotations__.get("return"))
        if not types or recorder.last.startswith("/google.longrunning."):
            continue
        (request,), response = types
        form = getattr(forms, f"_Base{recorder.last.rpartition('/')[2]}", None)
        if form is not None and hasattr(form, "_get_http_options"):
            decode = _protobuf(request).FromString
            yield recorder.last, Rpc(host, decode, _protobuf(response), form._get_http_options())


def transcode(rpc: Rpc, message: Any, authorization: str | None) -> Request:
    """The HTTP form of a call. Raises ApiError 400 when no form fits."""
    try:
        form = path_template.transcode(rpc.options, message)
    except ValueError as error:
        raise ApiError(400, f"Request cannot be transcoded: {error}") from error
    body = json_format.MessageToDict(form["body"]) if form.get("body") is not None else None
    query = json_format.MessageToDict(form["query_params"]) if form.get("query_params") else {}
    pairs = [(key, _text(item)) for key, value in query.items() for item in _items(value)]
    uri = quote(form["uri"], safe="/:@")
    return Request(rpc.host, form["method"].upper(), uri, pairs, body, authorization)


def enum_numbers() -> EnumNumbers:
    """Names of all enums of the clients' messages, for requests that carry numbers."""
    numbers: EnumNumbers = {}
    waiting = [
        rpc.response.DESCRIPTOR.file for client, host in CLIENTS.items() for _, rpc in learn(client, host)
    ]
    seen: set[str] = set()
    while waiting:
        file = waiting.pop()
        if file.name in seen:
            continue
        seen.add(file.name)
        waiting += file.dependencies
        for enum in _enums(file):
            names = {value.number: value.name for value in enum.values}
            numbers[frozenset(names.values())] = names
    return numbers


def serve(core: Core, port: int) -> grpc.Server:
    """Start serving on loopback, without TLS (the gateway ends it). Keep the result alive."""
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Front(core),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def _unary(answer: Callable[[bytes], bytes]) -> grpc.RpcMethodHandler:
    def behave(raw: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return answer(raw)
        except ApiError as error:
            context.abort(CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message)
            raise

    return grpc.unary_unary_rpc_method_handler(behave, lambda raw: raw, lambda raw: raw)


def _protobuf(cls: Any) -> Any:
    """The protobuf class of a message type, which may be a proto-plus wrapper."""
    return cls.pb() if hasattr(cls, "pb") else cls


def _parse(answer: dict[str, Any], cls: Any) -> Any:
    return json_format.ParseDict(json.loads(json.dumps(answer)), cls(), ignore_unknown_fields=True)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _enums(scope: Any) -> Iterator[Any]:
    yield from getattr(scope, "enum_types_by_name", {}).values()
    nested = getattr(scope, "message_types_by_name", None) or getattr(scope, "nested_types_by_name", {})
    for message in nested.values():
        yield from message.enum_types
        yield from _enums(message)
