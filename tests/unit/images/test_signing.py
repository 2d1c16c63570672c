from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from triplane.core.errors import InputError
from triplane.images.reference import Reference
from triplane.images.signing import Key, Signer, public_key_args, sign_args, verify_args

PINNED = Reference.parse("x.io/a@sha256:" + "1" * 64)
NOTES_ITS_CALL = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
[ "$1" != sign ] || env > "$here/env"
[ "$1" != verify ] || exit "$(cat "$here/verified")"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with a cosign that notes how it is called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cosign").write_text(NOTES_ITS_CALL)
    (folder / "cosign").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def commands(tools: Path) -> list[str]:
    return [line.partition(" ")[0] for line in (tools / "calls").read_text().splitlines()]


def test_arguments() -> None:
    url = "awskms:///alias/images"
    assert public_key_args(url) == ("cosign", "public-key", "--key", url)
    assert verify_args(PINNED, Path("/s/pub"), log=True) == (
        *("cosign", "verify", "--key", "/s/pub", str(PINNED)),
    )
    assert verify_args(PINNED, Path("/s/pub"), log=False) == (
        *("cosign", "verify", "--key", "/s/pub", "--insecure-ignore-tlog", str(PINNED)),
    )
    assert sign_args(PINNED, url, None) == ("cosign", "sign", "--yes", "--key", url, str(PINNED))
    assert sign_args(PINNED, "/s/key", Path("/s/config")) == (
        *("cosign", "sign", "--yes", "--key", "/s/key", "--signing-config", "/s/config", str(PINNED)),
    )


@pytest.mark.parametrize("code", [1, 10, 12])
def test_what_this_key_has_not_signed_is_signed(code: int, tools: Path, tmp_path: Path) -> None:
    (tools / "verified").write_text(str(code))
    assert Signer(Key(key="gcpkms://projects/p/k"), None, tmp_path).sign(PINNED) is True
    assert commands(tools) == ["public-key", "verify", "sign"]


def test_what_it_has_signed_is_left_alone(tools: Path, tmp_path: Path) -> None:
    (tools / "verified").write_text("0")
    assert Signer(Key(key="gcpkms://projects/p/k"), None, tmp_path).sign(PINNED) is False
    assert commands(tools) == ["public-key", "verify"]


def test_key_and_password_are_on_no_command_line(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "not-for-cosign")
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example.com")
    (tools / "verified").write_text("10")
    auth = tmp_path / "auth.json"
    auth.write_text('{"auths": {}}')
    key = Key(key="-----BEGIN KEY-----\nabc\n-----END KEY-----", password="hunter2")
    assert "hunter2" not in repr(key)
    assert "abc" not in repr(key)
    Signer(key, auth, tmp_path).sign(PINNED)
    calls, env = (tools / "calls").read_text(), (tools / "env").read_text()
    assert "hunter2" not in calls
    assert "abc" not in calls
    assert "not-for-cosign" not in env
    assert "COSIGN_PASSWORD=hunter2\n" in env
    assert "VAULT_ADDR=https://vault.example.com\n" in env
    assert f"DOCKER_CONFIG={tmp_path}/docker\n" in env
    assert (tmp_path / "docker/config.json").read_text() == auth.read_text()
    assert (tmp_path / "cosign.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "cosign.key").read_text() == f"{key.key}\n"
    assert json.loads((tmp_path / "signing-config.json").read_text())["mediaType"].endswith(
        "config.v0.2+json"
    )


def test_nobody_has_no_login(tmp_path: Path) -> None:
    Signer(Key(key="awskms:///alias/images"), None, tmp_path)
    assert list((tmp_path / "docker").iterdir()) == []
    assert not (tmp_path / "cosign.key").exists()


def test_without_cosign_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="cosign is not installed or not on PATH"):
        Signer(Key(key="awskms:///alias/images"), None, tmp_path).sign(PINNED)
