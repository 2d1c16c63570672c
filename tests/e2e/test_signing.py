"""Signed pushes to the sandbox's registries, with a stand-in for cosign."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.e2e.test_images import build, context, environ, push, storage

__all__ = ["context", "environ", "storage"]

COSIGN = """#!/bin/sh
# Stands in for cosign 3.x: takes the part of its documented command line that is used here, and nothing else.
# Its private key is a file of one line, `<name> <password>`. It logs in to the registry as cosign would.
here=$(dirname "$0")
fail() { echo "Error: $2" >&2; exit "$1"; }
command=$1; key=; image=; yes=; shift
while [ $# -gt 0 ]; do
  case "$command $1" in
    "sign --yes") yes=1; shift ;;
    "sign --signing-config") grep -q signingconfig.v0.2 "$2" || fail 1 "no signing config"; shift 2 ;;
    "verify --insecure-ignore-tlog") shift ;;
    "sign --key" | "verify --key" | "public-key --key") key=$2; shift 2 ;;
    *" -"*) fail 1 "unknown flag: $1" ;;
    *) [ -z "$image" ] || fail 1 "one image at a time"; image=$1; shift ;;
  esac
done
[ -f "$key" ] || fail 1 "no key: $key"
read -r name password < "$key"
if [ "$command" != verify ]; then
  [ "$(stat -c %a "$key")" = 600 ] || fail 1 "the key is for everybody to read"
  [ "$password" = "$COSIGN_PASSWORD" ] || fail 1 "decrypt: encrypted: decryption failed"
fi
if [ "$command" = public-key ]; then echo "$name"; exit; fi
case "$image" in *@sha256:*) ;; *) fail 1 "not a digest: $image" ;; esac
skopeo inspect --raw --authfile "$DOCKER_CONFIG/config.json" "docker://$image" > /dev/null || fail 1 "GET $image"
case "$command" in
  sign) [ "$yes" ] || fail 1 "nobody to ask"; echo "$name $image" >> "$here/signatures" ;;
  verify)
    grep -qs " $image\\$" "$here/signatures" || fail 10 "no signatures found"
    grep -qx "$name $image" "$here/signatures" || fail 12 "no matching signatures" ;;
  *) fail 1 "unknown command $command" ;;
esac
"""


@pytest.fixture
def signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was signed: ``<key> <reference>`` a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cosign").write_text(COSIGN)
    (folder / "cosign").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name in ("first", "second"):
        monkeypatch.setenv(f"AIRFLOW_VAR_KEY_{name.upper()}", f"{name} hunter2")
    monkeypatch.setenv("AIRFLOW_VAR_KEY_PASSWORD", "hunter2")
    return folder / "signatures"


def signing(key: str) -> dict[str, str]:
    return {"key": f"${{variable.key_{key}}}", "password": "${variable.key_password}"}


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_each_key_signs_an_image_once(
    cloud: str,
    environ: dict[str, str],
    context: Path,
    storage: Path,
    signatures: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = build(context, storage)["digest"]
    reference = push(cloud, image)
    assert not signatures.exists()
    capsys.readouterr()
    assert push(cloud, image, signing=signing("first")) == reference
    assert push(cloud, image, signing=signing("first")) == reference
    assert push(cloud, image, signing=signing("second")) == reference
    assert signatures.read_text().splitlines() == [f"first {reference}", f"second {reference}"]
    output = capsys.readouterr().out
    assert f"Signed {reference}" in output
    assert "is signed already" in output
    assert "hunter2" not in output


def test_a_wrong_password_fails_for_good(
    environ: dict[str, str],
    context: Path,
    storage: Path,
    signatures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_KEY_PASSWORD", "wrong")
    image = build(context, storage)["digest"]
    with pytest.raises(AirflowFailException, match="decryption failed"):
        push("azure", image, signing=signing("first"))
    monkeypatch.delenv("AIRFLOW_VAR_KEY_PASSWORD")
    with pytest.raises(AirflowFailException, match="no variable key_password"):
        push("azure", image, signing=signing("first"))
