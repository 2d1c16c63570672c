"""A small client of the Kubernetes API: the standard library is enough, and starts fifty times faster."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
Object = dict[str, Any]


class ApiError(Exception):
    """The API server answered with an error; ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """Talks to one API server with the first context's certificate or token of a kubeconfig."""

    def __init__(self, kubeconfig: Mapping[str, Any]) -> None:
        cluster = kubeconfig["clusters"][0]["cluster"]
        user = kubeconfig["users"][0]["user"]
        self.server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        self._headers = {"Accept": JSON}
        if "token" in user:
            self._headers["Authorization"] = f"Bearer {user['token']}"
        if "client-certificate-data" in user:
            load_certificate(self._tls, user)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )

    @classmethod
    def of(cls, path: Path) -> Api:
        """The client for a kubeconfig file."""
        return cls(yaml.safe_load(path.read_text()))

    def get(self, path: str) -> Any:
        """GET, parsed JSON."""
        return self._send("GET", path)

    def create(self, path: str, body: Object) -> Any:
        """POST; an object that exists already is left as it is."""
        try:
            return self._send("POST", path, body)
        except ApiError as error:
            if error.code != 409:
                raise
            return None

    def patch(self, path: str, body: Object) -> Any:
        """JSON merge patch; None if the object is gone."""
        return self._unless_gone("PATCH", path, body, MERGE_PATCH)

    def delete(self, path: str, options: Object) -> Any:
        """DELETE with ``DeleteOptions``; None if the object is gone."""
        return self._unless_gone("DELETE", path, options, JSON)

    def watch(self, path: str) -> Iterator[Object]:
        """Watch events, from the present objects on, until the server ends the stream."""
        with self._open("GET", f"{path}{'&' if '?' in path else '?'}watch=true", timeout=3600) as response:
            for line in response:
                yield json.loads(line)

    def _unless_gone(self, method: str, path: str, body: Object, content_type: str) -> Any:
        try:
            return self._send(method, path, body, content_type)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return None

    def _send(self, method: str, path: str, body: Object | None = None, content_type: str = JSON) -> Any:
        with self._open(method, path, body, content_type) as response:
            data = response.read()
        return json.loads(data) if data[:1] in (b"{", b"[") else data.decode()

    def _open(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content_type: str = JSON,
        timeout: float = 30,
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Content-Type": content_type} if data else {})
        request = urllib.request.Request(self.server + path, data, headers, method=method)
        try:
            return self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")) from error


def load_certificate(tls: ssl.SSLContext, user: Mapping[str, str]) -> None:
    """``load_cert_chain`` takes only files."""
    with tempfile.NamedTemporaryFile(prefix="triplane-") as file:
        file.write(base64.b64decode(user["client-certificate-data"]))
        file.write(base64.b64decode(user["client-key-data"]))
        file.flush()
        tls.load_cert_chain(file.name)
