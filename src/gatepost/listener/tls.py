"""TLS contexts of the listeners, and what is loaded into them (RFC 8314, RFC 8996, RFC 9325).

A context lives as long as the server, so that the tickets it gave out hold; a new certificate is loaded into it.  A
load that fails leaves a context that fails every handshake: so each pair is tried first, in a context that is thrown
away, and the very octets that were tried are loaded.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography import x509

from gatepost.errors import ConfigError

__all__ = ["KeyPair", "ListenerContext", "TlsVersion", "load_pair", "read_pair", "server_context"]

TlsVersion = Literal["TLSv1.2", "TLSv1.3"]

# RFC 9325 §4.2: forward secrecy and authenticated encryption, for the versions that leave a choice.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """A certificate and its key, as they were read.

    Args:
        name: the files, for messages.
        certificate: the chain, as PEM.
        key: the private key, as PEM; it stands in *certificate* if None.
    """

    name: str
    certificate: bytes
    key: bytes | None


class ListenerContext(ssl.SSLContext):
    """A context that remembers what was loaded.

    Attributes:
        expires: when its certificate ends, in seconds since the epoch; None if that is not known.
    """

    expires: float | None = None


def read_pair(certificate: Path, key: Path | None = None) -> KeyPair:
    """Read a certificate and its key.

    Raises:
        ConfigError: a file cannot be read.
    """
    name = f"{certificate}" + (f" and {key}" if key else "")
    try:
        return KeyPair(name, certificate.read_bytes(), key.read_bytes() if key else None)
    except OSError as error:
        raise _unusable(name, error) from None


def server_context(pair: KeyPair, *, minimum_version: TlsVersion = "TLSv1.2") -> ssl.SSLContext:
    """Make the context of a listener.

    Args:
        pair: certificate and key.
        minimum_version: the oldest version that is taken.

    Raises:
        ConfigError: they cannot be used, or do not fit each other.
    """
    context = ListenerContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8996 §4, RFC 8997 §3: nothing below TLS 1.2.
    context.minimum_version = _VERSIONS[minimum_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1
    _load(context, pair)
    return context


def load_pair(context: ssl.SSLContext, pair: KeyPair, *, minimum_version: TlsVersion = "TLSv1.2") -> None:
    """Let a living context go on with *pair*; connections that stand keep what they have.

    Raises:
        ConfigError: it cannot be used; the context is as it was.
    """
    server_context(pair, minimum_version=minimum_version)
    _load(context, pair)
    context.minimum_version = _VERSIONS[minimum_version]


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    try:
        with contextlib.ExitStack() as files:
            certificate = files.enter_context(_in_memory(pair.certificate))
            key = None if pair.key is None else files.enter_context(_in_memory(pair.key))
            context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise _unusable(pair.name, error) from None
    if isinstance(context, ListenerContext):
        context.expires = _end_of(pair.certificate)


@contextlib.contextmanager
def _in_memory(octets: bytes) -> Iterator[str]:
    """Give *octets* a path: OpenSSL's loader takes nothing else, and the file may have changed since."""
    descriptor = os.memfd_create("gatepost-tls", os.MFD_CLOEXEC)
    try:
        view = memoryview(octets)
        while view:
            view = view[os.write(descriptor, view) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _end_of(pem: bytes) -> float | None:
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except ValueError:
        return None  # OpenSSL takes more than others do


def _unusable(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"tls.certificate: {name} cannot be used: {error}; give a PEM chain and its key, without a passphrase"
    )


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase")
