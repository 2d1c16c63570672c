"""Who is behind a bearer token? Answers ``TokenReview`` for the API servers, as each cloud's own would.

Usage: ``python -m … CONFIG.json``, where CONFIG is ``{"port": int, "aws": {"access_keys": {id: secret},
"clusters": url}, "gcp": {"tokeninfo": url}}``; the URLs are asked at each review. ``POST /<cloud>`` takes a
``TokenReview`` of ``authentication.k8s.io/v1``.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import json
import logging
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from triplane.sandbox.kubernetes.cluster import DEPLOYERS

EKS_PREFIX = "k8s-aws-v1."
EKS_LIFETIME = datetime.timedelta(minutes=15)
STS_HOST = re.compile(r"sts(\.[a-z0-9-]+)?\.amazonaws\.com")
log = logging.getLogger("webhook")


class Denied(Exception):
    """The token is not accepted; the text says why."""


@dataclass(frozen=True)
class EksTokens:
    """Checks EKS tokens: presigned ``sts:GetCallerIdentity`` URLs that name the cluster in a signed header.

    ``clusters`` gives the names of those that exist now.
    """

    access_keys: Mapping[str, str]
    clusters: Callable[[], Iterable[str]]

    def user(self, token: str, now: datetime.datetime) -> str:
        """The caller's ARN. :raises Denied: forged, expired, or made for another cluster"""
        url = urllib.parse.urlsplit(_decode(token))
        if url.scheme != "https" or not STS_HOST.fullmatch(url.netloc) or url.path != "/":
            raise Denied("not a URL of STS")
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if query.get("Action") != "GetCallerIdentity":
            raise Denied("not a GetCallerIdentity request")
        if "x-k8s-aws-id" not in query.get("X-Amz-SignedHeaders", "").split(";"):
            raise Denied("the cluster name is not signed")
        _check_age(query, now)
        access_key = query.get("X-Amz-Credential", "").split("/")[0]
        secret = self.access_keys.get(access_key)
        if secret is None:
            raise Denied("unknown access key")
        signature = query.get("X-Amz-Signature", "")
        if not any(
            hmac.compare_digest(signature, sign(url.netloc, query, name, secret)) for name in self.clusters()
        ):
            raise Denied("wrong signature: other secret key, or made for a cluster that AWS does not have")
        return "arn:aws:iam::000000000000:user/triplane"


def sign(host: str, query: Mapping[str, str], cluster: str, secret: str) -> str:
    """The Signature Version 4 of a presigned GET of ``https://<host>/`` with ``x-k8s-aws-id: <cluster>``."""
    values = {"host": host, "x-k8s-aws-id": cluster}
    names = query["X-Amz-SignedHeaders"].split(";")
    pairs = sorted((key, value) for key, value in query.items() if key != "X-Amz-Signature")
    canonical = "\n".join(
        [
            *("GET", "/", urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote, safe="-_.~")),
            *(f"{name}:{values.get(name, '')}" for name in names),
            *("", ";".join(names), hashlib.sha256(b"").hexdigest()),
        ]
    )
    date, region, service, kind = query["X-Amz-Credential"].split("/")[1:5]
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, kind):
        key = hmac.digest(key, part.encode(), "sha256")
    scope = f"{date}/{region}/{service}/{kind}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashed}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def eks_clusters(url: str) -> list[str]:
    """The names of the clusters that AWS has. :raises OSError: it does not answer"""
    with _opener().open(url, timeout=5) as response:
        return [str(name) for name in json.load(response)["clusters"]]


def google_user(token: str, tokeninfo: str) -> str:
    """The account behind a Google access token. :raises Denied: Google does not know it, or it has expired"""
    url = f"{tokeninfo}?{urllib.parse.urlencode({'access_token': token})}"
    try:
        with _opener().open(url, timeout=5) as response:
            return str(json.load(response)["email"])
    except urllib.error.HTTPError as error:
        raise Denied(f"token introspection said {error.code}") from error


def review(token: str, identify: Callable[[str], str]) -> dict[str, Any]:
    """The ``status`` of a TokenReview."""
    try:
        user = {"username": identify(token), "groups": [DEPLOYERS]}
    except Denied as denied:
        return {"authenticated": False, "error": str(denied)}
    return {"authenticated": True, "user": user}


def _opener() -> urllib.request.OpenerDirector:
    """Without the proxies that the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _decode(token: str) -> str:
    if not token.startswith(EKS_PREFIX):
        raise Denied("not an EKS token")
    data = token.removeprefix(EKS_PREFIX)
    try:
        return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Denied("not base64") from error


def _check_age(query: Mapping[str, str], now: datetime.datetime) -> None:
    try:
        made = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except (KeyError, ValueError) as error:
        raise Denied("no date") from error
    if not now - EKS_LIFETIME <= made <= now + datetime.timedelta(minutes=5):
        raise Denied("expired")


class Webhook(BaseHTTPRequestHandler):
    """``POST /<cloud>`` with a TokenReview."""

    reviewers: Mapping[str, Callable[[str], str]] = {}

    def do_GET(self) -> None:
        """Health."""
        self._answer(200, {"status": "ok"})

    def do_POST(self) -> None:
        """Review one token."""
        identify = self.reviewers.get(self.path.split("?")[0].strip("/"))
        if identify is None:
            return self._answer(404, {})
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            status = review(body["spec"]["token"], identify)
        except OSError as error:
            log.info("%s: %s", self.path, error)
            return self._answer(503, {})
        log.info("%s: %s", self.path, status.get("user") or status.get("error"))
        self._answer(200, {"apiVersion": body["apiVersion"], "kind": "TokenReview", "status": status})

    def log_message(self, format: str, *args: Any) -> None:
        """Only verdicts are logged."""

    def _answer(self, code: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main(path: Path) -> None:
    """Serve until the process ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = json.loads(path.read_text())
    eks = EksTokens(config["aws"]["access_keys"], lambda: eks_clusters(config["aws"]["clusters"]))
    Webhook.reviewers = {
        "aws": lambda token: eks.user(token, datetime.datetime.now(datetime.UTC)),
        "gcp": lambda token: google_user(token, config["gcp"]["tokeninfo"]),
    }
    ThreadingHTTPServer(("127.0.0.1", config["port"]), Webhook).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
