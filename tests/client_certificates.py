"""Certificates for clients, as somebody's own authority makes and revokes them."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["ClientAuthority", "Issued", "self_signed"]

PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Issued:
    """A certificate and its key.

    Args:
        path: both, as PEM.
        certificate: what was signed.
    """

    path: Path
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """SHA-256 of it, in lower-case hexadecimal digits."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def certificate_path(self) -> Path:
        """The certificate alone, in a file of its own."""
        path = self.path.with_suffix(".crt")
        path.write_bytes(self.certificate.public_bytes(PEM))
        return path

    @property
    def key_path(self) -> Path:
        """The key alone, in a file of its own."""
        path = self.path.with_suffix(".key")
        octets = self.path.read_bytes()
        path.write_bytes(octets[octets.index(b"-----BEGIN PRIVATE KEY") :])
        path.chmod(0o600)
        return path

    def show(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Let the client of *context* show it."""
        context.load_cert_chain(self.path)
        return context


class ClientAuthority:
    """Makes certificates for clients.

    Args:
        folder: where they lie.
        name: common name of the authority.
    """

    def __init__(self, folder: Path, name: str = "clients") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.BasicConstraints(ca=True, path_length=0)
        self.certificate = (
            _builder(self.subject, self.subject, self.key, 30, 3650).add_extension(usage, critical=True)
        ).sign(self.key, hashes.SHA256())
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(PEM))

    def issue(
        self,
        name: str,
        *addresses: str,
        begins: float = -1,
        days: float = 30,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        names: Sequence[str] | None = None,
    ) -> Issued:
        """Issue a certificate with *name* as its common name (or all of *names*), and mail addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [name] if names is None else names
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names])
        builder = _builder(subject, self.subject, key, -begins, days)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if addresses:
            general = x509.SubjectAlternativeName([x509.RFC822Name(each) for each in addresses])
            builder = builder.add_extension(general, critical=False)
        return _write(self.folder / f"{name}.both.pem", builder.sign(self.key, hashes.SHA256()), key)

    def revoke(self, *issued: Issued, days: float = 7) -> Path:
        """Publish a list of what is revoked; return its path."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.subject)
            .last_update(now - dt.timedelta(days=30))
            .next_update(now + dt.timedelta(days=days))
        )
        for each in issued:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - dt.timedelta(days=1)).build())
        path = self.folder / "revoked.pem"
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(PEM))
        return path


def self_signed(folder: Path, name: str) -> Issued:
    """Return a certificate that nobody else made."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _write(folder / f"{name}.both.pem", _builder(subject, subject, key, 1, 30).sign(key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: float, days: float
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=since))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    lock = serialization.NoEncryption()
    path.write_bytes(certificate.public_bytes(PEM) + key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock))
    path.chmod(0o600)
    return Issued(path, certificate)
