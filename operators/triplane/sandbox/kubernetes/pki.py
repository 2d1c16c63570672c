"""A certificate authority for each cluster, and the certificates that its parts and people use."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from triplane.core.process import write_private

LIFETIME = datetime.timedelta(days=365)


@dataclass(frozen=True)
class KeyPair:
    """A private key and its certificate, both as PEM."""

    key: bytes
    certificate: bytes

    def write(self, folder: Path, name: str) -> None:
        """Write ``<name>.key`` and ``<name>.crt`` for this user only."""
        write_private(folder / f"{name}.key", self.key)
        write_private(folder / f"{name}.crt", self.certificate)

    @classmethod
    def read(cls, folder: Path, name: str) -> KeyPair:
        """The inverse of :meth:`write`."""
        return cls((folder / f"{name}.key").read_bytes(), (folder / f"{name}.crt").read_bytes())


def new_authority(name: str) -> KeyPair:
    """A self-signed certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = _builder(subject, subject, key).add_extension(x509.BasicConstraints(True, 0), critical=True)
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    return _sign(builder.add_extension(usage, critical=True), key, key)


def issue(authority: KeyPair, name: str, *, group: str = "", server: bool = False) -> KeyPair:
    """A client certificate for the user ``name`` in ``group``, or a server's for 127.0.0.1."""
    issuer = x509.load_pem_x509_certificate(authority.certificate).subject
    signing_key = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = _builder(_subject(name, group), issuer, key).add_extension(
        x509.ExtendedKeyUsage([purpose]), critical=False
    )
    if server:
        names = [x509.DNSName("localhost"), x509.DNSName("kubernetes.default.svc")]
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([*names, address]), critical=False)
    return _sign(builder, key, signing_key)


def _subject(name: str, group: str = "") -> x509.Name:
    organization = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - LIFETIME / 365, now + LIFETIME
    )


def _sign(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signing_key: ec.EllipticCurvePrivateKey
) -> KeyPair:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
    builder = builder.add_extension(own, critical=False).add_extension(authority, critical=False)
    certificate = builder.sign(signing_key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(pem, certificate.public_bytes(serialization.Encoding.PEM))
