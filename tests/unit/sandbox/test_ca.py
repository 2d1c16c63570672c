"""The throw-away certificate authority."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from triplane.sandbox.ca import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca")


def names(path: Path) -> list[object]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [name.value for name in extension.value]


def test_keys_are_private(authority: Authority) -> None:
    leaf = authority.leaf("s3.eu-west-1.amazonaws.com")
    for path in (authority.directory / "ca.key", leaf):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" not in authority.certificate_file.read_bytes()


def test_leaf_is_for_one_name_and_signed_by_the_authority(authority: Authority) -> None:
    leaf = authority.leaf("run.googleapis.com")
    assert names(leaf) == ["run.googleapis.com"]
    certificate = x509.load_pem_x509_certificate(leaf.read_bytes())
    root = x509.load_pem_x509_certificate(authority.certificate_file.read_bytes())
    certificate.verify_directly_issued_by(root)


def test_leaf_for_an_address(authority: Authority) -> None:
    assert [str(name) for name in names(authority.leaf("127.0.0.1"))] == ["127.0.0.1"]


def test_leaf_is_made_once(authority: Authority) -> None:
    assert authority.leaf("a.example").read_bytes() == authority.leaf("a.example").read_bytes()


def test_authority_is_kept(authority: Authority) -> None:
    before = authority.certificate_file.read_bytes()
    assert Authority.create(authority.directory).certificate_file.read_bytes() == before


@pytest.mark.parametrize("host", ["", "../../etc/passwd", "a/b", "A.example", "a b", "." * 300])
def test_names_that_are_no_host_names(authority: Authority, host: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        authority.leaf(host)
