from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from triplane.sandbox.ca import Authority
from triplane.sandbox.kubernetes.pki import issue, new_authority


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """In memory, until both have what they need of each other."""
    one, two = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (client.wrap_bio(one, two, server_hostname=host), server.wrap_bio(two, one, server_side=True))
    left = set(sides)
    for _ in range(10):
        for side in list(left):
            try:
                side.do_handshake()
                left.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not left


def strict(**trust: str) -> ssl.SSLContext:
    """A client as Python makes it from 3.13 on."""
    context = ssl.create_default_context(**trust)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_a_cluster_is_trusted_by_strict_clients_and_trusts_their_certificates(tmp_path: Path) -> None:
    authority = new_authority("cluster")
    issue(authority, "api", server=True).write(tmp_path, "server")
    issue(authority, "admin", group="system:masters").write(tmp_path, "client")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        strict(cafile=str(tmp_path / "ca.crt")),
    )
    server.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    server.load_verify_locations(tmp_path / "ca.crt")
    server.verify_mode, server.verify_flags = ssl.CERT_REQUIRED, client.verify_flags
    client.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
    shake_hands(server, client, "127.0.0.1")

    (tmp_path / "ca.crt").write_bytes(new_authority("another").certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, strict(cafile=str(tmp_path / "ca.crt")), "127.0.0.1")


def test_the_clouds_hosts_are_trusted_by_strict_clients(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(authority.leaf("ecs.eu-west-1.amazonaws.com"))
    shake_hands(server, strict(cafile=str(authority.certificate_file)), "ecs.eu-west-1.amazonaws.com")
