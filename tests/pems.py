"""Certificates for tests of the configuration: a good pair, and each way to spoil one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["make_pems"]


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(key: ec.EllipticCurvePrivateKey, names: list[str], start: dt.datetime, end: dt.datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _revoked(key: ec.EllipticCurvePrivateKey, start: dt.datetime, end: dt.datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(start).next_update(end)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def make_pems(folder: Path) -> None:
    """Write cert.pem and key.pem (good from 2026 to 2036), and the spoiled ones beside them."""
    key, start, end = _key(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2036, 1, 1, tzinfo=dt.UTC)
    files = {
        "cert.pem": _certificate(key, ["mail.example.org"], start, end),
        "key.pem": _pem(key),
        "both.pem": _certificate(key, ["*.example.org"], start, end) + _pem(key),
        "other-key.pem": _pem(_key()),
        "locked-key.pem": _pem(key, b"passphrase"),
        "expired.pem": _certificate(key, ["mail.example.org"], start, dt.datetime(2026, 5, 1, tzinfo=dt.UTC)),
        "ending.pem": _certificate(key, ["mail.example.org"], start, dt.datetime(2026, 6, 10, tzinfo=dt.UTC)),
        "future.pem": _certificate(key, ["mail.example.org"], dt.datetime(2027, 1, 1, tzinfo=dt.UTC), end),
        "other-name.pem": _certificate(key, ["smtp.example.net"], start, end),
        "nameless.pem": _certificate(key, [], start, end),
        "list-and-other.pem": _revoked(key, start, end) + _certificate(key, [], start, end),
    }
    for name, octets in files.items():
        (folder / name).write_bytes(octets)
        (folder / name).chmod(0o600)
