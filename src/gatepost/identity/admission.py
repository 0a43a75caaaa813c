"""Whether a proven credential may be used here, now, this way: asked after the proof, never before (RFC 4954 §4).

The answer is a reason for the log; the client hears the same reply for all of them.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from gatepost.identity.certificates import is_certificate
from gatepost.identity.store import Account, Credential
from gatepost.model.peer import Peer

__all__ = ["CANARY", "why_not", "why_not_account", "why_not_credential"]

CANARY: Final = "canary credential"
"""Why a canary is refused, whatever else may be said of it."""


def why_not(account: Account, credential: Credential, peer: Peer, mechanism: str, now: float) -> str:
    """Return why *credential* of *account* may not be used by *peer* with *mechanism*; empty if it may."""
    if credential.is_canary and credential.revoked is None:
        return CANARY
    return (
        why_not_account(account, now)
        or why_not_credential(credential, peer, mechanism, now)
        or (_why_not_certificate(peer, now) if is_certificate(credential) else "")
    )


def why_not_account(account: Account, now: float) -> str:
    """Return why *account* may not log in; empty if it may."""
    if not account.is_active:
        no = "account disabled"
    elif account.suspended_until is not None and now < account.suspended_until:
        no = "account suspended"
    else:
        return ""
    return f"{no}: {account.state_reason}" if account.state_reason else no


def why_not_credential(credential: Credential, peer: Peer, mechanism: str, now: float) -> str:
    """Return why *credential* may not be used by *peer* with *mechanism*; empty if it may."""
    if credential.revoked is not None:
        return "credential revoked"
    if credential.not_before is not None and now < credential.not_before:
        return "credential not valid yet"
    if credential.expires is not None and now >= credential.expires:
        return "credential expired"
    if credential.listeners and peer.listener not in credential.listeners:
        return f"credential not for listener {peer.listener}"
    if credential.networks and not _is_inside(peer.address, credential):
        return f"credential not for network of {peer.address}"
    # Whoever may use a mechanism may bind it to the connection, too.
    if credential.mechanisms and credential.mechanisms.isdisjoint((mechanism, mechanism.removesuffix("-PLUS"))):
        return f"credential not for mechanism {mechanism}"
    return ""


def _why_not_certificate(peer: Peer, now: float) -> str:
    # It was in force at the handshake, which may be an hour ago.
    if peer.certificate is None:
        return "no client certificate"
    if now >= peer.certificate.not_after:
        return "client certificate expired"
    return "client certificate not valid yet" if now < peer.certificate.not_before else ""


def _is_inside(address: str, credential: Credential) -> bool:
    try:
        # A zone ("fe80::1%eth0") is no part of the address that networks are made of.
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # A socket that listens on every address shows an IPv4 client as ::ffff:192.0.2.1.
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in credential.networks)
