"""What a mechanism is: a name, a way to start an exchange, and what it needs of stores and connection."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from gatepost.sasl.steps import Exchange, Outcome

__all__ = ["Context", "Mechanism", "Needs"]


class Needs(enum.Enum):
    """What a mechanism asks of the stores: the value is the scheme of its verifiers, where it has its own."""

    CHECK_PASSWORD = "check-password"  # noqa: S105 - the name of a need
    SCRAM_SHA_1 = "SCRAM-SHA-1"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    HMAC_MD5 = "HMAC-MD5"
    TOKEN = "token"  # noqa: S105 - the name of a need
    CERTIFICATE = "certificate"
    NAME = "name"  # no more than whose it is: the proof is judged elsewhere

    @property
    def is_verifier(self) -> bool:
        """Whether it is a verifier of its own."""
        return self not in _NO_VERIFIER


_NO_VERIFIER: Final = frozenset({Needs.CHECK_PASSWORD, Needs.TOKEN, Needs.CERTIFICATE, Needs.NAME})


@dataclass(frozen=True, slots=True)
class Context:
    """What an exchange is given.

    Args:
        hostname: our name, as in the greeting.
        nonce: makes a fresh random text each time: printable ASCII without ``,``, ``<``, ``>`` and ``@``, at least
            128 bits strong.
        offered: names of the mechanisms that the client was offered.
        bindings: what a mechanism may bind to of the connection: type of channel binding and its data (RFC 5056).
        time: what time it is, in seconds since the epoch.
    """

    hostname: str
    nonce: Callable[[], str]
    offered: Collection[str] = ()
    bindings: Mapping[str, bytes] = field(default_factory=dict)
    time: int = 0


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One SASL mechanism, server side.

    Args:
        name: as registered with IANA, upper case.
        exchange: makes the conversation from the initial response (None when absent, ``b""`` when it was ``=``).
        needs: what the stores must have.
        binds: whether it binds the login to the TLS connection, and so works only where that can be done.
    """

    name: str
    exchange: Callable[[bytes | None, Context], Exchange[Outcome]]
    needs: Needs
    binds: bool = False

    def start(self, initial: bytes | None, context: Context) -> Exchange[Outcome]:
        """Start an exchange."""
        return self.exchange(initial, context)
