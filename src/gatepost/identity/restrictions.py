"""What a credential may be used for, as it is asked for, and as the columns of the accounts database hold it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatepost.identity.accounts import AccountProblem, pattern_texts, sender_texts
from gatepost.identity.verifiers import Argon2

__all__ = ["Restrictions", "Rules", "restriction_values"]


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a credential may be used for; nothing given is no restriction.

    Args:
        mechanisms: the only SASL mechanisms.
        listeners: the only listeners, by name.
        networks: the only networks, as CIDR or single addresses.
        senders: what it narrows the account's senders to.
        recipients: the only ones it may write to.
        messages_per_minute: how many messages it may send in a minute.
        not_before: when it begins, in seconds since the epoch.
        expires: when it ends, in seconds since the epoch.
        sandbox: whether its mail goes to the sandbox only.
    """

    mechanisms: Sequence[str] = ()
    listeners: Sequence[str] = ()
    networks: Sequence[str] = ()
    senders: Sequence[str] = ()
    recipients: Sequence[str] = ()
    messages_per_minute: int | None = None
    not_before: float | None = None
    expires: float | None = None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What the server is set to.

    Args:
        mechanisms: those that are on; they say which verifiers a new credential gets.
        listeners: the mechanisms of each listener, by its name.
        argon2: cost of hashing a chosen secret.
    """

    mechanisms: Collection[str]
    listeners: Mapping[str, Collection[str]] = field(default_factory=dict)
    argon2: Argon2 = field(default_factory=Argon2)


def restriction_values(
    restrictions: Restrictions, rules: Rules, now: float, *, has_certificate: bool = False
) -> dict[str, Any]:
    """Return the columns of *restrictions*.

    Args:
        restrictions: as they are asked for.
        rules: what the server is set to.
        now: seconds since the epoch.
        has_certificate: whether the credential is a certificate, and so for EXTERNAL.

    Raises:
        AccountProblem: one of them cannot be.
    """
    if has_certificate and "EXTERNAL" not in rules.mechanisms:
        raise AccountProblem("EXTERNAL: is not switched on; add it to mechanisms in [auth] first")
    for mechanism in restrictions.mechanisms:
        if mechanism == "EXTERNAL" and not has_certificate:
            raise AccountProblem("EXTERNAL: takes no secret; add a credential with --certificate")
        if mechanism in {"OAUTHBEARER", "XOAUTH2"}:
            raise AccountProblem(f"{mechanism}: needs no credential; the account is enough, and a token of an issuer")
        if mechanism not in rules.mechanisms:
            raise AccountProblem(f"{mechanism}: is not switched on; add it to mechanisms in [auth] first")
    for listener in restrictions.listeners:
        if listener not in rules.listeners:
            raise AccountProblem(f"{listener}: no such listener; there are {', '.join(rules.listeners)}")
    if restrictions.expires is not None and restrictions.expires <= now:
        raise AccountProblem("the time of expiry is over already; give one to come")
    begin, end = restrictions.not_before, restrictions.expires
    if begin is not None and end is not None and begin >= end:
        raise AccountProblem("it would end before it begins; give an expiry after not-before")
    return {
        "mechanisms": sorted(set(restrictions.mechanisms)),
        "listeners": sorted(set(restrictions.listeners)),
        "networks": _networks(restrictions.networks),
        "senders": sender_texts(restrictions.senders),
        "recipients": pattern_texts(restrictions.recipients, "recipient"),
        "messages_per_minute": restrictions.messages_per_minute,
        "not_before": restrictions.not_before,
        "expires": restrictions.expires,
        "sandbox": restrictions.sandbox,
    }


def _networks(texts: Sequence[str]) -> list[str]:
    networks = []
    for text in texts:
        try:
            networks.append(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise AccountProblem(f"{text}: cannot be a network: {error}; write 192.0.2.0/24 or 2001:db8::/32") from None
    return list(dict.fromkeys(networks))
