"""How many connections there may be, in all and from one address; counted before TLS."""

from __future__ import annotations

import ipaddress
from collections import Counter

__all__ = ["Connections"]


class Connections:
    """Counts the connections of all listeners.

    Args:
        total: how many at once.
        per_address: how many at once from one IPv4 address or one IPv6 /64.
    """

    def __init__(self, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._by_network: Counter[str] = Counter()
        self.count = 0

    def enter(self, address: str) -> str:
        """Count a connection from *address*; return why it may not be, or an empty string."""
        network = network_of(address)
        if self.count >= self._total:
            return "too many connections"
        if self._by_network[network] >= self._per_address:
            return "too many connections from this address"
        self._by_network[network] += 1
        self.count += 1
        return ""

    def leave(self, address: str) -> None:
        """Forget a connection that was counted."""
        network = network_of(address)
        self.count -= 1
        self._by_network[network] -= 1
        if self._by_network[network] <= 0:
            del self._by_network[network]


def network_of(address: str) -> str:
    """Return what is counted as one: an IPv4 address, or the /64 of an IPv6 address (RFC 6177 §2)."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
