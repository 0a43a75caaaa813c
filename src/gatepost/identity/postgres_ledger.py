"""Which credentials end, as it is written in a PostgreSQL database that several nodes may share.

A node does not know of logins at another: each writes down when it saw what is being rotated used, and waits for the
others to have done so before it says that nobody uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from gatepost.identity.ledger import Change, Due, First
from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.identity.stores.postgres_writing import connected, writing

__all__ = ["PostgresLedger"]

# Each node looks once a minute.
_LAG: Final = 150.0

_DUE: Final = """
    SELECT a.login, a.contact, c.id, c.label, c.expires, c.warned, c.successor, c.rotated, c.retire_unused
    FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    WHERE c.revoked IS NULL AND NOT c.is_canary
      AND (c.successor IS NOT NULL OR c.warned IS NULL AND c.expires > $1 AND c.expires <= $2)
    ORDER BY c.id"""
_NOTE_USE: Final = """
    INSERT INTO credential_uses AS u (credential_id, time) SELECT id, $2 FROM credentials WHERE id = $1
    ON CONFLICT (credential_id) DO UPDATE SET time = excluded.time WHERE excluded.time > u.time"""
_USES: Final = "SELECT credential_id, time FROM credential_uses"
# Whatever was changed meanwhile stays as it is, and is looked at a minute later.
_RETIRE: Final = """
    UPDATE credentials SET revoked = $1
    WHERE id = $2 AND revoked IS NULL AND expires = $3 AND successor = $4 AND rotated = $5 RETURNING id"""
_WARN: Final = """
    UPDATE credentials SET warned = $1
    WHERE id = $2 AND revoked IS NULL AND expires = $3 AND warned IS NULL RETURNING id"""


class PostgresLedger:
    """The database of *server*, which several nodes may have."""

    lag = _LAG

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[bool]] = set()

    async def due(self, now: float, until: float) -> Sequence[Due]:
        """Return those that are being rotated, and those that end before *until* without a warning."""
        async with connected(self._server) as connection:
            return [Due(*row) for row in await connection.fetch(_DUE, now, until)]

    async def last_used(self, uses: Mapping[str, float]) -> Mapping[str, float]:
        """Tell the other nodes of the logins here; return when credentials were last used anywhere, by id."""
        async with connected(self._server) as connection:
            known = {row[0]: row[1] for row in await connection.fetch(_USES)}
            for identifier, time in uses.items():
                if time > known.get(identifier, 0.0):
                    known[identifier] = time
                    await connection.execute(_NOTE_USE, identifier, time)
            return known

    async def note(self, change: Change, now: float, first: First | None = None) -> bool:
        """Write a change down; tell whether it came about by us, and not by another worker or node."""
        task = asyncio.create_task(self._note(change, now, first))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _note(self, change: Change, now: float, first: First | None) -> bool:
        due, retires, _ = change
        more = (due.successor, due.rotated) if retires else ()
        async with writing(self._server) as connection:
            found = await connection.fetchval(_RETIRE if retires else _WARN, now, due.id, due.expires, *more)
            if found is not None and first is not None:
                await first()
            return found is not None
