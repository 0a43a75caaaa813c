"""Accounts in a PostgreSQL database, read side: a look-up is one question, and an unchanged account comes from memory.

The command line writes (`gatepost.identity.accounts`).  Every change to the tables gives them a new stamp, by a
trigger, so that a look-up sees what was committed before it, whoever did so; the stamp is asked for each second,
because a connection that waits to be told of changes does not notice when it is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.errors import StoreUnavailable
from gatepost.identity.kept_hash import ARGON2ID_TAIL, argon2id_head, likeness_of
from gatepost.identity.renewal import Renewal
from gatepost.identity.store import (
    ARGON2ID,
    HASH,
    MECHANISM_SCHEMES,
    SCRAM_SHA_256,
    Account,
    Survey,
    Work,
    certificate_id,
)
from gatepost.identity.stores.postgres_pool import PostgresPool
from gatepost.identity.stores.postgres_server import PostgresServer, connect, hang_up, problem_of, schema_of, troubles
from gatepost.identity.stores.rows import (
    ACCOUNT_COLUMNS,
    ACCOUNTS_REMEMBERED,
    CREDENTIAL_COLUMNS,
    CREDENTIAL_LIMIT,
    Obstacle,
    Withheld,
    account_of,
    texts,
)
from gatepost.identity.verifiers import Argon2

if TYPE_CHECKING:
    import asyncpg

__all__ = ["PostgresStore", "obstacles", "schema", "withheld"]

_STAMP: Final = "SELECT stamp FROM accounts_stamp"

# With the stamp that an account was read at, the answer is one row without it if nothing has changed since.
_FIND: Final = f"""
    SELECT s.stamp, {ACCOUNT_COLUMNS}, {CREDENTIAL_COLUMNS}
    FROM accounts_stamp AS s
    LEFT JOIN accounts AS a ON a.login = $1 AND s.stamp <> $2
    LEFT JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY revoked IS NOT NULL, created DESC, id) AS place
        FROM credentials WHERE account_id = a.id ORDER BY place LIMIT $3) AS c ON true
    LEFT JOIN verifiers AS v ON v.credential_id = c.id
    ORDER BY c.place"""  # noqa: S608 - columns of ours
_FIRST_OF_CREDENTIAL: Final = 12

_HOLDER: Final = """
    SELECT a.login FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    JOIN verifiers AS v ON v.credential_id = c.id AND v.scheme = 'CERTIFICATE'
    WHERE c.id = $1 AND v.value = $2"""

# What stands, and lacks a verifier; a certificate is for EXTERNAL alone, and stands in the way of nothing.
_LACKING: Final = """
    FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    WHERE a.state = 'active' AND NOT c.is_canary AND c.revoked IS NULL AND (c.expires IS NULL OR c.expires > $1)
      AND NOT EXISTS (SELECT 1 FROM verifiers AS v
                      WHERE v.credential_id = c.id AND v.scheme IN ($2, 'CERTIFICATE'))"""
_LISTENERS_LACKING: Final = "SELECT DISTINCT c.listeners" + _LACKING
_OBSTACLES: Final = (
    "SELECT a.login, c.id, c.label"
    + _LACKING
    + """
      AND (c.listeners = '[]' OR jsonb_exists(c.listeners::jsonb, $3))
    ORDER BY a.login, c.created LIMIT $4"""
)

_ITERATIONS: Final = "SELECT iterations, count(*) FROM accounts GROUP BY iterations"
# As hexadecimal digits, since octets have no maximum before PostgreSQL 18.
_WORK: Final = r"""
    SELECT pbkdf2, argon2, other, count(*) FROM (
        SELECT bool_or(scram AND NOT argon2id) AS pbkdf2, bool_or(argon2id) AS argon2,
               max(CASE WHEN NOT scram AND NOT argon2id THEN likeness END) AS other FROM (
            SELECT c.account_id, bool_or(v.scheme = $1) AS scram,
                   bool_or(v.scheme = $2 AND substring(v.value FROM 1 FOR length($4::bytea)) = $4) AS argon2id,
                   max(encode(CASE
                       WHEN v.scheme = $3
                       THEN substring(v.value FROM 1 FOR greatest(position('\x0a'::bytea IN v.value) - 1, 0))
                       WHEN v.scheme = $2 THEN substring(v.value FROM 1 FOR greatest(length(v.value) - $5::int, 0))
                   END, 'hex')) AS likeness
            FROM credentials AS c JOIN verifiers AS v ON v.credential_id = c.id
            WHERE v.scheme <> 'CERTIFICATE' GROUP BY c.id) AS held
        GROUP BY account_id) AS work
    GROUP BY pbkdf2, argon2, other"""
_NEXT_EXPIRY: Final = "SELECT min(expires) FROM credentials WHERE revoked IS NULL AND expires > $1"

# Looking at all accounts may take longer than looking one up.
_SURVEY_SECONDS: Final = 30.0


class PostgresStore:
    """The accounts in a database of *server*; it is connected to when first asked.

    Args:
        server: where.
        name: of the store.
        connections: how many at once.
        argon2: what an argon2id hash costs that is made today; None takes all for such.
    """

    def __init__(
        self, server: PostgresServer, name: str = "postgres", connections: int = 4, argon2: Argon2 | None = None
    ) -> None:
        self.name = name
        self._head = argon2id_head(argon2) if argon2 is not None else b""
        self._server = server
        self._pool = PostgresPool(server, connections)
        # Accounts, and the stamp that each was read at; making them of rows is the dear part of a look-up.
        self._accounts: dict[str, tuple[str, Account]] = {}
        self._surveyed = ""

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name, as it is now."""
        known = self._accounts.get(login)
        stamp, asked = known[0] if known is not None else "", _askable(login)
        rows = await self._pool.run(
            lambda connection: connection.fetch(_FIND, asked, stamp, CREDENTIAL_LIMIT), self._server.timeout
        )
        try:
            found = rows[0][0]
            if known is not None and found == stamp:
                return known[1]
            if rows[0][1] is None:
                self._accounts.pop(login, None)
                return None
            held = [row[_FIRST_OF_CREDENTIAL:] for row in rows if row[_FIRST_OF_CREDENTIAL] is not None]
            account = account_of(rows[0][1:_FIRST_OF_CREDENTIAL], held, self._head)
        except (ValueError, TypeError, IndexError) as error:  # also Malformed, which would be put down to the client
            raise _foreign(self._server, error) from None
        if len(self._accounts) >= ACCOUNTS_REMEMBERED:
            self._accounts.clear()
        self._accounts[login] = (found, account)
        return account

    async def holder(self, fingerprint: str) -> str | None:
        """Return the login that a client certificate belongs to, revoked or not; None if it is nobody's."""
        values = (certificate_id(fingerprint), fingerprint.encode())
        found = await self._pool.run(lambda connection: connection.fetchval(_HOLDER, *values), self._server.timeout)
        return None if found is None else str(found)

    async def has_changed(self) -> bool:
        """Tell whether anything may have changed since the last `survey`; try a server that was away."""
        if self._pool.problem:
            self._pool.probe()
            raise StoreUnavailable(self._pool.problem)
        stamp = await self._pool.run(lambda connection: connection.fetchval(_STAMP), self._server.timeout)
        return not stamp or stamp != self._surveyed

    async def survey(self, now: float) -> Survey:
        """Look at all accounts, at one moment."""
        seen = await self._pool.run(lambda connection: _look_at_all(connection, now, self._head), _SURVEY_SECONDS)
        try:
            lacking = {scheme: frozenset([texts(row[0]) for row in rows]) for scheme, rows in seen.listeners.items()}
            work = {
                Work(pbkdf2, argon2, likeness_of(bytes.fromhex(other)) if other else ""): count
                for pbkdf2, argon2, other, count in seen.work
            }
        except (ValueError, TypeError) as error:
            raise _foreign(self._server, error) from None
        self._surveyed = seen.stamp
        return Survey(lacking, {row[0]: row[1] for row in seen.iterations}, work, seen.next_expiry)

    async def renew(self, renewal: Renewal) -> bool:
        """Write *renewal* down, with a connection of its own; tell whether it was."""
        from gatepost.identity.stores.postgres_writing import renew

        return await renew(self._server, renewal, self._head)

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.close()


