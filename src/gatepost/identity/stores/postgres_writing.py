"""What a server writes into PostgreSQL beside its store that only reads: a connection for it, and verifiers made anew.

Everything is compared with what the login saw, in the transaction that changes it: what was revoked, renewed or
imported anew meanwhile stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.kept_hash import held
from gatepost.identity.renewal import Renewal, next_scheme
from gatepost.identity.store import HASH, SCRAM_SCHEMES
from gatepost.identity.stores.postgres_server import (
    WRITER_LOCK,
    PostgresServer,
    connect,
    hang_up,
    problem_of,
    troubles,
)

if TYPE_CHECKING:
    import asyncpg

__all__ = ["connected", "renew", "writing"]

# How long a statement may take, and wait for another writer, in seconds; whoever writes tries again later.
_PATIENCE: Final = 5.0

_STANDS: Final = """
    SELECT a.id FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    WHERE c.id = $1 AND c.revoked IS NULL AND a.login = $2 AND a.salt = $3 AND a.iterations = $4"""
_ROWS: Final = "SELECT scheme, value FROM verifiers WHERE credential_id = $1"
_OTHERS: Final = """
    SELECT c.id, c.revoked IS NOT NULL, v.scheme, v.value
    FROM credentials AS c JOIN verifiers AS v ON v.credential_id = c.id WHERE c.account_id = $1"""
_PUT: Final = """
    INSERT INTO verifiers (credential_id, scheme, value) VALUES ($1, $2, $3)
    ON CONFLICT (credential_id, scheme) DO UPDATE SET value = excluded.value"""
_DROP: Final = "DELETE FROM verifiers WHERE credential_id = $1 AND scheme = $2"


@contextlib.asynccontextmanager
async def connected(server: PostgresServer) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Connect for a moment.  Raises `StoreUnavailable`."""
    connection = await connect(server, {"statement_timeout": str(round(_PATIENCE * 1000))})
    try:
        async with asyncio.timeout(_PATIENCE * 2):
            yield connection
    except troubles() as error:
        raise StoreUnavailable(f"{server}: {problem_of(error)}") from None
    finally:
        await hang_up(connection)


@contextlib.asynccontextmanager
async def writing(server: PostgresServer) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Change, all or nothing, alone.  Raises `StoreUnavailable`."""
    async with connected(server) as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", WRITER_LOCK)
        yield connection


async def renew(server: PostgresServer, renewal: Renewal, head: bytes) -> bool:
    """Write *renewal* down; tell whether it still held.

    Args:
        server: where.
        renewal: what changes.
        head: what argon2id hashes of today begin with.

    Raises:
        StoreUnavailable: the database cannot be written.
    """
    account, credential = renewal.account, renewal.credential
    async with writing(server) as connection:
        values = (credential.id, account.login, account.salt, account.iterations)
        number = await connection.fetchval(_STANDS, *values)
        if number is None:
            return False
        rows = dict([held(scheme, value, head) for scheme, value in await connection.fetch(_ROWS, credential.id)])
        compared = (HASH,) if HASH in credential.verifiers else SCRAM_SCHEMES
        if any(rows.get(each) != credential.verifiers.get(each) for each in compared):
            return False
        for scheme in renewal.gone:
            await connection.execute(_DROP, credential.id, scheme)
        for scheme, verifier in renewal.made.items():
            place = next_scheme(scheme) if renewal.moves else scheme
            await connection.execute(_PUT, credential.id, place, verifier.reveal())
        if renewal.moves:
            await _move(connection, number, renewal)
    return True


async def _move(connection: asyncpg.Connection[Any], account: int, renewal: Renewal) -> None:
    """Let the account go by its new count, if all records that anybody could use are there."""
    begin = f"${renewal.iterations}:".encode()
    found = await connection.fetch(_OTHERS, account)
    made = {(each, scheme): value for each, _, scheme, value in found if begin in value}
    records = [(each, is_gone, scheme) for each, is_gone, scheme, _ in found if scheme in SCRAM_SCHEMES]
    if any(not is_gone and (each, next_scheme(scheme)) not in made for each, is_gone, scheme in records):
        return
    for each, is_gone, scheme in records:
        await connection.execute(_DROP, each, next_scheme(scheme))
        if is_gone:
            await connection.execute(_DROP, each, scheme)
        else:
            await connection.execute(_PUT, each, scheme, made[each, next_scheme(scheme)])
    changed = "UPDATE accounts SET salt = $1, iterations = $2 WHERE id = $3"
    await connection.execute(changed, renewal.salt, renewal.iterations, account)
