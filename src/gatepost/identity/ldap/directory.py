"""A directory on one or several servers: connections that are kept, and the next server when one fails.

Searches go over connections that are bound as the service account, passwords are tried on others: who binds somebody
changes whose connection it is (RFC 4511 §4.2.1).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from gatepost.identity.ldap.connection import Connection, connect
from gatepost.identity.ldap.messages import (
    BIND_RESPONSE,
    PASSWORD_POLICY,
    SEARCH_DONE,
    SEARCH_ENTRY,
    Entry,
    bind_request,
    is_password_spent,
    parse_entry,
    parse_result,
    search_request,
)
from gatepost.identity.ldap.server import Server
from gatepost.model.identity import Secret

__all__ = ["INVALID_NAME", "NO_SUCH_OBJECT", "Directory"]

T = TypeVar("T")

NO_SUCH_OBJECT: Final = 32
"""Code of a result: there is no entry of that name."""
INVALID_NAME: Final = 34
"""Code of a result: that is no distinguished name."""

_SUCCESS: Final = 0
_SIZE_LIMIT_EXCEEDED: Final = 4
# What a directory says of a password, or of whose it is: wrong, none there, locked (53, 19 and 50 by some).
_NO: Final = frozenset((19, NO_SUCH_OBJECT, INVALID_NAME, 48, 49, 50, 53))
# Two entries are one too many; a third tells nothing more.
_ENTRIES: Final = 2
# What stands between us and the directory forgets connections that nobody uses.
_IDLE_SECONDS: Final = 60.0


class Directory:
    """The directory.

    Args:
        servers: tried in turn, beginning with the one that answered last.
        context: TLS: from the start with ldaps, by StartTLS with ldap; None for a directory on this machine.
        starts_tls: whether ldap begins TLS.
        service: name and password of the service account; None to search anonymously.
        timeout: seconds that a question may take on one server.
        connections: for searches at once, and as many for passwords.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        context: ssl.SSLContext | None = None,
        *,
        starts_tls: bool = True,
        service: tuple[str, Secret] | None = None,
        timeout: float = 3.0,
        connections: int = 10,
    ) -> None:
        self._servers, self._context, self._service = tuple(servers), context, service
        self._starts_tls, self._timeout = starts_tls, timeout
        self._current = 0
        self._is_closed = False
        self._searching = _Kept(connections)
        self._binding = _Kept(connections)

    async def search(
        self, base: str, scope: str, written_filter: bytes, attributes: Sequence[str], answers: Collection[int] = ()
    ) -> list[Entry]:
        """Return what is found, of several entries two; referrals are not followed.

        Args:
            base: where the search begins.
            scope: how far below that it goes.
            written_filter: what it asks.
            attributes: what is wanted of an entry.
            answers: codes beside success that mean that nothing was found.

        Raises:
            OSError: no server can be reached.
            ValueError: what they answer is no answer.
        """
        request = search_request(
            base, scope, written_filter, attributes, size_limit=_ENTRIES, seconds=max(1, round(self._timeout))
        )

        async def ask(connection: Connection) -> list[Entry]:
            came = await connection.ask(request, SEARCH_DONE)
            result = parse_result(came[-1].content)
            if result.code not in (_SUCCESS, _SIZE_LIMIT_EXCEEDED) and result.code not in answers:
                raise ValueError(f"search: {result}")
            found = [parse_entry(each.content) for each in came if each.tag == SEARCH_ENTRY]
            if result.code == _SIZE_LIMIT_EXCEEDED and len(found) < _ENTRIES:
                # It found more than its own limit lets it show: another one, whichever that is.
                found += [Entry(b"", {})] * (_ENTRIES - len(found))
            return found

        return await self._use(self._searching, ask, self._service)

    async def opens(self, name: bytes, password: Secret) -> bool:
        """Tell whether *password* is that of the entry *name*, and good for a login.

        Raises:
            OSError: no server can be reached.
            ValueError: what they answer is neither a yes nor a no.
        """
        # RFC 4513 §5.1.2: a bind with a name and an empty password succeeds without saying anything of anybody; one
        # without a name is anonymous (§5.1.1).
        if not name or not password:
            return False
        request = bind_request(name, password.reveal())

        async def ask(connection: Connection) -> bool:
            answer = await connection.ask_one(request, BIND_RESPONSE, PASSWORD_POLICY)
            result = parse_result(answer.content)
            if result.code in _NO:
                return False
            if result.code != _SUCCESS:
                raise ValueError(f"bind: {result}")
            return not is_password_spent(answer.controls)

        return await self._use(self._binding, ask, None)

    def close(self) -> None:
        """Let go of the connections; those in use are closed after their answer."""
        self._is_closed = True
        self._drop()

    def _drop(self) -> None:
        self._searching.drop()
        self._binding.drop()

    async def _use(
        self, kept: _Kept, ask: Callable[[Connection], Awaitable[T]], service: tuple[str, Secret] | None
    ) -> T:
        problem = "no server"
        async with kept.turn:
            for _ in self._servers:
                number = self._current
                server = self._servers[number]
                try:
                    async with asyncio.timeout(self._timeout):
                        return await self._ask(server, kept, ask, service)
                except TimeoutError:
                    problem = f"{server.url}: no answer within {self._timeout:g} seconds"
                except (OSError, ValueError) as error:
                    problem = f"{server.url}: {error or type(error).__name__}"
                # Whoever found out first moves on, and all others with them.
                if self._current == number:
                    self._current = (number + 1) % len(self._servers)
                    self._drop()
        raise OSError(problem)

    async def _ask(
        self,
        server: Server,
        kept: _Kept,
        ask: Callable[[Connection], Awaitable[T]],
        service: tuple[str, Secret] | None,
    ) -> T:
        while (connection := kept.take()) is not None:
            try:
                answer = await ask(connection)
            except ConnectionError:
                # It was closed while nobody used it; that says nothing of the server.
                continue
            except BaseException:
                connection.abort()
                raise
            return self._done(answer, connection, kept, server)
        connection = await connect(server, self._context, starts_tls=self._starts_tls)
        try:
            if service is not None:
                await _log_in(connection, *service)
            answer = await ask(connection)
        except BaseException:
            connection.abort()
            raise
        return self._done(answer, connection, kept, server)

    def _done(self, answer: T, connection: Connection, kept: _Kept, server: Server) -> T:
        if server is self._servers[self._current] and not self._is_closed:
            kept.keep(connection)
        else:
            connection.close()
        return answer


class _Kept:
    """Connections for one purpose that wait for the next question."""

    def __init__(self, connections: int) -> None:
        self.turn = asyncio.Semaphore(connections)
        self._waiting: list[Connection] = []

    def take(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._waiting:
            connection = self._waiting.pop()
            if connection.is_open and now - connection.used_at < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        self._waiting.append(connection)

    def drop(self) -> None:
        for connection in self._waiting:
            connection.close()
        self._waiting.clear()


async def _log_in(connection: Connection, name: str, password: Secret) -> None:
    answer = await connection.ask_one(bind_request(name.encode(), password.reveal()), BIND_RESPONSE)
    result = parse_result(answer.content)
    if result.code != _SUCCESS:
        raise ValueError(f"the service account is refused: {result}")
