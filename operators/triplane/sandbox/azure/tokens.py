"""The directory: checks client secrets, issues signed tokens, and says what a token stands for."""

from __future__ import annotations

import hmac
import time
import uuid
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

LIFETIME = 3600
AUTHORITY = "https://login.microsoftonline.com"


class AuthError(Exception):
    """A refusal in the directory's own words, ``AADSTS<number>``."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.number = number

    def body(self) -> dict[str, Any]:
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self}",
            "error_codes": [self.number],
            "trace_id": str(uuid.uuid4()),
            "correlation_id": str(uuid.uuid4()),
        }


class Directory:
    """One tenant with one service principal. Tokens end with the sandbox: their key is made anew each time."""

    def __init__(self, tenant: str, client_id: str, client_secret: str) -> None:
        self.tenant = tenant
        self.client_id = client_id
        self._secret = client_secret
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid = uuid.uuid4().hex

    def token(self, tenant: str, form: Mapping[str, str]) -> dict[str, Any]:
        """The answer to a token request (v1 ``resource`` or v2 ``scope``). Raises AuthError."""
        self.check_tenant(tenant)
        if form.get("grant_type") != "client_credentials":
            raise AuthError(400, "unsupported_grant_type", 70003, "Only client_credentials is served here.")
        if form.get("client_id", "").lower() != self.client_id:
            raise AuthError(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{form.get('client_id')}' was not found in the directory.",
            )
        if not hmac.compare_digest(form.get("client_secret", "").encode(), self._secret.encode()):
            raise AuthError(
                401,
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the client "
                f"secret value, not the client secret ID, for a secret added to app '{self.client_id}'.",
            )
        token = self.issue(_audience(form))
        lifetime: dict[str, Any] = {"expires_in": LIFETIME, "ext_expires_in": LIFETIME}
        if "resource" in form:  # the v1 endpoint writes numbers as text
            lifetime = {key: str(value) for key, value in lifetime.items()}
            lifetime |= {"expires_on": str(int(time.time()) + LIFETIME), "resource": form["resource"]}
        return {"token_type": "Bearer", **lifetime, "access_token": token}

    def check_tenant(self, tenant: str) -> None:
        if tenant.lower() != self.tenant:
            raise AuthError(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")

    def issue(self, audience: str, lifetime: int = LIFETIME) -> str:
        """A token for ``audience`` that ends ``lifetime`` seconds from now."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self.tenant}/",
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "appid": self.client_id,
            "oid": str(uuid.uuid5(uuid.NAMESPACE_OID, self.client_id)),
            "tid": self.tenant,
            "idtyp": "app",
            "ver": "1.0",
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._kid})

    def claims(self, token: str) -> dict[str, Any]:
        """What ``token`` says, if this directory signed it and it has not ended. Raises jwt.InvalidTokenError."""
        return jwt.decode(token, self._key.public_key(), algorithms=["RS256"], options={"verify_aud": False})

    def keys(self) -> dict[str, Any]:
        """The public key, as a JSON Web Key Set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": self._kid, "use": "sig", "alg": "RS256"}]}

    def configuration(self, tenant: str, *, v2: bool) -> dict[str, Any]:
        """OpenID Connect discovery of ``tenant``. Raises AuthError."""
        self.check_tenant(tenant)
        base = f"{AUTHORITY}/{tenant}"
        path = "/oauth2/v2.0" if v2 else "/oauth2"
        return {
            "authorization_endpoint": f"{base}{path}/authorize",
            "token_endpoint": f"{base}{path}/token",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "issuer": f"{base}/v2.0" if v2 else f"https://sts.windows.net/{tenant}/",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }


def instances() -> dict[str, Any]:
    """The answer of ``/common/discovery/instance``."""
    hosts = ["login.microsoftonline.com", "login.windows.net"]
    return {
        "tenant_discovery_endpoint": f"{AUTHORITY}/common/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": hosts[0], "preferred_cache": hosts[1], "aliases": hosts}],
    }


def _audience(form: Mapping[str, str]) -> str:
    """``https://management.azure.com`` of a resource or of a ``.../.default`` scope."""
    scopes = [scope for scope in form.get("scope", "").split() if scope.endswith("/.default")]
    audience = form.get("resource") or (scopes[0].removesuffix("/.default") if scopes else "")
    if not audience:
        raise AuthError(
            400, "invalid_scope", 1002012, "The provided value for scope must end with /.default."
        )
    return audience
