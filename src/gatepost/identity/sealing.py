"""Seal what is as good as a secret, so that a stolen database alone does not give it away (AES-256-GCM).

A sealed value is bound to its place: moved to another credential or scheme it does not open.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatepost.errors import StoreUnavailable
from gatepost.model.identity import Secret
from gatepost.state.keys import Keys

__all__ = ["Sealer"]

_NONCE_BYTES: Final = 12


class Sealer:
    """Seals and opens verifiers with a key of the node."""

    def __init__(self, keys: Keys) -> None:
        self._cipher = AESGCM(keys.derive("sealing"))

    def seal(self, credential: str, scheme: str, value: Secret) -> bytes:
        """Return *value* sealed, for this credential and scheme only."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.reveal(), _place(credential, scheme))

    def open(self, credential: str, scheme: str, sealed: Secret) -> Secret:
        """Return what was sealed.

        Raises:
            StoreUnavailable: it was not sealed for this place with this key.
        """
        octets = sealed.reveal()
        try:
            nonce, text = octets[:_NONCE_BYTES], octets[_NONCE_BYTES:]
            return Secret(self._cipher.decrypt(nonce, text, _place(credential, scheme)))
        except (InvalidTag, ValueError):
            raise StoreUnavailable(
                f"the {scheme} verifier of credential {credential} was sealed with another key: is secret_key_file the "
                "one that belongs to this database?"
            ) from None


def _place(credential: str, scheme: str) -> bytes:
    return f"{scheme}\0{credential}".encode()
