"""Look at a certificate and its key: whether they belong together, are in force, and for which names."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

__all__ = ["Certificate", "Flaw", "check_pair", "read_chain"]

_SOON = dt.timedelta(days=14)


class Flaw(Exception):
    """What is wrong with a file, and what to do."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate of a chain, as an operator wants to see it."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    serial: str
    key: str
    fingerprint: str
    parsed: x509.Certificate

    @property
    def dns_names(self) -> list[str]:
        """Its names but for addresses, as clients ask for them."""
        general = _alternative_names(self.parsed)
        return [name.lower() for name in general.get_values_for_type(x509.DNSName)] if general else []

    @property
    def kind(self) -> str:
        """The kind of its key: one of each can be shown for a name."""
        return self.key.partition(" ")[0]

    def covers(self, hostname: str) -> bool:
        """Tell whether *hostname* is one of its names (RFC 9525 §6.3); a wildcard is the whole left-most label."""
        _, _, parent = hostname.partition(".")
        return hostname in self.names or (bool(parent) and f"*.{parent}" in self.names)


def read_chain(path: Path) -> list[Certificate]:
    """Read the certificates in a PEM file, the server's own first.

    Raises:
        Flaw: it cannot be read, or holds none.
    """
    try:
        return [_describe(each) for each in x509.load_pem_x509_certificates(_read(path))]
    except ValueError:
        raise Flaw("holds no certificate in PEM form; name the file with the full chain") from None


def check_pair(certificate: Path, key: Path | None, now: dt.datetime) -> tuple[Certificate, list[str], list[str]]:
    """Look at a certificate together with its key; return it, what is wrong and what is only odd.

    Raises:
        Flaw: the certificate or, with ``key:`` in front, the key cannot be used at all.
    """
    leaf = read_chain(certificate)[0]
    problems, warnings = [], []
    if now > leaf.not_after:
        problems.append(f"expired on {leaf.not_after:%Y-%m-%d}; renew it")
    elif now > leaf.not_after - _SOON:
        warnings.append(f"expires on {leaf.not_after:%Y-%m-%d}; renew it soon")
    if now < leaf.not_before:
        problems.append(f"is not valid before {leaf.not_before:%Y-%m-%d}; wait, or correct the clock")
    try:
        private = serialization.load_pem_private_key(_read(key or certificate), None)
    except TypeError:
        raise Flaw("key: is locked with a passphrase; store it without, readable for gatepost only") from None
    except ValueError:
        remedy = "name its file as the key" if key is None else "name the right file"
        raise Flaw(f"key: holds no private key in PEM form; {remedy}") from None
    except Flaw as flaw:
        raise Flaw(f"key: {flaw}") from None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.parsed.public_key().public_bytes(*form):
        raise Flaw("key: does not belong to the certificate; name the key it was made with")
    return leaf, problems, warnings


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Flaw(f"cannot be read at {path} ({error.strerror}); correct the path or who may read it") from None


def _alternative_names(parsed: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _describe(parsed: x509.Certificate) -> Certificate:
    general = _alternative_names(parsed)
    names = []
    if general is not None:
        names = [name.lower() for name in general.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in general.get_values_for_type(x509.IPAddress)]
    public = parsed.public_key()
    size = getattr(public, "key_size", None)
    kind = type(public).__name__.removesuffix("PublicKey").removeprefix("_").replace("EllipticCurve", "EC")
    return Certificate(
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        names=tuple(names),
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        serial=f"{parsed.serial_number:x}",
        key=f"{kind} {size}" if size else kind,
        fingerprint=parsed.fingerprint(hashes.SHA256()).hex(":").upper(),
        parsed=parsed,
    )
