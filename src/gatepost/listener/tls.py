"""TLS contexts of the listeners (RFC 8314, RFC 8996, RFC 9325)."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, Literal

from gatepost.errors import ConfigError

__all__ = ["server_context"]

# RFC 9325 §4.2: forward secrecy and authenticated encryption, for the versions that leave a choice.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def server_context(
    certificate: Path, key: Path | None = None, *, minimum_version: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
) -> ssl.SSLContext:
    """Make the context of a listener.

    Args:
        certificate: PEM file with the certificate and its chain.
        key: PEM file with the private key; that of the certificate if None.
        minimum_version: the oldest version that is taken.

    Raises:
        ConfigError: the files cannot be read, or do not fit each other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8996 §4, RFC 8997 §3: nothing below TLS 1.2.
    context.minimum_version = _VERSIONS[minimum_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ssl.SSLError, ValueError) as error:
        files = f"{certificate}" + (f" and {key}" if key else "")
        raise ConfigError(
            f"tls.certificate: {files} cannot be used: {error}; give a PEM chain and its key, without a passphrase"
        ) from None
    return context


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase")
