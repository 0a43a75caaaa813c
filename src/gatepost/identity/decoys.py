"""What somebody is shown who asks for a name that does not exist: stable, and of the same shape as the real thing.

All of it follows from the name and a key of the node, so it is the same tomorrow, after a restart, and on every node
with that key.  Real accounts take their salt from here too: when an account is made or removed, the salt that the
world sees for its name stays as it was.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from gatepost.identity.store import (
    ARGON2ID,
    HASH,
    HMAC_MD5,
    SCRAM_SCHEMES,
    SCRAM_SHA_256,
    Account,
    Credential,
    Work,
)
from gatepost.identity.verifiers import Argon2, argon2id_decoy
from gatepost.model.identity import Secret
from gatepost.sasl.scram import Record, key_size
from gatepost.state.keys import Keys

__all__ = ["DECOY", "SALT_BYTES", "Decoys"]

T = TypeVar("T")

DECOY: Final = ""
"""Id of every decoy: no real credential has it."""

SALT_BYTES: Final = 16
"""Length of every salt of SCRAM."""


class Decoys:
    """Makes decoys with a key of the node."""

    def __init__(self, keys: Keys) -> None:
        self._key = keys.derive("decoys")

    def salt(self, name: str) -> bytes:
        """Return the salt of a prepared name: of a real account and of a decoy alike."""
        return self._octets("scram-salt", name)[:SALT_BYTES]

    def account(self, name: str, iterations: int) -> Account:
        """Return what stands in for an account that does not exist, without credentials."""
        return Account(name, self.salt(name), iterations)

    def fetched(self, account: Account, scheme: str) -> Secret | None:
        """Return a verifier that nothing opens, as a mechanism would fetch it; None for a scheme that has none."""
        name = account.login
        if scheme == HMAC_MD5:
            return Secret(self._octets("hmac-md5", name))
        if scheme not in SCRAM_SCHEMES:
            return None
        stored, server = (self._long_octets(f"{use} {scheme}", name) for use in ("stored-key", "server-key"))
        size = key_size(scheme)
        return Secret(str(Record(scheme, account.salt, account.iterations, stored[:size], server[:size])).encode())

    def credential(self, account: Account, work: Work, argon2: Argon2) -> Credential:
        """Return a credential that no password opens, and that takes *work* to find that out."""
        verifiers: dict[str, Secret] = {}
        if work.argon2:
            verifiers[ARGON2ID] = argon2id_decoy(self._octets("argon2id", account.login), argon2)
        elif work.other:
            verifiers[HASH] = Secret(work.other.encode())
        scram = self.fetched(account, SCRAM_SHA_256)
        if work.pbkdf2 and scram is not None:
            verifiers[SCRAM_SHA_256] = scram
        return Credential(DECOY, verifiers=verifiers)

    def draw(self, use: str, name: str, weights: Mapping[T, int], default: T) -> T:
        """Return one of the keys of *weights* for *name*, as often over all names as the weights say.

        While the weights move from one key to another, each name changes once at most.
        """
        place = int.from_bytes(self._octets(use, name)[:8], "big") * sum(weights.values()) >> 64
        ordered: Any = sorted(weights.items())
        for key, weight in ordered:
            place -= weight
            if place < 0:
                found: T = key
                return found
        return default

    def _long_octets(self, use: str, name: str) -> bytes:
        return hmac.digest(self._key, f"{use}\0{name}".encode(), "sha512")

    def _octets(self, use: str, name: str) -> bytes:
        return hmac.digest(self._key, f"{use}\0{name}".encode(), "sha256")
