"""The WSGI application: who calls, is the request well formed, and only then the emulator."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote

from triplane.sandbox.aws_server import accounts, contract, signature
from triplane.sandbox.aws_server.faults import Fault
from triplane.sandbox.faults import Faults

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
# Answered without a signature, as in the real STS.
UNSIGNED_ACTIONS = ("AssumeRoleWithWebIdentity", "AssumeRoleWithSAML")
LARGE = 8 << 20


class Application:
    """Checks, then passes on."""

    def __init__(self, emulator: Any, keys: accounts.AccessKeys, tokens: accounts.Tokens) -> None:
        self._emulator = emulator
        self._keys = keys
        self._tokens = tokens
        self._faults = Faults[Fault]()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/_sandbox/") and environ["HTTP_HOST"].startswith("127.0.0.1"):
            return _answer(start_response, *self._internal(environ))
        request = _request(environ)
        refusal = self._check(environ, request)
        if refusal is not None:
            return _answer(start_response, *refusal.response())
        action = request.headers.get("x-amz-target", request.path)
        fault = self._faults.take(lambda each: each.concerns(action))
        if fault is None:
            result: Iterable[bytes] = self._emulator(environ, start_response)
            return result
        if fault.done:
            list(self._emulator(environ, lambda *_, **__: None))
        failure = contract.Refusal(fault.status, fault.code, fault.message, "json")
        return _answer(start_response, *failure.response())

    def _check(self, environ: Environ, request: contract.Request) -> contract.Refusal | None:
        try:
            signed = signature.parse(request.query, request.headers)
            if signed is None:
                return self._check_unsigned(request)
            self._verify(environ, request, signed)
            if signed.service != "s3" and "authorization" not in request.headers:
                # The emulator tells services apart by this header only, not by a presigned query.
                environ["HTTP_AUTHORIZATION"] = signed.header
        except signature.Denied as denied:
            service = signed.service if signed else ""
            return contract.Refusal(403, denied.code, str(denied), contract.protocol(service, request))
        return contract.check(signed.service, request)

    def _check_unsigned(self, request: contract.Request) -> contract.Refusal | None:
        if any(f"Action={action}".encode() in request.body for action in UNSIGNED_ACTIONS):
            return contract.check("sts", request)
        return contract.Refusal(403, "MissingAuthenticationToken", "the request is not signed", "rest-xml")

    def _verify(self, environ: Environ, request: contract.Request, signed: signature.Signed) -> None:
        secret = self._keys.secret(signed.key_id)
        if secret is None:
            code = "InvalidAccessKeyId" if signed.service == "s3" else "UnrecognizedClientException"
            raise signature.Denied(code, "The security token included in the request is invalid.")
        path, _, query = environ["RAW_URI"].partition("?")
        # S3 signs the path as it is sent, all others sign it encoded once more.
        canonical = path if signed.service == "s3" else quote(path, safe="/-_.~")
        signature.verify(
            signed, method=request.method, path=canonical, query=query, headers=request.headers, secret=secret,
            body_digest=lambda: _body_digest(signed, query, request.body),
        )  # fmt: skip

    def _internal(self, environ: Environ) -> tuple[int, dict[str, str], bytes]:
        path = environ["PATH_INFO"].removeprefix("/_sandbox/")
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        if path == "tokeninfo":
            return _reply(self._tokens.valid(query.get("access_token", "")), HTTPStatus.UNAUTHORIZED)
        if path == "faults":
            return self._order(environ, query)
        if path == "eks":
            return _json(HTTPStatus.OK, {"clusters": accounts.eks_clusters()})
        kind, _, repository = path.partition("/")
        if kind != "ecr":
            return _reply(path == "ready", HTTPStatus.NOT_FOUND)
        exists = accounts.repository_exists(query["region"], repository)
        if exists and environ["REQUEST_METHOD"] == "POST":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            accounts.record_image(query["region"], repository, query["tag"], body, environ["CONTENT_TYPE"])
        return _reply(exists, HTTPStatus.NOT_FOUND)

    def _order(self, environ: Environ, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """A fault to come, or none any more."""
        if environ["REQUEST_METHOD"] == "DELETE":
            self._faults.clear(query.get("owner", ""))
        else:
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            self._faults.add(Fault(**json.loads(body)))
        return _json(HTTPStatus.OK, {})


def _request(environ: Environ) -> contract.Request:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = b""
    # Object uploads announce their digest, or none: they are not read here.
    if length and (length <= LARGE or "x-amz-content-sha256" not in headers):
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
    path, _, query = environ["RAW_URI"].partition("?")
    return contract.Request(environ["REQUEST_METHOD"], path, query, headers, body)


def _body_digest(signed: signature.Signed, query: str, body: bytes) -> str:
    if signed.service == "s3" and "X-Amz-Signature" in query:
        return "UNSIGNED-PAYLOAD"
    return hashlib.sha256(body).hexdigest()


def _reply(ok: bool, otherwise: HTTPStatus) -> tuple[int, dict[str, str], bytes]:
    return _json(HTTPStatus.OK if ok else otherwise, {"ok": ok})


def _json(status: HTTPStatus, value: Any) -> tuple[int, dict[str, str], bytes]:
    return int(status), {"Content-Type": "application/json"}, json.dumps(value).encode()


def _answer(
    start_response: StartResponse, status: int, headers: dict[str, str], body: bytes
) -> Iterable[bytes]:
    reason = HTTPStatus(status).phrase
    start_response(f"{int(status)} {reason}", [*headers.items(), ("Content-Length", str(len(body)))])
    return [body]
