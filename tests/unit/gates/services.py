"""HTTP servers whose answers a test writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any] | None


class Service:
    """Answers in turn, the last one again and again; None hangs up. ``asked`` is (path, parameters, headers) of each."""

    def __init__(self, *answers: Answer) -> None:
        self.answers: list[Answer] = list(answers) or [(200, "ok")]
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                url = urlsplit(self.path)
                found = parse_qs(url.query) | parse_qs(self.rfile.read(length).decode())
                one = {name: values[0] for name, values in found.items()}
                answer = service.answers[min(len(service.asked), len(service.answers) - 1)]
                service.asked.append((url.path, one, dict(self.headers)))
                if answer is None:
                    self.connection.close()
                    return
                status, body = answer
                data = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving(*answers: Answer) -> Iterator[Service]:
    """A service, as long as it is used."""
    made = Service(*answers)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def vector(*values: Any) -> tuple[int, Any]:
    """What Prometheus answers to an instant query: a series for each value."""
    result = [{"metric": {"n": str(number)}, "value": [0, str(value)]} for number, value in enumerate(values)]
    return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}
