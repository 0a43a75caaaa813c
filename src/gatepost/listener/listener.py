"""A listening socket and its accept loop: every connection is accepted in clear, counted, and then given to a session.

On an implicit TLS listener (RFC 8314 §3.3) the handshake comes before the session, on the others in it (STARTTLS).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl

from gatepost.errors import ConfigError
from gatepost.listener.limits import Connections
from gatepost.model import reply as replies
from gatepost.observe.events import ConnectionRefused, HandshakeFailed
from gatepost.session.service import Service
from gatepost.session.smtp import SubmissionSession

__all__ = ["Listener", "bind"]

_BACKLOG = 1024
# What accept() says of a connection that is gone again.
_PASSING = {errno.ECONNABORTED, errno.EPROTO, errno.EINTR}

_log = logging.getLogger("gatepost.listener")


def bind(name: str, address: str, port: int) -> socket.socket:
    """Bind and listen.

    Args:
        name: of the listener, for the error.
        address: IP address, or ``*`` for every address of both families.
        port: TCP port; 0 lets the system choose.

    Raises:
        ConfigError: the address cannot be bound.
    """
    every = address == "*"
    family = socket.AF_INET6 if every or ":" in address else socket.AF_INET
    try:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError:
            if not every:
                raise
            family = socket.AF_INET  # a machine without IPv6
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Inherited by each connection: a reply must not wait for the acknowledgement of a session ticket.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if every else 1)
            host = ("::" if family == socket.AF_INET6 else "0.0.0.0") if every else address  # noqa: S104 - asked for
            sock.bind((host, port))
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"listener {name}: cannot listen on {address} port {port}: {error.strerror}; "
            "stop what holds the port, choose another, or allow low ports to this user"
        ) from None
    return sock


class Listener:
    """Accepts connections on one socket.

    Args:
        sock: bound, listening and non-blocking.
        service: what its sessions share.
        connections: how many there are and may be.
        implicit_tls: context for TLS from the first octet; None for a listener with STARTTLS.
    """

    def __init__(
        self, sock: socket.socket, service: Service, connections: Connections, implicit_tls: ssl.SSLContext | None
    ) -> None:
        self.socket = sock
        self.service = service
        self._connections = connections
        self._implicit_tls = implicit_tls
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port, also when the system chose it."""
        port: int = self.socket.getsockname()[1]
        return port

    def start(self) -> None:
        """Begin to accept."""
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def stop(self) -> None:
        """Accept no more, and close the socket; sessions go on."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        self.socket.close()

    async def end_handshakes(self) -> None:
        """Give up the connections that have no session yet."""
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self.socket)
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                # Out of descriptors or memory: the connection stays in the backlog until there is room.  Linux also
                # tells of trouble of the network here (EPERM, ENETDOWN ...), and none of it may end the listener.
                _log.error("cannot accept a connection: %s", error.strerror)
                await asyncio.sleep(0.2)
                continue
            self._take(connection, peer[0])

    def _take(self, connection: socket.socket, address: str) -> None:
        address = address.removeprefix("::ffff:") if address.startswith("::ffff:") and "." in address else address
        reason = self._connections.enter(address)
        if reason:
            self._turn_away(connection, address, reason)
            return
        task = asyncio.get_running_loop().create_task(self._give_to_session(connection, address))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def _turn_away(self, connection: socket.socket, address: str, reason: str) -> None:
        self.service.emit(ConnectionRefused(listener=self.service.listener, peer=address, reason=reason))
        with connection:
            if self._implicit_tls is None:
                # RFC 5321 §3.8: 421 before we close; there is room for it in the socket's own buffer.
                with contextlib.suppress(OSError):
                    connection.send(bytes(replies.TOO_MANY_CONNECTIONS))

    async def _give_to_session(self, connection: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        service = self.service
        session = SubmissionSession(service, loop=loop)
        session.on_end = lambda: self._connections.leave(address)
        try:
            if self._implicit_tls is None:
                await loop.connect_accepted_socket(lambda: session, connection)
            else:
                await loop.connect_accepted_socket(
                    lambda: session,
                    connection,
                    ssl=self._implicit_tls,
                    ssl_handshake_timeout=service.limits.handshake_patience,
                    ssl_shutdown_timeout=5.0,
                )
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            service.emit(
                HandshakeFailed(session=session.id, listener=service.listener, peer=address, reason=reason[:200])
            )
        finally:
            if not session.has_begun:
                connection.close()
                session.end()
