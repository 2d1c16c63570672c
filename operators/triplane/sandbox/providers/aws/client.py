"""AWS requests: Signature Version 4 and the query, JSON, REST-JSON and REST-XML protocols."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from triplane.sandbox.providers.http import Reply, Request, send
from triplane.sandbox.providers.schema import CloudError, NotFound, State

GLOBAL = {"iam": ("iam.amazonaws.com", "us-east-1")}
JSON_TARGETS = {"kinesis": ("Kinesis_20131202", "1.1"), "sqs": ("AmazonSQS", "1.0")}
MISSING = ("NotFound", "NoSuch", "NonExistent", "DoesNotExist")
VERSIONS = {"ec2": "2016-11-15", "iam": "2010-05-08", "rds": "2014-10-31"}


@dataclass(frozen=True)
class Aws:
    """One account in one region. Credentials come from AWS's usual environment variables."""

    region: str
    access_key: str
    secret_key: str
    token: str | None

    def query(self, service: str, action: str, **parameters: Any) -> ElementTree.Element:
        """Call a query-protocol API. A list is sent as ``name.1``, ``name.2``; the answer has no namespaces."""
        fields = {"Action": action, "Version": VERSIONS[service]} | flatten(parameters)
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        reply = self._send(service, "POST", "/", {}, urlencode(fields).encode(), headers)
        return _parse(reply.body)

    def json(self, service: str, method: str, path: str, body: Any = None) -> Any:
        """Call a REST-JSON API."""
        data = json.dumps(body).encode() if body is not None else b""
        return self._send(service, method, path, {}, data, {"content-type": "application/json"}).json()

    def act(self, service: str, action: str, **parameters: Any) -> Any:
        """Call an API of the JSON protocol, whose actions are in a header; None is left out."""
        target, version = JSON_TARGETS[service]
        headers = {"content-type": f"application/x-amz-json-{version}", "x-amz-target": f"{target}.{action}"}
        body = {name: value for name, value in parameters.items() if value is not None}
        return self._send(service, "POST", "/", {}, json.dumps(body).encode(), headers).json()

    def s3(self, method: str, path: str, query: Mapping[str, str] = {}, body: bytes = b"") -> Reply:
        """Call S3, path style."""
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"content-md5": base64.b64encode(md5).decode()} if body else {}
        return self._send("s3", method, path, query, body, headers)

    def _send(
        self,
        service: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str],
    ) -> Reply:
        host, region = GLOBAL.get(service, (f"{service}.{self.region}.amazonaws.com", self.region))
        target = quote(path, safe="/-_.~%") if service == "s3" else path
        arguments = "&".join(
            f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())
        )
        signed = self._sign(service, region, method, (host, target, arguments), body, headers)
        url = f"{target}?{arguments}" if arguments else target
        try:
            return send(Request(method=method, host=host, path=url, headers=signed, body=body), _explain)
        except CloudError as error:
            if any(word in str(error) for word in MISSING):
                raise NotFound(str(error)) from error
            raise

    def _sign(
        self,
        service: str,
        region: str,
        method: str,
        url: tuple[str, str, str],
        body: bytes,
        headers: Mapping[str, str],
    ) -> dict[str, str]:
        host, path, query = url
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        signed = {**headers, "host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        if self.token:
            signed["x-amz-security-token"] = self.token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
        # Every service but S3 signs the path with its percent signs escaped once more.
        signed_path = path if service == "s3" else quote(path, safe="/-_.~")
        canonical = "\n".join((method, signed_path, query, lines, names, digest))
        scope = f"{now[:8]}/{region}/{service}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashed}".encode(), "sha256").hex()
        credential = f"{self.access_key}/{scope}"
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        return signed


def connect(config: State) -> Aws:
    """From the provider's arguments and the environment. CloudError when credentials or region are missing."""
    region = config.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    access_key, secret_key = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not region:
        raise CloudError("no region: set AWS_REGION or the provider's region")
    if not access_key or not secret_key:
        raise CloudError("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return Aws(region, access_key, secret_key, os.environ.get("AWS_SESSION_TOKEN"))


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The query protocol's flat names; None is left out."""
    flat: dict[str, str] = {}
    for name, value in parameters.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{key}.")
        elif isinstance(value, (list, tuple)):
            flat |= flatten({str(n): item for n, item in enumerate(value, 1)}, f"{key}.")
        elif isinstance(value, bool):
            flat[key] = str(value).lower()
        elif value is not None:
            flat[key] = str(value)
    return flat


def text(element: ElementTree.Element | None, path: str, default: str = "") -> str:
    """The text at ``path``, or ``default``."""
    found = element.find(path) if element is not None else None
    return default if found is None or found.text is None else found.text


def tag_pairs(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted((tags or {}).items())]


def tags_of(
    element: ElementTree.Element | None, path: str, key: str = "Key", value: str = "Value"
) -> dict[str, str]:
    """Tags of a resource, without those that AWS itself sets."""
    found = {
        text(item, key): text(item, value) for item in (element.findall(path) if element is not None else [])
    }
    return {name: content for name, content in found.items() if not name.startswith("aws:")}


def tag_changes(before: State, after: State) -> tuple[dict[str, str], list[str]]:
    """Tags to set and keys to remove."""
    old, new = before.get("tags_all") or {}, after.get("tags_all") or {}
    return {k: v for k, v in new.items() if old.get(k) != v}, sorted(set(old) - set(new))


def _parse(body: bytes) -> ElementTree.Element:
    root = ElementTree.fromstring(body)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def xml(reply: Reply) -> ElementTree.Element:
    return _parse(reply.body)


def _explain(reply: Reply) -> str:
    try:
        if reply.body.lstrip()[:1] == b"{":
            error = reply.json()
            kind = reply.headers.get("x-amzn-errortype") or error.get("__type") or ""
            return f"{kind} {error.get('message') or error.get('Message') or ''}".strip()
        root = _parse(reply.body)
        return f"{text(root, './/Code')}: {text(root, './/Message')}"
    except ValueError:
        pass
    except ElementTree.ParseError:
        pass
    return reply.body[:300].decode(errors="replace")
