"""The CONNECT proxy: routing as a table, and real tunnels."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from triplane.sandbox.ca import Authority
from triplane.sandbox.gateway import Refused, match, parse_connect
from triplane.sandbox.runtime import listens
from triplane.sandbox.service import Route
from triplane.sandbox.state import State

ROUTES = [
    Route(host="*.dkr.ecr.*.amazonaws.com", port=1),
    Route(host="*.amazonaws.com", port=2),
    Route(host="run.googleapis.com", port=3, grpc_port=4),
]


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("000000000000.dkr.ecr.eu-west-1.amazonaws.com", 1),
        ("s3.eu-west-1.amazonaws.com", 2),
        ("bucket.s3.eu-west-1.amazonaws.com", 2),
        ("run.googleapis.com", 3),
        ("amazonaws.com", None),
        ("amazonaws.com.example.org", None),
        ("xrun.googleapis.com", None),
    ],
)
def test_first_matching_route_wins(host: str, port: int | None) -> None:
    route = match(ROUTES, host)
    assert (route.port if route else None) == port


@pytest.mark.parametrize(
    "line",
    [b"GET http://a.example/ HTTP/1.1", b"CONNECT a.example:80 HTTP/1.1", b"CONNECT a.example HTTP/1.1",
     b"CONNECT ../x:443 HTTP/1.1", b"", b"CONNECT"],
)  # fmt: skip
def test_anything_but_a_tunnel_to_port_443_is_refused(line: bytes) -> None:
    with pytest.raises(Refused):
        parse_connect(line)


def test_host_names_are_compared_in_lower_case() -> None:
    assert parse_connect(b"CONNECT S3.Amazonaws.com:443 HTTP/1.1") == "s3.amazonaws.com"


class Backend(http.server.BaseHTTPRequestHandler):
    """Tells which host it was asked for."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = f"{self.headers['Host']} {len(body)}".encode() + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        pass


@dataclass
class Running:
    port: int
    ca: Path
    log: Path
    grpc_port: int


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("gateway")
    state = State(home)
    state.create([])
    backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    grpc = socket.create_server(("127.0.0.1", 0))
    grpc_port = grpc.getsockname()[1]
    route = {"host": "*.example.com", "port": backend.server_port, "grpc_port": grpc_port}
    config: dict[str, Any] = {"port": state.port("gateway"), "ca": str(home / "ca"), "routes": [route]}
    authority = Authority.create(home / "ca")
    (home / "routes.json").write_text(json.dumps(config))
    log = home / "log"
    with log.open("wb") as output, grpc:
        threading.Thread(target=_greet, args=(grpc,), daemon=True).start()
        argv = [sys.executable, "-m", "triplane.sandbox.gateway", str(home / "routes.json")]
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 20
            while not listens(config["port"]) and time.monotonic() < deadline:
                time.sleep(0.05)
            yield Running(state.port("gateway"), authority.certificate_file, log, grpc_port)
        finally:
            process.kill()
            process.wait()
            backend.shutdown()
            backend.server_close()


def _greet(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"h2 backend")


def _post(gateway: Running, url: str, body: bytes) -> bytes:
    context = ssl.create_default_context(cafile=str(gateway.ca))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": f"http://127.0.0.1:{gateway.port}"}),
        urllib.request.HTTPSHandler(context=context),
    )
    with opener.open(urllib.request.Request(url, body), timeout=20) as response:
        return bytes(response.read())


def test_tunnel_ends_tls_and_keeps_the_host(gateway: Running) -> None:
    assert _post(gateway, "https://api.example.com/x", b"hello") == b"api.example.com 5hello"


def test_large_bodies_pass_both_ways(gateway: Running) -> None:
    body = bytes(range(256)) * 40_000
    assert _post(gateway, "https://api.example.com/x", body).endswith(body)


def test_unknown_host_is_refused_with_a_reason(gateway: Running) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(b"CONNECT www.example.org:443 HTTP/1.1\r\nHost: www.example.org:443\r\n\r\n")
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 502")
    assert b"no part of the sandbox serves www.example.org" in answer
    assert "no part of the sandbox serves www.example.org" in gateway.log.read_text()


def test_refusal_reaches_ordinary_clients(gateway: Running) -> None:
    with pytest.raises(urllib.error.URLError, match="502"):
        _post(gateway, "https://www.example.org/", b"")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2"], "h2"), (["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), ([], None)],
)
def test_http2_only_for_clients_that_speak_nothing_else(
    gateway: Running, offered: list[str], chosen: str | None
) -> None:
    context = ssl.create_default_context(cafile=str(gateway.ca))
    if offered:
        context.set_alpn_protocols(offered)
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(b"CONNECT grpc.example.com:443 HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        with context.wrap_socket(client, server_hostname="grpc.example.com") as tls:
            assert tls.selected_alpn_protocol() == chosen
            if chosen == "h2":
                assert tls.recv(100) == b"h2 backend"
