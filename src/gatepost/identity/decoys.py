"""What somebody is shown who asks for a name that does not exist: stable, and of the same shape as the real thing.

All of it follows from the name and a key of the node, so it is the same tomorrow, after a restart, and on every node
with that key.  Real accounts take their salt from here too: when an account is made or removed, the salt that the
world sees for its name stays as it was.
"""

from __future__ import annotations

import collections
import dataclasses
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
from gatepost.identity.verifiers import OTHERS_TRIED, Argon2, Check, argon2id_decoy, check_of
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
        return self._record(account, scheme) if scheme in SCRAM_SCHEMES else None

    def pad(self, account: Account, work: Mapping[Work, int], argon2: Argon2) -> Account:
        """Return *account* with a decoy for each hash that others take and it does not.

        So a password that opens nothing costs the same for every name, whoever has it.

        Args:
            account: one that exists, or a decoy.
            work: how many accounts take which work; with none, what a new credential would take.
            argon2: cost of argon2id.
        """
        check, name = check_of(account), account.login
        kinds = work or {Work(pbkdf2=True): 1}
        decoys = []
        if not check.scram and any(each.pbkdf2 for each in kinds):
            decoys.append((SCRAM_SHA_256, self._record(account, SCRAM_SHA_256)))
        if not check.argon2id and any(each.argon2 for each in kinds):
            decoys.append((ARGON2ID, argon2id_decoy(self._octets("argon2id", name), argon2)))
        if any(each.other for each in kinds):
            decoys += [(HASH, Secret(each.encode())) for each in _others(kinds, check)]
        credentials = tuple([Credential(DECOY, verifiers={scheme: verifier}) for scheme, verifier in decoys])
        return dataclasses.replace(account, credentials=account.credentials + credentials) if decoys else account

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

    def _record(self, account: Account, scheme: str) -> Secret:
        uses = ("stored-key", "server-key")
        stored, server = (self._long_octets(f"{use} {scheme}", account.login) for use in uses)
        size = key_size(scheme)
        return Secret(str(Record(scheme, account.salt, account.iterations, stored[:size], server[:size])).encode())

    def _long_octets(self, use: str, name: str) -> bytes:
        return hmac.digest(self._key, f"{use}\0{name}".encode(), "sha512")

    def _octets(self, use: str, name: str) -> bytes:
        return hmac.digest(self._key, f"{use}\0{name}".encode(), "sha256")


def _others(work: Mapping[Work, int], check: Check) -> list[str]:
    """Return the likes of what other programs made, those that most accounts take, without what is computed anyway."""
    from gatepost.identity.hashes import parse_hash  # not in every worker

    count: collections.Counter[str] = collections.Counter()
    for each, number in work.items():
        if each.other:
            count[each.other] += number
    common = sorted(count, key=lambda kind: (-count[kind], kind))[:OTHERS_TRIED]
    taken = {parse_hash(each.verifier.reveal().decode()).likeness for each in check.others}
    return [each for each in common if each not in taken]
