"""A listening socket and its accept loop: every connection is accepted in clear, counted, and then given to a session.

On an implicit TLS listener (RFC 8314 §3.3) the handshake comes before the session, on the others in it (STARTTLS).  A
proxy of ours says first, in clear, for whom it connects; from then on that address is the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from gatepost.errors import ConfigError
from gatepost.listener.limits import Connections
from gatepost.listener.proxied import Proxied
from gatepost.listener.proxy_protocol import Header
from gatepost.model import reply as replies
from gatepost.model.peer import plain_address
from gatepost.observe.events import ConnectionRefused, HandshakeFailed
from gatepost.session.service import Service
from gatepost.session.smtp import SubmissionSession
from gatepost.session.tls_transport import TlsTransport

__all__ = ["Listener", "bind"]

_BACKLOG = 1024
# So many connections are taken before others have their turn.
_AT_ONCE = 8
_RETRY_SECONDS = 0.2
_NOT_LISTED = "this listener is not for this address"
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
        proxies: networks of those who begin with a PROXY header; from anybody else it is a bad command.
        clients: networks of those who may connect; empty lets everybody.

    Attributes:
        service: what sessions that begin from now on share.
        proxies: as above, for connections that come from now on.
    """

    def __init__(
        self,
        sock: socket.socket,
        service: Service,
        connections: Connections,
        implicit_tls: ssl.SSLContext | None,
        proxies: Sequence[IPv4Network | IPv6Network] = (),
        clients: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self.socket = sock
        self.service = service
        self.connections = connections
        self.proxies = proxies
        self._clients = clients
        self._implicit_tls = implicit_tls
        self._retry: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._handshakes: set[TlsTransport | Proxied] = set()

    @property
    def port(self) -> int:
        """The port, also when the system chose it."""
        port: int = self.socket.getsockname()[1]
        return port

    @property
    def trouble(self) -> str:
        """Why it does not accept now; empty if it does."""
        if self.socket.fileno() < 0:
            return "does not listen any more"
        if self._retry is not None:
            return "cannot accept connections, for want of descriptors or memory"
        return "takes no new clients, for the server is about to stop" if self.service.is_draining else ""

    @property
    def is_opening(self) -> bool:
        """Whether there are connections that have no session yet."""
        return bool(self._opening or self._handshakes)

    def start(self) -> None:
        """Begin to accept."""
        self._retry = None
        asyncio.get_running_loop().add_reader(self.socket, self._accept)

    async def stop(self) -> None:
        """Accept no more, and close the socket; sessions go on.  Harmless a second time."""
        if self.socket.fileno() < 0:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()

    async def end_handshakes(self) -> None:
        """Give up the connections that have no session yet."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for handshake in list(self._handshakes):
            handshake.abort()

    def _accept(self) -> None:
        """Take connections that wait, some at a time."""
        for _ in range(_AT_ONCE):
            try:
                connection, peer = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                # Out of descriptors or memory: the connection stays in the backlog until there is room.  Linux also
                # tells of trouble of the network here (EPERM, ENETDOWN ...), and none of it may end the listener.
                _log.error("cannot accept a connection: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self.socket)
                self._retry = loop.call_later(_RETRY_SECONDS, self.start)
                return
            connection.setblocking(False)
            self._take(connection, plain_address(peer[0]))

    def _take(self, connection: socket.socket, address: str) -> None:
        is_proxy = bool(self.proxies) and _is_in(address, self.proxies)
        reason = self.connections.enter_unnamed() if is_proxy else self._enter(address)
        if reason:
            self._turn_away(address, reason, connection.send)
            connection.close()
            return
        protocol = self._await_header(address) if is_proxy else self._begin(address)
        task = asyncio.get_running_loop().create_task(self._open(connection, protocol))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _enter(self, address: str) -> str:
        """Count a client; return why it may not be here, or an empty string."""
        if self._clients and not _is_in(address, self._clients):
            return _NOT_LISTED
        return self.connections.enter(address)

    def _begin(self, address: str, named: tuple[str, int] | None = None) -> asyncio.Protocol:
        """Make a session for a client at *address*, who was counted; *named* is what a proxy said of it."""
        session = SubmissionSession(self.service, loop=asyncio.get_running_loop())
        session.named = named
        session.on_end = lambda: self.connections.leave(address)
        return session if self._implicit_tls is None else self._in_tls(self._implicit_tls, session, address).as_protocol

    def _await_header(self, address: str) -> Proxied:
        proxied = Proxied(address, self._go_on, self._give_up)
        self._handshakes.add(proxied)
        return proxied

    def _go_on(self, proxied: Proxied, header: Header, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """Count and begin, now that it is known whose connection it is."""
        self._handshakes.discard(proxied)
        self.connections.leave_unnamed()
        address = header.address or proxied.address
        reason = self._enter(address)
        if reason:
            self._turn_away(address, reason, transport.write)
            transport.close()
            return None
        return self._begin(address, (header.address, header.port) if header.address else None)

    def _give_up(self, proxied: Proxied, reason: str) -> None:
        self._handshakes.discard(proxied)
        self.connections.leave_unnamed()
        if reason:
            self.service.emit(ConnectionRefused(listener=self.service.listener, peer=proxied.address, reason=reason))

    def _turn_away(self, address: str, reason: str, send: Callable[[bytes], object]) -> None:
        self.service.emit(ConnectionRefused(listener=self.service.listener, peer=address, reason=reason))
        if self._implicit_tls is None:
            # RFC 5321 §3.8: 421 before we close; §3.1: 554 for who may never.  The socket's buffer has room for either.
            reply = replies.NO_SERVICE if reason == _NOT_LISTED else replies.TOO_MANY_CONNECTIONS
            with contextlib.suppress(OSError):
                send(bytes(reply))

    def _in_tls(self, context: ssl.SSLContext, session: SubmissionSession, address: str) -> TlsTransport:
        """Put TLS before a session, which begins when the handshake is over."""
        service = self.service

        def done(error: OSError | None) -> None:
            self._handshakes.discard(tls)
            if error is None:
                session.connection_made(tls.as_transport)
                return
            reason = str(error) or type(error).__name__
            service.emit(
                HandshakeFailed(session=session.id, listener=service.listener, peer=address, reason=reason[:200])
            )
            session.end()

        tls = TlsTransport(context, session, service.limits.handshake_patience, done)
        self._handshakes.add(tls)
        return tls

    async def _open(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
        except OSError as error:
            _log.error("cannot open a connection: %s", error.strerror)
            connection.close()
            protocol.connection_lost(error)


def _is_in(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    parsed = ip_address(address)
    return any(parsed in network for network in networks)
