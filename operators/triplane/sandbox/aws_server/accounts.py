"""What moto makes up and the sandbox has for real: ECR passwords, EKS endpoints, and who may call."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException
from moto.ecr.models import ecr_backends
from moto.ecr.responses import ECRResponse
from moto.eks.models import Cluster, eks_backends
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

ACCOUNT = "000000000000"
TOKEN_SECONDS = 12 * 3600


class Tokens:
    """ECR passwords: an expiry time with a signature."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def make(self) -> tuple[str, float]:
        """A password and its expiry (Unix time)."""
        expires = int(time.time()) + TOKEN_SECONDS
        return f"{expires}.{self._sign(str(expires))}", float(expires)

    def valid(self, token: str) -> bool:
        expires, _, signature = token.partition(".")
        return (
            hmac.compare_digest(self._sign(expires), signature)
            and expires.isdigit()
            and int(expires) > time.time()
        )

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


class AccessKeys:
    """The secret of each access key: the sandbox's own, those of IAM users, and those of assumed roles."""

    def __init__(self, key_id: str, secret: str) -> None:
        self._own = {key_id: secret}

    def secret(self, key_id: str) -> str | None:
        if key_id in self._own:
            return self._own[key_id]
        iam = iam_backends[ACCOUNT]["aws"].access_keys.get(key_id)
        if iam is not None and iam.status == "Active":
            return str(iam.secret_access_key)
        for session in sts_backends[ACCOUNT]["aws"].assumed_roles:
            if session.access_key_id == key_id:
                return str(session.secret_access_key)
        return None


def give_ecr_tokens(tokens: Tokens) -> None:
    """Make GetAuthorizationToken give out passwords that the registry's gate accepts."""

    def get_authorization_token(self: Any) -> ActionResult:
        password, expires = tokens.make()
        data = {
            "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
            "expiresAt": datetime.datetime.fromtimestamp(expires, datetime.UTC),
            "proxyEndpoint": f"https://{ACCOUNT}.dkr.ecr.{self.region}.amazonaws.com",
        }
        return ActionResult({"authorizationData": [data]})

    ECRResponse.get_authorization_token = get_authorization_token


def give_eks_endpoints(endpoint_file: Path) -> None:
    """Make every new EKS cluster answer with the real API server of ``endpoint_file``, if there is one."""
    make = Cluster.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if endpoint_file.exists():
            endpoint = json.loads(endpoint_file.read_text())
            self.endpoint = endpoint["server"]
            self.certificate_authority = {"data": endpoint["ca"]}

    Cluster.__init__ = init


def eks_clusters() -> list[str]:
    """Names of the EKS clusters that exist, in all regions."""
    return sorted(
        {name for backend in list(eks_backends[ACCOUNT].values()) for name in list(backend.clusters)}
    )


def repository_exists(region: str, name: str) -> bool:
    return name in ecr_backends[ACCOUNT][region].repositories


def record_image(region: str, repository: str, tag: str, manifest: bytes, media_type: str) -> None:
    """Enter a pushed manifest, as ECR does, so that its API describes the image."""
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    try:
        ecr_backends[ACCOUNT][region].put_image(repository, manifest.decode(), tag, media_type, digest)
    except ImageAlreadyExistsException:
        pass
