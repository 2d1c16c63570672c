"""The part of a kubelet that ``kubectl logs`` reaches, through the API server."""

from __future__ import annotations

import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve(port: int, certificate: Path, key: Path, logs: Mapping[tuple[str, str], str]) -> None:
    """Answer ``/containerLogs/<namespace>/<pod>/<container>`` in a thread; ``logs`` is by namespace and pod."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            words = url.path.strip("/").split("/")
            text = logs.get((words[1], words[2])) if len(words) == 4 else None
            tail = urllib.parse.parse_qs(url.query).get("tailLines")
            lines = (text or "").splitlines(keepends=True)
            data = "".join(lines[-int(tail[0]) :] if tail else lines).encode()
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
