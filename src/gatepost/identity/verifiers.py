"""Verifiers: what a store keeps in place of a secret, made here and checked here; plain functions, slow by design.

    secret      kept                                       serves
    generated   SCRAM-SHA-256 record                       PLAIN, LOGIN, SCRAM-SHA-256
    chosen      argon2id hash                              PLAIN, LOGIN
                SCRAM-SHA-256 record, where it is on       SCRAM-SHA-256
    either      SCRAM-SHA-1 record, where it is on         SCRAM-SHA-1
                SCRAM-SHA-512 record, where it is on       SCRAM-SHA-512
                sealed states of HMAC-MD5, where it is on  CRAM-MD5
    elsewhere   a hash that another program made           PLAIN, LOGIN

What serves a SCRAM serves its -PLUS.  All SCRAM records of an account share salt and iteration count, so one PBKDF2
checks a password against all of one hash function; argon2id is computed once at most.
"""

from __future__ import annotations

import base64
import functools
import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from gatepost.identity.store import (
    ARGON2ID,
    HASH,
    HMAC_MD5,
    MECHANISM_SCHEMES,
    SCRAM_SCHEMES,
    SCRAM_SHA_256,
    Account,
    Credential,
)
from gatepost.model.identity import Secret
from gatepost.sasl import hmac_md5, scram
from gatepost.sasl.prepare import password_forms

__all__ = [
    "OTHERS_TRIED",
    "Argon2",
    "Check",
    "Checkable",
    "argon2id_decoy",
    "check_of",
    "make",
    "matching",
    "stands",
]

OTHERS_TRIED: Final = 4
"""How many hashes of other programs are computed for one password at most."""


@dataclass(frozen=True, slots=True)
class Argon2:
    """Cost of argon2id (RFC 9106 §4)."""

    memory_bytes: int = 19 * 1024 * 1024
    passes: int = 2
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Checkable:
    """One verifier that a password may open, and whose it is."""

    credential: Credential
    verifier: Secret


@dataclass(frozen=True, slots=True)
class Check:
    """What must be computed for one account.

    Args:
        salt: of its SCRAM records.
        iterations: of its SCRAM records.
        scram: SCRAM records to compare with.
        argon2id: at most one hash.
        others: hashes that other programs made, some at most: each is computed for itself.
        opens: for each of all these, whether it would let its bringer in; else it costs as much as what is wrong.
    """

    salt: bytes
    iterations: int
    scram: tuple[Checkable, ...]
    argon2id: tuple[Checkable, ...]
    others: tuple[Checkable, ...] = ()
    opens: tuple[bool, ...] = ()

    @property
    def all(self) -> tuple[Checkable, ...]:
        """Everything, in the order in which `matching` counts."""
        return self.scram + self.argon2id + self.others


def stands(credential: Credential) -> bool:
    """Tell whether it was not revoked, and is no canary."""
    return credential.revoked is None and not credential.is_canary


def check_of(account: Account, admits: Callable[[Credential], bool] = stands) -> Check:
    """Return what it takes to check a password of *account*.

    Gone credentials are checked too, so that the log can say what somebody used.  Of several chosen secrets only one
    can stand; it comes first and is checked by argon2id, the rest by their SCRAM records if they have one.

    Args:
        account: whose password it would be.
        admits: tells whether a credential would let its bringer in; by default those do that stand and are no canaries.
    """
    scram_records: list[Checkable] = []
    argon2id: tuple[Checkable, ...] = ()
    others: tuple[Checkable, ...] = ()
    for credential in account.credentials:
        verifiers = credential.verifiers
        if ARGON2ID in verifiers and not argon2id:
            argon2id = (Checkable(credential, verifiers[ARGON2ID]),)
        elif SCRAM_SHA_256 in verifiers:
            scram_records.append(Checkable(credential, verifiers[SCRAM_SHA_256]))
        elif HASH in verifiers and len(others) < OTHERS_TRIED:
            others += (Checkable(credential, verifiers[HASH]),)
    scram_checked = tuple(scram_records)
    opens = tuple([admits(each.credential) for each in scram_checked + argon2id + others])
    return Check(account.salt, account.iterations, scram_checked, argon2id, others, opens)