async def schema(server: PostgresServer) -> str:
    """Return the version of the tables; empty if there are none.

    Raises:
        StoreUnavailable: the server cannot be asked.
    """
    async with _connected(server) as connection:
        return await schema_of(connection)


async def obstacles(
    server: PostgresServer, scheme: str, listener: str, now: float, limit: int = 20
) -> Sequence[Obstacle]:
    """Return the standing credentials that may come in by *listener* and have no verifier of *scheme*.

    Raises:
        StoreUnavailable: the server cannot be asked.
    """
    async with _connected(server) as connection:
        return await _obstacles(connection, scheme, listener, now, limit)


async def withheld(
    server: PostgresServer, listeners: Mapping[str, Collection[str]], now: float, limit: int = 20
) -> Sequence[Withheld]:
    """Return what of the mechanisms that are on, by listener, is not offered there, and why.

    Raises:
        StoreUnavailable: the server cannot be asked.
    """
    async with _connected(server) as connection:
        looked_at = [
            Withheld(mechanism, listener, await _obstacles(connection, scheme, listener, now, limit))
            for listener, mechanisms in listeners.items()
            for mechanism, scheme in MECHANISM_SCHEMES.items()
            if mechanism in mechanisms
        ]
    return [each for each in looked_at if each.obstacles]


@contextlib.asynccontextmanager
async def _connected(server: PostgresServer) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await connect(server)
    try:
        async with asyncio.timeout(_SURVEY_SECONDS):
            yield connection
    except troubles() as error:
        raise StoreUnavailable(f"{server}: {problem_of(error)}") from None
    finally:
        await hang_up(connection)


async def _obstacles(
    connection: asyncpg.Connection[Any], scheme: str, listener: str, now: float, limit: int
) -> Sequence[Obstacle]:
    return [Obstacle(*row) for row in await connection.fetch(_OBSTACLES, now, scheme, listener, limit)]


class _Seen(NamedTuple):
    stamp: str
    listeners: dict[str, list[Any]]
    iterations: list[Any]
    work: list[Any]
    next_expiry: float | None


async def _look_at_all(connection: asyncpg.Connection[Any], now: float, head: bytes) -> _Seen:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = {round(_SURVEY_SECONDS * 1000)}")
        return _Seen(
            str(await connection.fetchval(_STAMP) or ""),
            {
                scheme: await connection.fetch(_LISTENERS_LACKING, now, scheme)
                for scheme in dict.fromkeys(MECHANISM_SCHEMES.values())
            },
            await connection.fetch(_ITERATIONS),
            await connection.fetch(_WORK, SCRAM_SHA_256, ARGON2ID, HASH, head, ARGON2ID_TAIL),
            await connection.fetchval(_NEXT_EXPIRY, now),
        )


def _askable(login: str) -> str:
    """Return *login*, or what nobody is called if a text of PostgreSQL's cannot be so."""
    try:
        login.encode()
    except UnicodeEncodeError:
        return ""
    return "" if "\0" in login else login


def _foreign(server: PostgresServer, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"{server}: holds what gatepost did not write: {error}")
