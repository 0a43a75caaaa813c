"""Accounts as the rows of a database have them, and made of these: shared by the stores that keep them in tables."""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatepost.identity.kept_hash import held
from gatepost.identity.store import Account, Credential
from gatepost.model.identity import Secret, SenderPattern, parse_sender_pattern

__all__ = [
    "ACCOUNTS_REMEMBERED",
    "ACCOUNT_COLUMNS",
    "CREDENTIAL_COLUMNS",
    "CREDENTIAL_LIMIT",
    "SCHEMA_VERSION",
    "Obstacle",
    "Withheld",
    "account_of",
    "texts",
]

SCHEMA_VERSION: Final = "0003"
"""The migration whose tables the stores read."""

CREDENTIAL_LIMIT: Final = 64
"""How many credentials of one account are looked at: the ones not revoked, then the newest of the rest."""

ACCOUNTS_REMEMBERED: Final = 1024
"""How many accounts a store remembers, while nothing changes; making them of rows is the dear part of a look-up."""

ACCOUNT_COLUMNS: Final = """a.id, a.login, a.state, a.state_reason, a.senders, a.max_message_bytes, a.max_recipients,
    a.null_sender, a.salt, a.iterations, a.suspended_until"""
"""What `account_of` wants of an account, which a statement calls ``a``."""

CREDENTIAL_COLUMNS: Final = """c.id, c.label, c.mechanisms, c.listeners, c.networks, c.senders, c.expires, c.revoked,
    c.sandbox, c.not_before, c.recipients, c.messages_per_minute, c.is_canary, v.scheme, v.value"""
"""What `account_of` wants of a credential (``c``) and one of its verifiers (``v``)."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A standing credential that keeps a mechanism from being offered where it may come in."""

    account: str
    credential: str
    label: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """A mechanism that is on, but not offered on a listener, and some of what stands in its way."""

    mechanism: str
    listener: str
    obstacles: Sequence[Obstacle]


def account_of(row: Sequence[Any], rows: Sequence[Sequence[Any]], head: bytes) -> Account:
    """Return the account of a row, with the credentials of *rows*, one for each verifier, in their order.

    Args:
        row: with `ACCOUNT_COLUMNS`.
        rows: with `CREDENTIAL_COLUMNS`.
        head: what argon2id hashes of today begin with.

    Raises:
        ValueError: the rows hold what gatepost does not write.
        TypeError: they do.
    """
    verifiers: dict[str, dict[str, Secret]] = {}
    facts: dict[str, Sequence[Any]] = {}
    for each in rows:
        facts[each[0]] = each
        those = verifiers.setdefault(each[0], {})
        if each[13] is not None:
            scheme, verifier = held(each[13], each[14], head)
            those[scheme] = verifier
    return Account(
        login=row[1],
        salt=row[8],
        iterations=row[9],
        is_active=row[2] == "active",
        suspended_until=row[10],
        state_reason=row[3],
        senders=_senders(row[4]),
        max_message_bytes=row[5],
        max_recipients=row[6],
        null_sender=None if row[7] is None else bool(row[7]),
        credentials=tuple(
            Credential(
                id=fact[0],
                label=fact[1],
                verifiers=verifiers[fact[0]],
                mechanisms=texts(fact[2]),
                listeners=texts(fact[3]),
                networks=_networks(fact[4]),
                senders=_senders(fact[5]),
                expires=fact[6],
                revoked=fact[7],
                sandbox=bool(fact[8]),
                not_before=fact[9],
                recipients=_senders(fact[10]),
                messages_per_minute=fact[11],
                is_canary=bool(fact[12]),
            )
            for fact in facts.values()
        ),
    )


@functools.lru_cache(maxsize=1024)
def texts(text: str) -> frozenset[str]:
    """Return the members of a list, as a column holds it."""
    return frozenset(json.loads(text))


@functools.lru_cache(maxsize=1024)
def _senders(text: str) -> tuple[SenderPattern, ...]:
    return tuple(parse_sender_pattern(each) for each in json.loads(text))


@functools.lru_cache(maxsize=1024)
def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(each) for each in json.loads(text))
