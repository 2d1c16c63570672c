"""Signs images in their registry, with cosign 3: the signature covers the digest, and is kept beside the image."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from triplane.core.digest import canonical_json
from triplane.core.process import Command, Completed, run, tool_env, write_private
from triplane.images.reference import Reference

TIMEOUT = 300.0
NOT_SIGNED = frozenset({1, 10, 12})
"""What ``cosign verify`` ends with where there is no signature of this key: its general error, none, no matching one."""
NO_LOG = {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}
"""A signing config that names no service: nothing is told to a transparency log."""
_KMS = re.compile(r"[a-z0-9]+://\S+")
_PASSED = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ROLE_ARN"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
    *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_ENVIRONMENT"),
    *("VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "TRANSIT_SECRET_ENGINE_PATH", "TUF_ROOT", "TUF_MIRROR"),
)
"""What cosign reads of the worker's environment: how the clouds' key services and Vault know it, and its trust root."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """``key`` is the URL of a key in a KMS (``awskms:///alias/images``), or a private key as cosign writes it (PEM)
    whose password is ``password``. ``transparency_log`` tells the public log of each signature.
    """

    key: str = field(repr=False)
    password: str = field(default="", repr=False)
    transparency_log: bool = False

    @property
    def in_kms(self) -> bool:
        """Whether the key never leaves its service."""
        return bool(_KMS.fullmatch(self.key.strip()))


class Signer:
    """Signs with one key. ``auth_file`` holds the registry's login, None to be nobody; files are kept in
    ``scratch``, a private folder.
    """

    def __init__(
        self, key: Key, auth_file: Path | None, scratch: Path, *, redact: Callable[[str], str] | None = None
    ) -> None:
        self._log = key.transparency_log
        self._redact = redact
        self._public = scratch / "cosign.pub"
        self._config = scratch / "signing-config.json"
        self._config.write_bytes(canonical_json(NO_LOG))
        self._key = key.key.strip()
        if not key.in_kms:
            self._key = str(write_private(scratch / "cosign.key", f"{self._key}\n"))
        docker = scratch / "docker"
        docker.mkdir()
        if auth_file:
            (docker / "config.json").symlink_to(auth_file.absolute())
        self._env = tool_env(*_PASSED, DOCKER_CONFIG=str(docker), COSIGN_PASSWORD=key.password)

    def sign(self, pinned: Reference) -> bool:
        """Sign the image unless this key has signed it before; whether it was signed now.

        :raises InputError: cosign is not installed
        :raises ToolError: the key cannot be used, or the registry does not take the signature
        """
        if self._signed(pinned):
            return False
        self._run(sign_args(pinned, self._key, None if self._log else self._config))
        return True

    def _signed(self, pinned: Reference) -> bool:
        self._public.write_text(self._run(public_key_args(self._key)).stdout)
        found = self._run(verify_args(pinned, self._public, log=self._log), ok=NOT_SIGNED | {0})
        return found.returncode == 0

    def _run(self, arguments: tuple[str, ...], ok: frozenset[int] = frozenset({0})) -> Completed:
        return run(
            Command(argv=arguments, env=self._env, ok=ok, grace=10), redact=self._redact, timeout=TIMEOUT
        )


def public_key_args(key: str) -> tuple[str, ...]:
    """Prints the public key of ``key``, a file or the URL of a KMS."""
    return ("cosign", "public-key", "--key", key)


def verify_args(pinned: Reference, public_key: Path, *, log: bool) -> tuple[str, ...]:
    """Fails unless the image is signed with the private key of ``public_key``."""
    ignored = () if log else ("--insecure-ignore-tlog",)
    return ("cosign", "verify", "--key", str(public_key), *ignored, str(pinned))


def sign_args(pinned: Reference, key: str, config: Path | None) -> tuple[str, ...]:
    """Signs the image; ``config`` names the services that are told of it, None is the public ones."""
    services = ("--signing-config", str(config)) if config else ()
    return ("cosign", "sign", "--yes", "--key", key, *services, str(pinned))
