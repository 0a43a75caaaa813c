"""The first moments of a connection from a proxy: its header is awaited, then another protocol takes the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from gatepost.errors import Malformed
from gatepost.listener.proxy_protocol import Header, read_header

__all__ = ["Proxied"]

# A proxy says it at once; a lost packet is sent again after three seconds.
_PATIENCE = 5.0


class Proxied(asyncio.Protocol):
    """A connection of which its proxy has yet to say whose it is.

    Exactly one of the two is called, once.

    Args:
        address: of the proxy.
        named: gets the header and the transport; returns who takes the connection, and gets all that came after the
            header, or None if it was closed.
        given_up: gets the reason why there is no header; empty if the proxy hung up without a word, as some do to see
            whether we are there.
    """

    def __init__(
        self,
        address: str,
        named: Callable[[Proxied, Header, asyncio.Transport], asyncio.Protocol | None],
        given_up: Callable[[Proxied, str], None],
    ) -> None:
        self.address = address
        self._named = named
        self._given_up = given_up
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the header, for some seconds."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._time_out)

    def data_received(self, data: bytes) -> None:
        """Look whether the header is there as a whole, and hand over."""
        transport = self._transport
        if self._is_over or transport is None:
            return
        self._buffer += data
        try:
            header = read_header(self._buffer)
        except Malformed as error:
            self._give_up(error.reason)
            return
        if header is None:
            return
        self._end()
        protocol = self._named(self, header, transport)
        if protocol is None:
            return
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        rest = bytes(self._buffer[header.length :])
        if rest:
            protocol.data_received(rest)

    def connection_lost(self, error: Exception | None) -> None:
        """Note that there will be no header."""
        del error
        self._give_up("hung up in its PROXY header" if self._buffer else "")

    def abort(self) -> None:
        """Hang up at once."""
        self._give_up("")

    def _time_out(self) -> None:
        self._give_up(f"no PROXY header within {_PATIENCE:g} s")

    def _give_up(self, reason: str) -> None:
        if self._is_over:
            return
        self._end()
        if self._transport is not None:
            self._transport.abort()
        self._given_up(self, reason)

    def _end(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
