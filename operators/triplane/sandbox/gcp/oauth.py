"""OAuth 2.0 for the sandbox's one service account: assertions are verified, tokens expire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from triplane.sandbox.gcp.errors import ApiError

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_URI = "https://oauth2.googleapis.com/token"
LIFETIME = 3600
SKEW = 300


class OAuthError(Exception):
    """An error of the token endpoint: ``error`` and its description."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description

    def body(self) -> dict[str, str]:
        return {"error": self.error, "error_description": self.description}


@dataclass
class Tokens:
    """Issues access tokens to ``email``, whose assertions are signed with the key of ``public_key``."""

    email: str
    public_key: rsa.RSAPublicKey
    clock: Callable[[], float] = time.time
    _expiry: dict[str, tuple[str, float]] = field(default_factory=dict)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @classmethod
    def from_pem(cls, email: str, pem: bytes) -> Tokens:
        key = serialization.load_pem_public_key(pem)
        assert isinstance(key, rsa.RSAPublicKey)
        return cls(email, key)

    def grant(self, form: dict[str, str]) -> dict[str, Any]:
        """The answer of the token endpoint. Raises OAuthError as Google words it."""
        if form.get("grant_type") != JWT_GRANT:
            raise OAuthError("unsupported_grant_type", "Invalid grant_type: " + form.get("grant_type", ""))
        claims = self._claims(form.get("assertion", ""))
        if claims.get("aud") != TOKEN_URI:
            raise OAuthError("invalid_grant", "Invalid JWT: Failed audience check.")
        if not claims.get("scope") and not claims.get("target_audience"):
            raise OAuthError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        if audience := claims.get("target_audience"):
            return {"id_token": self.issue_id(str(audience))}
        return {"access_token": self.issue(self.email), "expires_in": LIFETIME - 1, "token_type": "Bearer"}

    def issue(self, email: str) -> str:
        """A new access token of ``email``; only its hash is kept."""
        token = "ya29.c." + secrets.token_urlsafe(96)
        now = self.clock()
        self._expiry = {key: value for key, value in self._expiry.items() if value[1] > now}
        self._expiry[_hash(token)] = (email, now + LIFETIME)
        return token

    def issue_id(self, audience: str, email: str = "") -> str:
        """An ID token of ``email`` (default: the service account) for ``audience``, signed with an own secret."""
        now = int(self.clock())
        claims = {
            "iss": "https://accounts.google.com", "aud": audience, "email": email or self.email,
            "email_verified": True,
            "iat": now, "exp": now + LIFETIME,
        }  # fmt: skip
        parts = ({"alg": "HS256", "typ": "JWT"}, claims)
        signed = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_encode(self._signature(signed))}"

    def id_claims(self, token: str) -> dict[str, Any] | None:
        """The claims of an ID token of :meth:`issue_id`, None for anything else or when it has expired."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(_encode(self._signature(signed)), signature):
            return None
        claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        return claims if claims["exp"] > self.clock() else None

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._secret, signed.encode(), "sha256")

    def info(self, token: str) -> dict[str, Any] | None:
        """Whose access token this is, None when it is unknown or expired."""
        email, expiry = self._expiry.get(_hash(token), ("", 0.0))
        left = int(expiry - self.clock())
        if left <= 0:
            return None
        scope = "https://www.googleapis.com/auth/cloud-platform"
        return {"email": email, "email_verified": "true", "expires_in": str(left), "scope": scope}

    def check(self, authorization: str | None) -> str:
        """The email behind an ``Authorization`` header, of an access token or a self-signed JWT. Raises 401."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthenticated("Request is missing required authentication credential.")
        if info := self.info(token):
            return str(info["email"])
        try:
            self._claims(token)
        except OAuthError as error:
            raise _unauthenticated("Request had invalid authentication credentials.") from error
        return self.email

    def _claims(self, jwt: str) -> dict[str, Any]:
        """The claims of a JWT that the service account signed and that is valid now."""
        try:
            signed, _, signature = jwt.rpartition(".")
            header, claims = (json.loads(_decode(part)) for part in signed.split("."))
            if header.get("alg") != "RS256":
                raise OAuthError("invalid_grant", "Invalid JWT: RS256 is required.")
            self.public_key.verify(_decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            valid = claims["iat"] - SKEW <= self.clock() < min(claims["exp"], claims["iat"] + 3600) + SKEW
        except (ValueError, KeyError, TypeError) as error:
            raise OAuthError("invalid_grant", "Invalid JWT.") from error
        except InvalidSignature as error:
            raise OAuthError("invalid_grant", "Invalid JWT Signature.") from error
        if claims.get("iss") != self.email:
            raise OAuthError("invalid_grant", "Invalid grant: account not found")
        if not valid:
            raise OAuthError("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")
        return dict(claims)


def _unauthenticated(message: str) -> ApiError:
    hint = " Expected OAuth 2 access token, login cookie or other valid authentication credential."
    return ApiError(401, message + hint)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
