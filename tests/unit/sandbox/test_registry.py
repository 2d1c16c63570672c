"""The base image, and the gate's own tokens."""

from __future__ import annotations

import io
import tarfile
import time
from types import SimpleNamespace
from typing import Any

import pytest

from triplane.sandbox import registry_gate
from triplane.sandbox.busybox import root_filesystem
from triplane.sandbox.registry import REGISTRIES
from triplane.sandbox.registry_gate import GATES, REPOSITORY, Acr


def test_root_filesystem_is_reproducible_and_complete() -> None:
    data = root_filesystem(b"program", ["sh", "httpd"])
    assert data == root_filesystem(b"program", ["sh", "httpd"])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getmember("bin/busybox").mode == 0o755
        assert archive.getmember("bin/sh").linkname == "busybox"
        assert archive.getmember("tmp").mode == 0o1777
        assert {member.mtime for member in archive.getmembers()} == {0}


def test_every_registry_has_a_gate() -> None:
    assert {kind for kind, _, _ in REGISTRIES.values()} == set(GATES)


def gate(host: str = "*.azurecr.io", secret: str = "s") -> Acr:
    session: Any = SimpleNamespace()
    return Acr(host, "http://upstream", "http://cloud", secret, session)


def test_own_tokens_are_bound_to_use_registry_and_secret() -> None:
    token = gate().mint("refresh")
    assert gate().minted("refresh", token)
    assert not gate().minted("access", token)
    assert not gate(host="*-docker.pkg.dev").minted("refresh", token)
    assert not gate(secret="other").minted("refresh", token)


@pytest.mark.parametrize("token", ["", "x", "é", "refresh", "cmVmcmVzaA=="])
def test_nonsense_is_no_token(token: str) -> None:
    assert not gate().minted("refresh", token)


def test_own_tokens_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    token = gate().mint("access")
    later = time.time() + registry_gate.TOKEN_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not gate().minted("access", token)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/streaming/ingest/manifests/1", "streaming/ingest"),
        ("/v2/a/b/c/blobs/uploads/", "a/b/c"),
        ("/v2/a/tags/list", "a"),
        ("/v2/", None),
        ("/v2/_catalog", None),
    ],
)
def test_repository_of_a_request(path: str, name: str | None) -> None:
    found = REPOSITORY.fullmatch(path)
    assert (found["name"] if found else None) == name
