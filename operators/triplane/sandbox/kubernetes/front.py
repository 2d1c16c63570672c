"""Stands before a cluster that somebody gave us: takes the clouds' credentials, speaks with the cluster's own.

Usage: ``python -m … FOLDER PORT WEBHOOK_URL``. FOLDER holds the front's certificates (``ca``, ``apiserver``)
and ``given.kubeconfig``, whose user may impersonate others. Upgraded connections (exec) are not passed on.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import yaml

from triplane.sandbox.kubernetes.api import load_certificate

OPEN_PATHS = ("/readyz", "/livez", "/healthz", "/version")
OURS = {"authorization", "host", "connection", "transfer-encoding", "content-length"}


class Upstream:
    """The given cluster, spoken to as the user of its kubeconfig."""

    def __init__(self, kubeconfig: Mapping[str, Any]) -> None:
        cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
        self._host = urllib.parse.urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in user:
            load_certificate(self._tls, user)
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
        """One request, on a connection of its own."""
        connection = http.client.HTTPSConnection(self._host, context=self._tls, timeout=3600)
        connection.request(method, path, body or None, headers | self._headers)
        return connection.getresponse()


class Front(BaseHTTPRequestHandler):
    """Finds out who asks, and asks the cluster in their name."""

    protocol_version = "HTTP/1.1"
    upstream: ClassVar[Upstream]
    webhook: ClassVar[str]

    def do_GET(self) -> None:
        """Any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OURS}
        headers = {
            name: value for name, value in headers.items() if not name.lower().startswith("impersonate")
        }
        if self.path.split("?")[0] not in OPEN_PATHS:
            user = self._user()
            if user is None:
                return self._refuse()
            headers["Impersonate-User"] = user["username"]
            if user["groups"]:
                headers["Impersonate-Group"] = user["groups"][0]
        try:
            self._relay(self.upstream.send(self.command, self.path, headers, body))
        except OSError:
            self.close_connection = True

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: requests are the cluster's to log."""

    def _user(self) -> dict[str, Any] | None:
        assert isinstance(self.connection, ssl.SSLSocket)
        if certificate := self.connection.getpeercert():
            subject: Any = certificate["subject"]
            names = dict(item for part in subject for item in part)
            groups = [names["organizationName"]] if "organizationName" in names else []
            return {"username": names["commonName"], "groups": groups}
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not token:
            return None
        review = {"apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
        request = urllib.request.Request(self.webhook, json.dumps(review).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as response:
                user: dict[str, Any] | None = json.load(response)["status"].get("user")
        except OSError:
            return None
        return user

    def _refuse(self) -> None:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "Unauthorized",
            "code": 401,
        }
        data = json.dumps(status).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _relay(self, response: http.client.HTTPResponse) -> None:
        """Pass the answer on as it comes, so that watches work."""
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in OURS:
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while data := response.read1(65536):
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def main(folder: Path, port: int, webhook: str) -> None:
    """Serve until the process ends."""
    Front.upstream = Upstream(yaml.safe_load((folder / "given.kubeconfig").read_text()))
    Front.webhook = webhook
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
    tls.load_verify_locations(folder / "ca.crt")
    tls.verify_mode = ssl.CERT_OPTIONAL
    server = ThreadingHTTPServer(("127.0.0.1", port), Front)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
