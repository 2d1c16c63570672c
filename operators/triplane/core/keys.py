"""The signing keys: only workers hold them, so what they seal was written by a worker."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from triplane.core.errors import InputError


def check_keys(keys: Sequence[str]) -> Sequence[str]:
    """``keys`` if they can sign. :raises InputError: there is none, or one is too short"""
    if not keys or any(len(key) < 32 for key in keys):
        raise InputError(
            "[triplane] signing_key must hold keys of at least 32 characters, the newest first; "
            "make one with `triplane keys` and give it to workers only"
        )
    return keys


def key_id(key: str) -> str:
    """A name for a key that does not give it away."""
    return hashlib.sha256(b"triplane key id\0" + key.encode()).hexdigest()[:8]


def seal(key: str, data: bytes) -> str:
    """The HMAC-SHA256 of ``data``, in hex."""
    return hmac.new(key.encode(), data, hashlib.sha256).hexdigest()


def sealed(keys: Iterable[str], name: str, data: bytes, found: str) -> bool:
    """Whether ``found`` is the seal of ``data`` by the one of ``keys`` whose :func:`key_id` is ``name``."""
    return any(name == key_id(key) and hmac.compare_digest(found, seal(key, data)) for key in keys)
