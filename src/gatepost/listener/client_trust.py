"""TLS of a listener that asks clients for a certificate: who is trusted for them, and that nobody slips past the look.

A resumed session shows no certificate: OpenSSL would take the one of the ticket for good, whatever has been revoked or
withdrawn meanwhile.  So each connection begins in a context of its own, which knows no tickets and dies with it, and is
put into the one that trusts and shows what counts now (RFC 8446 §4.6.1 leaves it to the server to send tickets).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gatepost.errors import ConfigError
from gatepost.listener.memory_file import memory_file

__all__ = ["SIZE_LIMIT", "ClientTrust", "front_context", "load_trust", "read_trust"]

SIZE_LIMIT: Final = 1 << 20
"""How large a file of authorities, or of what they revoked, may be."""

_FLAGS: Final = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN


@dataclass(frozen=True, slots=True, repr=False)
class ClientTrust:
    """Whose client certificates are taken, as it was read.

    Args:
        name: the files, for messages.
        authorities: certificates, as PEM; one that made none stands for itself.
        revoked: lists of revoked certificates (CRL), as PEM; None if nobody looks.
    """

    name: str
    authorities: bytes
    revoked: bytes | None = None


class _Fronted(ssl.SSLObject):
    """A connection that keeps the context alive in which it began: OpenSSL may ask it again within the handshake."""

    front: ssl.SSLContext


def read_trust(authorities: Path, revoked: Path | None = None) -> ClientTrust:
    """Read the files.

    Raises:
        ConfigError: one cannot be read.
    """
    name = f"{authorities}" + (f" and {revoked}" if revoked else "")
    try:
        trust = ClientTrust(name, _read(authorities), _read(revoked) if revoked else None)
    except OSError as error:
        raise _unusable(name, error) from None
    if max(len(trust.authorities), len(trust.revoked or b"")) > SIZE_LIMIT:
        raise ConfigError(f"listener.client_ca: {name} is larger than {SIZE_LIMIT >> 20} MiB; keep what is needed")
    return trust


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SIZE_LIMIT + 1)


def load_trust(context: ssl.SSLContext, trust: ClientTrust) -> None:
    """Let *context* verify client certificates by *trust*.

    Raises:
        ConfigError: it cannot be used.
    """
    _load(context, trust.authorities, trust.name)
    authorities = context.cert_store_stats()["x509"]
    if not authorities:
        raise ConfigError(f"listener.client_ca: {trust.name} holds no certificate; give some as PEM")
    if trust.revoked is not None:
        _load(context, trust.revoked, trust.name)
        # OpenSSL trusts whatever certificate it is given, also beside a CRL.
        if context.cert_store_stats()["x509"] != authorities:
            raise ConfigError(
                f"listener.client_crl: {trust.name}: beside the CRLs stands a certificate that client_ca has not; "
                "remove it, or put it there if its clients are to be trusted"
            )


def _load(context: ssl.SSLContext, octets: bytes, name: str) -> None:
    try:
        with memory_file(octets) as path:
            context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise _unusable(name, error) from None


def front_context(trust: ClientTrust, settings: ssl.SSLContext, choose: Any) -> ssl.SSLContext:
    """Return a context for one connection, in which it begins.

    Args:
        trust: says what is looked at.
        settings: versions and options are taken from it.
        choose: puts the connection into the context that counts, as a callback for SNI.
    """
    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    front.minimum_version = settings.minimum_version
    front.options = settings.options | ssl.OP_NO_TICKET
    front.num_tickets = 0
    front.verify_mode = ssl.CERT_OPTIONAL
    front.verify_flags = _FLAGS if trust.revoked is None else _FLAGS | ssl.VERIFY_CRL_CHECK_LEAF
    front.sni_callback = choose
    front.sslobject_class = _Fronted
    return front


def _unusable(name: str, error: Exception) -> ConfigError:
    return ConfigError(f"listener.client_ca: {name} cannot be used: {error}; give certificates, and CRLs, as PEM")
