"""The artifact store: what tasks keep for each other, encrypted at rest.

Saved plans hold secrets, so nothing is written in the clear. Artifacts are found by the digest of
their plaintext and checked against it when they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from triplane.core import files
from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError


class ArtifactStore:
    """Encrypted artifacts under ``root``, a ``pathlib.Path`` or Airflow ``ObjectStoragePath``.

    ``keys`` are Fernet keys (URL-safe base64 of 32 bytes); the first one encrypts, all decrypt, so that
    keys can be rotated.
    """

    def __init__(self, root: Any, keys: Sequence[str]) -> None:
        try:
            self._cipher = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise InputError(
                "[triplane] artifact_key must hold Fernet keys separated by commas, the newest first; "
                "make one with `triplane keys`"
            ) from error
        self._root = root

    def put(self, data: bytes) -> str:
        """Keep ``data`` and return its digest; the same data is kept once."""
        name = digest(data)
        if not self.has(name):
            self._write(self._blob(name), data)
        return name

    def has(self, name: str) -> bool:
        """Whether an artifact of this digest is kept."""
        return files.exists(self._blob(name))

    def get(self, name: str) -> bytes:
        """The artifact whose digest is ``name``.

        :raises RefusedError: it is missing, or its content is not what the digest says
        """
        data = self._read(self._blob(name), name)
        if data is None:
            raise RefusedError(f"artifact {name} is not in the artifact store; plan again")
        if digest(data) != name:
            raise RefusedError(f"artifact {name} was changed after it was stored; plan again")
        return data

    def put_named(self, name: str, data: bytes) -> None:
        """Keep ``data`` under a name such as ``outputs/staging/aws/network``, over what was there."""
        self._write(self._named(name), data)

    def create_named(self, name: str, data: bytes) -> bool:
        """Keep ``data`` under a name that nothing is kept under; whether that was so. One of several at once wins."""
        try:
            files.create(self._named(name), self._cipher.encrypt(data))
        except FileExistsError:
            return False
        return True

    def get_named(self, name: str) -> bytes | None:
        """What was last kept under ``name``, None if nothing was."""
        return self._read(self._named(name), name)

    def _blob(self, name: str) -> Any:
        kind, _, value = name.partition(":")
        if kind != "sha256" or len(value) != 64 or not value.isalnum():
            raise InputError(f"{name!r} is not a digest (sha256:<64 hex digits>)")
        return self._root / "blobs" / value

    def _named(self, name: str) -> Any:
        return self._root / "named" / hashlib.sha256(name.encode()).hexdigest()

    def _write(self, blob: Any, data: bytes) -> None:
        files.replace(blob, self._cipher.encrypt(data))

    def _read(self, blob: Any, name: str) -> bytes | None:
        data = files.read(blob)
        try:
            return None if data is None else self._cipher.decrypt(data)
        except InvalidToken:
            raise RefusedError(
                f"artifact {name} was changed after it was stored, or its key is gone from "
                "[triplane] artifact_key; plan again"
            ) from None
