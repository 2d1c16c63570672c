"""What the spec says about how images are signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.spec.load import load, problems_of

SPEC = """\
version: 1
name: shop
environments: {staging: {}}
secrets: {image-key: {variable: image_key}, image-password: {connection: images}}
clouds: {aws: {region: eu-west-1}}
signing: """


def write(path: Path, signing: str) -> Path:
    file = path / "platform.yaml"
    file.write_text(f"{SPEC}{signing}\n")
    return file


def test_a_secret_or_a_kms(tmp_path: Path) -> None:
    signing = load(write(tmp_path, "{key: image-key, password: image-password}")).signing
    assert signing is not None
    assert (signing.key, signing.password, signing.in_kms, signing.transparency_log) == (
        *("image-key", "image-password", False, False),
    )
    kms = load(write(tmp_path, "{key: 'awskms:///alias/images', transparency_log: true}")).signing
    assert kms is not None
    assert (kms.in_kms, kms.transparency_log) == (True, True)


@pytest.mark.parametrize(
    ("signing", "problem"),
    [
        ("{}", "6:1: 'key' is missing"),
        ("{key: image-kye}", "6:16: there is no secret 'image-kye' (did you mean 'image-key'?)"),
        ("{key: image-key, password: none}", "there is no secret 'none'"),
        ("{key: 'awskms:///a', password: image-password}", "a key in a KMS has no 'password'"),
        ("{key: 'https://example.com/key'}", "6:16: "),
        ("{key: 'awskms:///${env.key}'}", "6:"),
        ("{key: image-key, keyless: true}", "unknown key 'keyless'"),
    ],
)
def test_mistakes(signing: str, problem: str, tmp_path: Path) -> None:
    found = [str(each) for each in problems_of(write(tmp_path, signing))]
    assert any(problem in each for each in found), found
