"""How many connections there may be, in all and from one address; counted before TLS, over all workers."""

from __future__ import annotations

import socket
from collections.abc import Callable

from gatepost.listener.ebb import Ebb
from gatepost.state.connections import Column, ConnectionTable

__all__ = ["Connections", "network_of"]

_MAPPED = bytes(10) + b"\xff\xff"
# More than people behind one address need; an application on this machine may need more.
_PER_MINUTE = 600
_LOOPBACK = ("127.", "::/64")
# Where those are counted whose address a proxy has yet to say.
_UNNAMED = "?"


class Connections:
    """Counts the connections of all listeners.

    Args:
        total: how many at once.
        per_address: how many at once from one IPv4 address or one IPv6 /64.
        per_minute: how many a minute from one of these; 0 is no limit.  None is 600, and no limit for this machine.
        column: where this worker counts, and sees what the others have; none where it is the only one.
        monotonic: seconds, by a clock that all workers share.
    """

    def __init__(
        self,
        total: int,
        per_address: int,
        per_minute: int | None = 0,
        *,
        column: Column | None = None,
        monotonic: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.adapt(total, per_address, per_minute)
        self._column = column or ConnectionTable(1).column(0)
        self._monotonic = monotonic
        self._by_network: dict[str, int] = {}
        self._ebb = Ebb()
        self.count = 0

    def adapt(self, total: int, per_address: int, per_minute: int | None = 0) -> None:
        """Let other limits hold from now on; nobody who is there is turned out."""
        self._total = total
        self._per_address = per_address
        self._per_minute = _PER_MINUTE if per_minute is None else per_minute
        self._spares_loopback = per_minute is None

    def enter(self, address: str) -> str:
        """Count a connection from *address*; return why it may not be, or an empty string."""
        network = network_of(address)
        column = self._column
        known = self._by_network.get(network, 0)
        # Told first and looked at then: of two workers that do so at the same time, one at least sees the other.
        column.enter(network)
        room = self._per_address - known - 1
        if column.total > self._total:
            reason = "too many connections"
        elif room < 0 or column.elsewhere(network, room) > room:
            reason = "too many connections from this address"
        elif (
            self._per_minute
            and not (self._spares_loopback and network.startswith(_LOOPBACK))
            and not column.arrive(network, self._monotonic(), self._per_minute)
        ):
            reason = "too many connections a minute from this address"
        else:
            self._by_network[network] = known + 1
            self.count += 1
            self._ebb.rose(self.count)
            return ""
        column.leave(network)
        return reason

    def enter_unnamed(self) -> str:
        """Count a connection in all, whose address is not known yet; return why it may not be, or an empty string."""
        column = self._column
        column.enter(_UNNAMED)
        if column.total > self._total:
            column.leave(_UNNAMED)
            return "too many connections"
        self.count += 1
        return ""

    def leave_unnamed(self) -> None:
        """Forget a connection whose address was not known."""
        self._column.leave(_UNNAMED)
        self.count -= 1
        self._ebb.fell(self.count)

    def leave(self, address: str) -> None:
        """Forget a connection that was counted."""
        network = network_of(address)
        self._column.leave(network)
        self.count -= 1
        self._ebb.fell(self.count)
        left = self._by_network[network] - 1
        if left:
            self._by_network[network] = left
        else:
            del self._by_network[network]


def network_of(address: str) -> str:
    """Return what is counted as one: an IPv4 address, or the /64 of an IPv6 address (RFC 6177 §2)."""
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"
