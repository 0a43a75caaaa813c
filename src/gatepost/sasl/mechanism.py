"""What a mechanism is: a name, a way to start an exchange, and what it needs of stores and connection."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from gatepost.sasl.steps import Exchange, Outcome

__all__ = ["Context", "Mechanism", "Needs"]


class Needs(enum.Enum):
    """What a mechanism asks of the stores; from it follows whether it can be offered."""

    CHECK_PASSWORD = "check-password"  # noqa: S105 - the name of a need
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    HMAC_MD5 = "HMAC-MD5"
    TOKEN = "token"  # noqa: S105 - the name of a need


@dataclass(frozen=True, slots=True)
class Context:
    """What an exchange is given.

    Args:
        hostname: our name, as in the greeting.
        nonce: makes a fresh random text each time: printable ASCII without ``,``, ``<``, ``>`` and ``@``, at least
            128 bits strong.
    """

    hostname: str
    nonce: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One SASL mechanism, server side.

    Args:
        name: as registered with IANA, upper case.
        exchange: makes the conversation from the initial response (None when absent, ``b""`` when it was ``=``).
        needs: what the stores must have.
    """

    name: str
    exchange: Callable[[bytes | None, Context], Exchange[Outcome]]
    needs: Needs

    def start(self, initial: bytes | None, context: Context) -> Exchange[Outcome]:
        """Start an exchange."""
        return self.exchange(initial, context)
