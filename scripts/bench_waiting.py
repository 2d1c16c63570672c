"""How well one event loop of a triggerer keeps to the polling of many tasks that wait."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

MANY = 100
EVERY, LASTING = 3.0, 21.0
"""Seconds: between two looks, and for which they are counted."""
ANSWER_SECONDS = 0.2
"""So long a service takes to answer."""

Answers = Callable[[str, str], tuple[str, Any]]
"""Path and body of a request -> who looks with it (empty where it is no look), and the answer, as JSON."""


def polling(answers: Answers, watch: Callable[[str], Coroutine[Any, Any, None]]) -> float:
    """The longest time between two looks of any of :data:`MANY`, over the time that was asked for.

    ``watch`` is told where the service is. That is a process of its own, which writes down when each one came.
    """
    ours, theirs = multiprocessing.Pipe()
    service = multiprocessing.Process(target=_serve, args=(theirs, answers), daemon=True)
    service.start()
    try:
        port = ours.recv()
        asyncio.run(watch(f"http://127.0.0.1:{port}"))
        ours.send("end")
        asked: dict[str, list[float]] = ours.recv()
    finally:
        service.terminate()
        service.join()
    assert len(asked) == MANY
    longest = max(later - earlier for times in asked.values() for earlier, later in pairwise(times))
    return longest / EVERY


def _serve(pipe: Connection, answers: Answers) -> None:
    asked: dict[str, list[float]] = defaultdict(list)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            came = time.monotonic()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            who, answer = answers(self.path, body)
            if who:
                asked[who].append(came)
            time.sleep(ANSWER_SECONDS)
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST

        def log_message(self, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        request_queue_size = MANY

    with Server(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_port)
        server.timeout = 0.1
        while not pipe.poll():
            server.handle_request()
        pipe.send(dict(asked))
