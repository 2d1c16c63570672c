"""Verifies Signature Version 4 of requests, as every AWS API does."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_SKEW = datetime.timedelta(minutes=15)
UNRESERVED = "-_.~"


class Denied(Exception):
    """``code`` is the API's own error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Signed:
    """The signature of a request, from its Authorization header or its query."""

    key_id: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str
    expires: datetime.timedelta

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"

    @property
    def header(self) -> str:
        """The Authorization header that says the same."""
        names = ";".join(self.headers)
        credential = f"{self.key_id}/{self.scope}"
        return f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={self.signature}"


def parse(query: str, headers: Mapping[str, str]) -> Signed | None:
    """The signature that a request carries, None if it has none. Raises Denied for a malformed one."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    try:
        if headers.get("authorization", "").startswith(ALGORITHM):
            fields = headers["authorization"].removeprefix(ALGORITHM).split(",")
            named = dict(field.strip().split("=", 1) for field in fields)
            names, expires = ("Credential", "SignedHeaders", "Signature"), CLOCK_SKEW
        elif given.get("X-Amz-Algorithm") == ALGORITHM:
            named, names = given, ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature")
            expires = datetime.timedelta(seconds=int(given.get("X-Amz-Expires", "900")))
        else:
            return None
        credential, signed_headers, signature = (named[name] for name in names)
        key_id, date, region, service, _ = credential.rsplit("/", 4)
    except (KeyError, ValueError) as error:
        raise Denied("IncompleteSignature", f"malformed signature: {error}") from error
    return Signed(key_id, date, region, service, tuple(signed_headers.split(";")), signature, expires)


def verify(
    signed: Signed,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body_digest: Callable[[], str],
    secret: str,
    now: datetime.datetime | None = None,
) -> None:
    """Raises Denied unless ``secret`` made the signature. ``path`` and ``query`` are as sent, still encoded."""
    stamp = headers.get("x-amz-date") or dict(parse_qsl(query)).get("X-Amz-Date", "")
    _check_time(stamp, signed.expires, now or datetime.datetime.now(datetime.UTC))
    canonical = "\n".join(
        (
            method,
            path or "/",
            _canonical_query(query),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed.headers),
            "",
            ";".join(signed.headers),
            headers.get("x-amz-content-sha256") or body_digest(),
        )
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((ALGORITHM, stamp, signed.scope, hashed))
    key = f"AWS4{secret}".encode()
    for word in (*signed.scope.split("/"), text):
        key = hmac.digest(key, word.encode(), "sha256")
    if not hmac.compare_digest(key.hex(), signed.signature):
        raise Denied(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )


def _check_time(stamp: str, valid: datetime.timedelta, now: datetime.datetime) -> None:
    try:
        made = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise Denied("IncompleteSignature", f"malformed date {stamp!r}") from error
    if not made - CLOCK_SKEW <= now <= made + valid:
        raise Denied("RequestExpired", f"the request was signed at {stamp}, now it is {now:%Y%m%dT%H%M%SZ}")


def _canonical_query(query: str) -> str:
    pairs = (pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "X-Amz-Signature")
    encoded = sorted((quote(name, safe=UNRESERVED), quote(value, safe=UNRESERVED)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)
