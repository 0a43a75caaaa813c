"""What parent and worker tell each other over a pair of sockets: JSON objects, one a line.

The worker says when it accepts and what came of a reload; the parent says what to reload.  When the parent is gone,
the worker reads the end.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from typing import Any, Final

from gatepost.listener.client_trust import ClientTrust
from gatepost.listener.tls import KeyPair

__all__ = ["Channel", "pack_pair", "pack_trust", "unpack_pair", "unpack_trust"]

_LINE_LIMIT: Final = 64 << 20
_PATIENCE: Final = 5.0


class Channel:
    """One end.

    Args:
        sock: of the pair.

    Attributes:
        is_closed: whether the other end is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()
        self.is_closed = False

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Make both ends."""
        one, other = socket.socketpair()
        return Channel(one), Channel(other)

    def fileno(self) -> int:
        """Return its descriptor, to wait for what comes."""
        return self._socket.fileno()

    def send(self, **message: Any) -> bool:
        """Send *message*; tell whether the other end took it, within seconds."""
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[dict[str, Any]]:
        """Return what came so far; never waits."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while not self.is_closed:
                try:
                    octets = self._socket.recv(1 << 16)
                except ConnectionResetError:
                    octets = b""
                self._buffer += octets
                self.is_closed = not octets or len(self._buffer) > _LINE_LIMIT
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer[:] = rest
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Let go of this end."""
        self.is_closed = True
        self._socket.close()


def pack_pair(pair: KeyPair) -> dict[str, str | None]:
    """Make *pair* fit for a message."""
    key = None if pair.key is None else base64.b64encode(pair.key).decode()
    return {"name": pair.name, "certificate": base64.b64encode(pair.certificate).decode(), "key": key}


def unpack_pair(packed: dict[str, str | None]) -> KeyPair:
    """Return the pair that was packed."""
    certificate, key = packed["certificate"], packed["key"]
    assert certificate is not None
    return KeyPair(str(packed["name"]), base64.b64decode(certificate), None if key is None else base64.b64decode(key))


def pack_trust(trust: ClientTrust) -> dict[str, str | None]:
    """Make *trust* fit for a message."""
    revoked = None if trust.revoked is None else base64.b64encode(trust.revoked).decode()
    return {"name": trust.name, "authorities": base64.b64encode(trust.authorities).decode(), "revoked": revoked}


def unpack_trust(packed: dict[str, str | None]) -> ClientTrust:
    """Return the trust that was packed."""
    authorities, revoked = packed["authorities"], packed["revoked"]
    assert authorities is not None
    return ClientTrust(
        str(packed["name"]), base64.b64decode(authorities), None if revoked is None else base64.b64decode(revoked)
    )
