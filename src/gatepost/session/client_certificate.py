"""What a client certificate says of itself and its owner (RFC 5280)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from gatepost.model.peer import ClientCertificate

__all__ = ["read_certificate"]


def read_certificate(octets: bytes) -> ClientCertificate | None:
    """Read a certificate that OpenSSL has verified; None if it holds what nobody can read.

    Args:
        octets: its DER form.
    """
    try:
        parsed = x509.load_der_x509_certificate(octets)
        addresses: Sequence[str] = ()
        try:
            general = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            # RFC 5280 §4.2.1.6: rfc822Name is a mailbox, in ASCII.
            addresses = general.get_values_for_type(x509.RFC822Name)
        except x509.ExtensionNotFound:
            pass
        names = [each.value for each in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return ClientCertificate(
            parsed.fingerprint(hashes.SHA256()).hex(),
            parsed.not_valid_before_utc.timestamp(),
            parsed.not_valid_after_utc.timestamp(),
            tuple(addresses),
            tuple(each for each in names if isinstance(each, str)),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return None
