"""How well one event loop of a triggerer keeps to the polling of many gates."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs

from triplane.gates.triggers import GateTrigger

GATES = 100
EVERY, LASTING = 3.0, 21.0
"""Seconds."""
ANSWER_SECONDS = 0.2
"""So long a monitoring service takes to answer."""


def polling() -> float:
    """The longest time between two looks of any of the gates, over the time that was asked for.

    All of them ask a Prometheus of another process, which writes down when each gate came.
    """
    ours, theirs = multiprocessing.Pipe()
    service = multiprocessing.Process(target=_serve, args=(theirs,), daemon=True)
    service.start()
    try:
        port = ours.recv()
        verdicts = asyncio.run(_watch(f"http://127.0.0.1:{port}"))
        assert all(verdict["state"] == "pass" for verdict in verdicts), verdicts[0]
        ours.send("end")
        asked: dict[str, list[float]] = ours.recv()
    finally:
        service.terminate()
        service.join()
    assert len(asked) == GATES
    longest = max(later - earlier for times in asked.values() for earlier, later in pairwise(times))
    return longest / EVERY


async def _watch(url: str) -> list[Any]:
    async def one(number: int) -> Any:
        check = {
            "source": "prometheus",
            "query": {"query": f"gate_{number}", "url": url},
            "at_most": 1.0,
            "lasting": LASTING,
            "every": EVERY,
        }
        return (await anext(GateTrigger(checks=[check], begun=time.time()).run())).payload

    return await asyncio.gather(*(one(number) for number in range(GATES)))


def _serve(pipe: Connection) -> None:
    asked: dict[str, list[float]] = defaultdict(list)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked[parse_qs(body)["query"][0]].append(time.monotonic())
            time.sleep(ANSWER_SECONDS)
            data = {"resultType": "vector", "result": [{"metric": {}, "value": [0, "0"]}]}
            answer = json.dumps({"status": "success", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        request_queue_size = GATES

    with Server(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_port)
        server.timeout = 0.1
        while not pipe.poll():
            server.handle_request()
        pipe.send(dict(asked))
