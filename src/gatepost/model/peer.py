"""Who is on the line: the facts about one connection that policy, log and trace need."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClientCertificate", "Peer", "TlsFacts", "plain_address"]


def plain_address(address: str) -> str:
    """Return an address as people know it: a socket of both families shows an IPv4 client as ``::ffff:192.0.2.1``."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that the client showed, and that one of the listener's authorities made.

    Args:
        fingerprint: SHA-256 of its DER form, in 64 lower-case hexadecimal digits.
        not_before: when it begins, in seconds since the epoch.
        not_after: when it ends, in seconds since the epoch.
        addresses: the mail addresses in its subjectAltName (rfc822Name), as they stand there.
        common_names: those in its subject.
    """

    fingerprint: str
    not_before: float
    not_after: float
    addresses: tuple[str, ...] = ()
    common_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What was agreed in the handshake.

    Args:
        version: such as ``TLSv1.3``.
        cipher: such as ``TLS_AES_256_GCM_SHA384``.
        bits: secret bits of the cipher.
        server_name: name the client asked for (SNI), if any.
        certificate: of the client; None if it showed none, or was not asked for any.
    """

    version: str
    cipher: str
    bits: int
    server_name: str | None = None
    certificate: ClientCertificate | None = None

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a socket.

    Args:
        address: IP address as text, without brackets or port.
        port: its TCP port.
        listener: name of the listener it came in by.
        tls: facts of the TLS session, None while in clear.
    """

    address: str
    port: int
    listener: str
    tls: TlsFacts | None = None

    @property
    def certificate(self) -> ClientCertificate | None:
        """The certificate that the client showed."""
        return self.tls.certificate if self.tls is not None else None