def matching(check: Check, password: Secret) -> int | None:
    """Return the place in ``check.all`` that *password*, as it came over the wire, opens; None if it opens nothing.

    Whatever would not let its bringer in costs as much as a password that is wrong: everything is computed.
    """
    found = None
    for form in password_forms(password.reveal()):
        place = _matching(check, form)
        if place is not None and check.opens[place]:
            return place
        found = place if found is None else found
    return found


def _matching(check: Check, password: bytes) -> int | None:
    matches: list[int] = []
    if check.scram:
        stored_key = scram.stored_key(password, check.salt, check.iterations)
        for place, each in enumerate(check.scram):
            record = scram.parse_record(each.verifier.reveal().decode())
            if hmac.compare_digest(record.stored_key, stored_key):
                matches.append(place)
        # The same secret may stand again that was revoked once: what opens counts, and only that spares the rest.
        for place in matches:
            if check.opens[place]:
                return place
    place = len(check.scram)
    for verify, those in ((_verify_argon2id, check.argon2id), (_is_match, check.others)):
        for each in those:
            if verify(password, each.verifier):
                if check.opens[place]:
                    return place
                matches.append(place)
            place += 1
    # For the log, what stands goes before what is gone.
    return min(matches, key=lambda place: check.all[place].credential.revoked is not None, default=None)


def _is_match(password: bytes, verifier: Secret) -> bool:
    from gatepost.identity.hashes import is_match  # reads the C library's functions: not in every worker

    return is_match(password, verifier)


def make(
    secret: Secret,
    *,
    is_chosen: bool,
    mechanisms: Collection[str],
    salt: bytes,
    iterations: int,
    argon2: Argon2,
) -> dict[str, Secret]:
    """Return the verifiers of a new secret, by scheme; the states of HMAC-MD5 are still to be sealed.

    Args:
        secret: prepared already.
        is_chosen: whether a person chose it.
        mechanisms: those it shall work with, of the ones that are on.
        salt: of the account.
        iterations: of the account.
        argon2: cost of argon2id.
    """
    password = secret.reveal()
    verifiers = {}
    if is_chosen and not {"PLAIN", "LOGIN"}.isdisjoint(mechanisms):
        verifiers[ARGON2ID] = Secret(_argon2id(argon2).hash(password).encode())
    wanted = {MECHANISM_SCHEMES[each] for each in mechanisms if each in MECHANISM_SCHEMES}
    if not is_chosen:
        wanted.add(SCRAM_SHA_256)
    for scheme in SCRAM_SCHEMES:
        if scheme in wanted:
            verifiers[scheme] = Secret(scram.derive(password, salt, iterations, scheme).encode())
    if HMAC_MD5 in wanted:
        verifiers[HMAC_MD5] = Secret(hmac_md5.states(password))
    return verifiers


def argon2id_decoy(octets: bytes, argon2: Argon2) -> Secret:
    """Return a hash made of 32 random octets: no password fits, and it takes as long to check as a real one."""
    salt, checksum = (base64.b64encode(part).decode().rstrip("=") for part in (octets[:16], octets))
    cost = f"m={argon2.memory_bytes // 1024},t={argon2.passes},p={argon2.lanes}"
    return Secret(f"$argon2id$v=19${cost}${salt}${checksum}".encode())


@functools.cache
def _argon2id(argon2: Argon2) -> Any:
    scheme: Any = _scheme()
    return scheme.using(
        type="ID", rounds=argon2.passes, memory_cost=argon2.memory_bytes // 1024, parallelism=argon2.lanes
    )


@functools.cache
def _scheme() -> Any:
    from passlib.hash import argon2

    return argon2


def _verify_argon2id(password: bytes, verifier: Secret) -> bool:
    try:
        return bool(_scheme().verify(password, verifier.reveal().decode()))
    except ValueError:  # NUL inside, too long: no password of ours
        return False
