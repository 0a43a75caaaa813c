"""What a credential store is, and what it knows of an account: values that the authority judges.

A store hands over verifiers and facts; it decides nothing.  Who may log in is the business of
`gatepost.identity.admission` and `gatepost.identity.authority`, so that every store gives the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, NamedTuple, Protocol, runtime_checkable

from gatepost.model.identity import Identity, Secret, SenderPattern
from gatepost.model.peer import Peer
from gatepost.sasl.registry import MECHANISMS

__all__ = [
    "ARGON2ID",
    "CERTIFICATE",
    "HASH",
    "HMAC_MD5",
    "MECHANISM_SCHEMES",
    "SCRAM_SCHEMES",
    "SCRAM_SHA_1",
    "SCRAM_SHA_256",
    "SCRAM_SHA_512",
    "Account",
    "CertificateStore",
    "Checked",
    "Credential",
    "PasswordStore",
    "Store",
    "Survey",
    "Work",
    "certificate_id",
]

SCRAM_SHA_1: Final = "SCRAM-SHA-1"
"""Scheme of a verifier: the record of RFC 5803, as ASCII."""
SCRAM_SHA_256: Final = "SCRAM-SHA-256"
"""Scheme of a verifier: the record of RFC 5803, as ASCII; serves PLAIN and LOGIN too."""
SCRAM_SHA_512: Final = "SCRAM-SHA-512"
"""Scheme of a verifier: the record of RFC 5803, as ASCII."""
ARGON2ID: Final = "ARGON2ID"
"""Scheme of a verifier: an argon2id hash in its usual text form; serves PLAIN and LOGIN."""
HASH: Final = "HASH"
"""Scheme of a verifier: a hash that another program made (`gatepost.identity.hashes`); serves PLAIN and LOGIN."""
HMAC_MD5: Final = "HMAC-MD5"
"""Scheme of a verifier: the two inner states of HMAC-MD5, sealed (`gatepost.identity.sealing`); serves CRAM-MD5."""
CERTIFICATE: Final = "CERTIFICATE"
"""Scheme of a verifier: the SHA-256 fingerprint of a client certificate, in lower-case digits; serves EXTERNAL."""

SCRAM_SCHEMES: Final = (SCRAM_SHA_1, SCRAM_SHA_256, SCRAM_SHA_512)
"""All records of SCRAM."""

MECHANISM_SCHEMES: Final = {each.name: each.needs.value for each in MECHANISMS.values() if each.needs.is_verifier}
"""The mechanisms that need a verifier of their own, by name, and its scheme."""


def certificate_id(fingerprint: str) -> str:
    """Return the id of the credential that is the certificate with that *fingerprint*: it can be one only."""
    return fingerprint[:12]


@dataclass(frozen=True, slots=True)
class Credential:
    """One way to log in to an account.

    Args:
        id: unique in the store.
        label: what its owner calls it.
        verifiers: by scheme, as stored.
        mechanisms: the only ones it may be used with; empty is all.
        listeners: the only ones it may come in by; empty is all.
        networks: the only ones it may come from; empty is all.
        senders: what it narrows the account's senders to; empty is no narrowing.
        recipients: whom it may write to; empty is everybody.
        messages_per_minute: how many messages it may send in a minute, or None for as many as the account.
        not_before: when it begins, in seconds since the epoch; None is at once.
        expires: when it ends, in seconds since the epoch; None is never.
        revoked: when it was revoked; None is not.
        sandbox: whether its mail goes to the sandbox only.
        is_canary: whether it is a trap: it lets nobody in, and whoever brings it gave themselves away.
    """

    id: str
    label: str = ""
    verifiers: Mapping[str, Secret] = field(default_factory=dict)
    mechanisms: frozenset[str] = frozenset()
    listeners: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    senders: tuple[SenderPattern, ...] = ()
    recipients: tuple[SenderPattern, ...] = ()
    messages_per_minute: int | None = None
    not_before: float | None = None
    expires: float | None = None
    revoked: float | None = None
    sandbox: bool = False
    is_canary: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """One login name, and all that belongs to it.

    Args:
        login: prepared name.
        salt: of all its SCRAM records.
        iterations: of all its SCRAM records.
        is_active: whether it may log in at all.
        suspended_until: until when it may not, in seconds since the epoch; None is no suspension.
        state_reason: why not, if not.
        senders: whom it may write as.
        max_message_bytes: its own limit, or None for the server's.
        max_recipients: its own limit a message, or None for the server's.
        null_sender: whether it may use the null reverse-path; None leaves it to the policy.
        credentials: those that are not revoked first.
    """

    login: str
    salt: bytes
    iterations: int
    is_active: bool = True
    suspended_until: float | None = None
    state_reason: str = ""
    senders: tuple[SenderPattern, ...] = ()
    max_message_bytes: int | None = None
    max_recipients: int | None = None
    null_sender: bool | None = None
    credentials: tuple[Credential, ...] = ()

    @property
    def bait(self) -> Credential | None:
        """A canary of an account that holds nothing else: nobody has a reason to try such a name at all."""
        found = None
        for each in self.credentials:
            if each.revoked is None:
                if not each.is_canary:
                    return None
                found = found or each
        return found

    def identity(self, credential: Credential) -> Identity:
        """Return who is logged in when *credential* was used."""
        return Identity(
            account=self.login,
            credential=credential.id,
            label=credential.label,
            senders=self.senders,
            only_senders=credential.senders,
            only_recipients=credential.recipients,
            messages_per_minute=credential.messages_per_minute,
            max_message_bytes=self.max_message_bytes,
            max_recipients=self.max_recipients,
            null_sender=self.null_sender,
            sandbox=credential.sandbox,
        )


@dataclass(frozen=True, slots=True, order=True)
class Work:
    """What it takes to check a password of an account: each hash is computed once, or not at all.

    Args:
        pbkdf2: that of SCRAM.
        argon2: argon2id with our own parameters.
        other: the like of a hash that another program made; empty for none.
    """

    pbkdf2: bool = False
    argon2: bool = False
    other: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a store holds on the whole: enough to know what can be offered, and what decoys must look like.

    Args:
        lacking: for each scheme, the listeners of the standing credentials that have no such verifier: each set once,
            an empty set for credentials that may come in by every listener.
        iterations: how many accounts have which SCRAM iteration count.
        work: how many accounts take which work.
        next_expiry: when the next credential expires, if one does.
    """

    lacking: Mapping[str, frozenset[frozenset[str]]] = field(default_factory=dict)
    iterations: Mapping[int, int] = field(default_factory=dict)
    work: Mapping[Work, int] = field(default_factory=dict)
    next_expiry: float | None = None


class Store(Protocol):
    """Where accounts are kept.  Every method raises `StoreUnavailable` when it cannot be asked."""

    name: str

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name, as it is now."""
        ...

    async def has_changed(self) -> bool:
        """Tell whether anything may have changed since the last `survey`; quick enough to be asked each second."""
        ...

    async def survey(self, now: float) -> Survey:
        """Look at all accounts."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class Checked(NamedTuple):
    """Whose a name is, and which of their credentials a password opened; None if it opened none."""

    account: Account
    credential: Credential | None


@runtime_checkable
class PasswordStore(Store, Protocol):
    """A store that gives no verifiers away, and checks passwords itself."""

    async def check(self, login: str, password: Secret, peer: Peer | None = None) -> Checked | None:
        """Check the password, as it came over the wire, of a prepared name; None if nobody has that name.

        Args:
            login: the name.
            password: what *peer* brought.
            peer: who asks.
        """
        ...


@runtime_checkable
class CertificateStore(Store, Protocol):
    """A store that knows credentials which are client certificates."""

    async def holder(self, fingerprint: str) -> str | None:
        """Return the login that a certificate belongs to, revoked or not; None if it is nobody's."""
        ...
