"""Keys of DKIM: make, read and write them, and say what stands of them in the DNS (RFC 6376 §3.6.1, RFC 8463 §4)."""

from __future__ import annotations

import base64
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from gatepost.errors import Malformed
from gatepost.message.dkim import SigningKey
from gatepost.model.identity import Secret

__all__ = [
    "ALGORITHMS",
    "PrivateKey",
    "kind_of",
    "make_key",
    "read_key",
    "record",
    "signing_key",
    "strings",
    "write_key",
]

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

ALGORITHMS: Final = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}
"""Kinds of keys, as in `k=`, and what is signed with them, as in `a=`."""

_RSA_BITS: Final = 2048
_LEAST_BITS, _MOST_BITS = 1024, 4096
_STRING: Final = 255

_PADDING, _PREHASHED = padding.PKCS1v15(), Prehashed(SHA256())


def make_key(kind: str) -> PrivateKey:
    """Make a private key: `rsa` of 2048 bits, or `ed25519`."""
    # RFC 8301 §3.2: signers should use 2048 bits at least; what is longer fits some resolvers badly.
    if kind == "rsa":
        return rsa.generate_private_key(65537, _RSA_BITS)
    return ed25519.Ed25519PrivateKey.generate()


def read_key(pem: Secret) -> PrivateKey:
    """Read a private key in PEM.

    Raises:
        Malformed: it is none, needs a passphrase, is of another kind, or is too short or long; nothing of it is told.
    """
    try:
        key = serialization.load_pem_private_key(pem.reveal(), None)
    except TypeError:
        raise Malformed("the private key has a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("is no private key in PEM") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Malformed("is a private key of another kind than RSA and Ed25519")
    # RFC 8301 §3.2: keys shorter than 1024 bits must not be used; verifiers need not take more than 4096.
    if not _LEAST_BITS <= key.key_size <= _MOST_BITS:
        raise Malformed(f"is an RSA key of {key.key_size} bits; verifiers take {_LEAST_BITS} to {_MOST_BITS}")
    return key


def kind_of(key: PrivateKey) -> str:
    """Return `rsa` or `ed25519`."""
    return "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ed25519"


def write_key(key: PrivateKey) -> Secret:
    """Write a private key as PEM."""
    return Secret(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def signing_key(domain: str, selector: str, key: PrivateKey) -> SigningKey:
    """Return what signs with *key*."""
    if isinstance(key, rsa.RSAPrivateKey):
        rsa_key = key
        return SigningKey(
            domain, selector, ALGORITHMS["rsa"], lambda digest: rsa_key.sign(digest, _PADDING, _PREHASHED)
        )
    return SigningKey(domain, selector, ALGORITHMS["ed25519"], key.sign)


def record(key: PrivateKey) -> str:
    """Return the text of the TXT record at ``SELECTOR._domainkey.DOMAIN``."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        octets = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode('ascii')}"
    # RFC 8463 §4.2: the public key as it is, without ASN.1.
    octets = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(octets).decode('ascii')}"


def strings(text: str) -> list[str]:
    """Divide the text of a TXT record: each of its strings has 255 octets at most (RFC 1035 §3.3.14)."""
    return [text[start : start + _STRING] for start in range(0, len(text), _STRING)]
