"""A small HTTP server on loopback for stand-ins that answer in Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Request(NamedTuple):
    """What came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    """What goes back; ``body`` is JSON unless it is a text."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Service:
    """A stand-in: a subclass says how it answers. ``url`` is set while it serves."""

    url = ""

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    @contextmanager
    def serving(self) -> Iterator[Any]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            answer = service.answer(
                Request(self.command, parts.path, query, self.headers, self.rfile.read(length))
            )
            plain = isinstance(answer.body, str)
            data = answer.body.encode() if plain else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {
                "Content-Type": "text/plain" if plain else "application/json",
                **answer.headers,
            }.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = handle_one

        def log_message(self, *args: Any) -> None:
            pass

    return Handler
