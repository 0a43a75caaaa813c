"""The facts about a connection, as its transport knows them."""

from __future__ import annotations

import asyncio
from typing import Any

from gatepost.model.peer import Peer, TlsFacts, plain_address
from gatepost.session.client_certificate import read_certificate

__all__ = ["read_peer"]


def read_peer(transport: asyncio.BaseTransport, listener: str, named: tuple[str, int] | None) -> tuple[Peer, Any]:
    """Read who is at the other end, and how it is protected now.

    Args:
        transport: of the connection.
        listener: name of the listener that it came to.
        named: address and port of the client, if a proxy in front of us said them.

    Returns:
        The peer, and its address in the form of the socket's family.
    """
    address: Any = named or transport.get_extra_info("peername")
    tls_object = transport.get_extra_info("ssl_object")
    tls = None
    if tls_object is not None:
        cipher = tls_object.cipher() or ("", "", 0)
        shown = tls_object.getpeercert(binary_form=True)
        tls = TlsFacts(
            version=tls_object.version() or "",
            cipher=cipher[0],
            bits=cipher[2],
            certificate=read_certificate(shown) if shown else None,
        )
    host, port = (plain_address(address[0]), address[1]) if isinstance(address, tuple) else ("", 0)
    return Peer(host, port, listener, tls), address
