"""HTTPS through the sandbox's proxy, with retries, on nothing but the standard library (start-up time counts)."""

from __future__ import annotations

import functools
import http.client
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from triplane.sandbox.providers.schema import CloudError, NotFound

TIMEOUT_SECONDS = 60.0
RETRIED = (429, 500, 502, 503, 504)
PAUSES = (0.2, 0.5, 1.5, 3.0)


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}


def send(request: Request, explain: Callable[[Reply], str]) -> Reply:
    """Send and retry while the service is busy. NotFound for 404; CloudError with ``explain``'s words."""
    for pause in (*PAUSES, None):
        reply = _once(request)
        if reply.status not in RETRIED or pause is None:
            break
        time.sleep(pause)
    if reply.status == 404:
        raise NotFound(explain(reply))
    if reply.status >= 300:
        raise CloudError(
            f"{request.method} https://{request.host}{request.path}: {reply.status} {explain(reply)}"
        )
    return reply


def _once(request: Request) -> Reply:
    proxy = _proxy()
    connection = http.client.HTTPSConnection(*proxy, context=_context(), timeout=TIMEOUT_SECONDS)
    connection.set_tunnel(request.host, 443)
    try:
        connection.request(request.method, request.path, body=request.body, headers=dict(request.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(status=response.status, headers=headers, body=response.read())
    except http.client.HTTPException as error:
        raise CloudError(f"{request.host}: {type(error).__name__} {error}") from error
    except OSError as error:
        raise CloudError(f"{request.host} through {proxy[0]}:{proxy[1]}: {error}") from error
    finally:
        connection.close()


def _proxy() -> tuple[str, int]:
    """The proxy's host and port. These providers refuse to act anywhere but in a sandbox on this machine."""
    parts = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or "")
    if parts.hostname not in ("127.0.0.1", "localhost") or not parts.port:
        raise CloudError(
            "this provider acts on the Triplane sandbox only: HTTPS_PROXY must be the sandbox's proxy"
        )
    return parts.hostname, parts.port


@functools.cache
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def wait(ready: Callable[[], bool], what: str, seconds: float = 1200.0) -> None:
    """Poll until ``ready`` returns true. CloudError after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = 0.1
    while not ready():
        if time.monotonic() > deadline:
            raise CloudError(f"{what} is not ready after {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 5.0)
