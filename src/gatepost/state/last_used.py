"""When each credential was last used, by whom it seems, and how often: noted at login, written a few seconds later.

A login waits for nothing of it, and a crash may cost the last seconds.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gatepost.errors import StateUnavailable
from gatepost.model.clock import Clock
from gatepost.observe.events import Event, LoginSucceeded
from gatepost.state.database import Database

__all__ = ["ClientUse", "LastUsed", "Use", "read_clients", "read_uses"]

_WRITE_EVERY: Final = 3.0
# So many credentials wait to be written at most; what is noted of more is lost.
_LIMIT: Final = 20_000
# What a client says of itself is cut off here.
_TEXT_LIMIT: Final = 255
# Rows of credentials that nobody used for so long are forgotten.
_KEEP: Final = 400 * 86_400.0
_FORGET_EVERY: Final = 86_400.0
# So many clients are kept of each credential: those that came last.
_CLIENTS: Final = 16

_WRITE: Final = """
    INSERT INTO last_used (account, credential, time, address, mechanism, tls, client, uses)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (account, credential) DO UPDATE SET
        address   = CASE WHEN excluded.time >= time THEN excluded.address ELSE address END,
        mechanism = CASE WHEN excluded.time >= time THEN excluded.mechanism ELSE mechanism END,
        tls       = CASE WHEN excluded.time >= time THEN excluded.tls ELSE tls END,
        client    = CASE WHEN excluded.time >= time THEN excluded.client ELSE client END,
        time      = max(excluded.time, time),
        uses      = uses + excluded.uses"""
_READ: Final = "SELECT account, credential, time, address, mechanism, tls, client, uses FROM last_used"
_READ_ONE: Final = _READ + " WHERE account = ? AND credential = ?"

_WRITE_CLIENT: Final = """
    INSERT INTO client_use (account, credential, address, client, mechanism, time) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (account, credential, address, client, mechanism) DO UPDATE SET time = max(excluded.time, time)"""
_FORGET_CLIENTS: Final = """
    DELETE FROM client_use WHERE account = ?1 AND credential = ?2 AND time < (
        SELECT time FROM client_use WHERE account = ?1 AND credential = ?2 ORDER BY time DESC LIMIT 1 OFFSET ?3)"""
_READ_CLIENTS: Final = """
    SELECT time, address, client, mechanism FROM client_use
    WHERE account = ? AND credential = ? ORDER BY time DESC, address, client, mechanism"""


@dataclass(frozen=True, slots=True)
class ClientUse:
    """A client that logged in with a credential.

    Args:
        time: when it did so last, in seconds since the epoch.
        address: whence.
        client: the name it gave itself in EHLO.
        mechanism: how.
    """

    time: float
    address: str
    client: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class Use:
    """The last login with a credential.

    Args:
        time: when, in seconds since the epoch.
        address: whence.
        mechanism: how.
        tls: version and cipher.
        client: the name the client gave itself in EHLO.
        uses: how many logins there were.
    """

    time: float
    address: str
    mechanism: str
    tls: str
    client: str
    uses: int = 1


_Key = tuple[str, str]  # account and credential
_ClientKey = tuple[str, str, str, str, str]  # these, address, client, mechanism


class LastUsed:
    """Hears of logins, and writes them down.

    Args:
        database: the node's state file.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[_Key, Use] = {}
        self._clients: dict[_ClientKey, float] = {}
        self._forgot_at = float("-inf")

    def __call__(self, event: Event) -> None:
        """Note a login."""
        if not isinstance(event, LoginSucceeded):
            return
        key = (event.login, event.credential)
        use = Use(self._clock.now(), event.peer, event.mechanism, event.tls, event.client[:_TEXT_LIMIT])
        self._note(key, use)
        self._note_client((*key, use.address, use.client, use.mechanism), use.time)

    def _note_client(self, key: _ClientKey, time: float) -> None:
        if key in self._clients or len(self._clients) < _LIMIT:
            self._clients[key] = max(time, self._clients.get(key, time))

    def _note(self, key: _Key, use: Use) -> None:
        known = self._waiting.get(key)
        if known is not None:
            last = use if use.time >= known.time else known
            self._waiting[key] = replace(last, uses=known.uses + use.uses)
        elif len(self._waiting) < _LIMIT:
            self._waiting[key] = use

    async def run(self) -> None:
        """Write every few seconds; until cancelled."""
        while True:
            await self._clock.sleep(_WRITE_EVERY)
            await self.write()
            now = self._clock.monotonic()
            if now - self._forgot_at >= _FORGET_EVERY:
                self._forgot_at = now
                limit = self._clock.now() - _KEEP
                with contextlib.suppress(StateUnavailable):
                    await self._database.write(
                        lambda connection, limit=limit: _forget(connection, limit)  # type: ignore[misc]
                    )

    async def write(self) -> None:
        """Write what was noted; what cannot be written waits on."""
        waiting, self._waiting = self._waiting, {}
        clients, self._clients = self._clients, {}
        if not waiting:
            return
        rows = [
            (*key, use.time, use.address, use.mechanism, use.tls, use.client, use.uses) for key, use in waiting.items()
        ]
        try:
            await self._database.write(lambda connection: _write(connection, rows, clients))
        except StateUnavailable:
            for key, use in waiting.items():
                self._note(key, use)
            for client, time in clients.items():
                self._note_client(client, time)


def _write(
    connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]], clients: Mapping[_ClientKey, float]
) -> None:
    connection.executemany(_WRITE, rows)
    connection.executemany(_WRITE_CLIENT, [(*key, time) for key, time in clients.items()])
    credentials = {key[:2] for key in clients}
    connection.executemany(_FORGET_CLIENTS, [(*key, _CLIENTS - 1) for key in credentials])


def _forget(connection: sqlite3.Connection, limit: float) -> None:
    for table in ("last_used", "client_use"):
        connection.execute(f"DELETE FROM {table} WHERE time < ?", (limit,))  # noqa: S608 - names of ours


def read_clients(path: Path, only: Collection[_Key]) -> dict[_Key, tuple[ClientUse, ...]]:
    """Return the clients that used some credentials, by account and id, those that came last first.

    Raises:
        StateUnavailable: it cannot be read.
    """
    if not only or not path.exists():
        return {}
    database = Database(path)
    try:
        return {key: tuple([ClientUse(*row) for row in database.read(_READ_CLIENTS, key)]) for key in only}
    finally:
        database.close()


def read_uses(path: Path, only: Collection[_Key] | None = None) -> dict[_Key, Use]:
    """Return what is known of every credential, or of some, by account and id; nothing if there is no such file.

    Raises:
        StateUnavailable: it cannot be read.
    """
    if not path.exists():
        return {}
    database = Database(path)
    try:
        rows = database.read(_READ) if only is None else [row for key in only for row in database.read(_READ_ONE, key)]
    finally:
        database.close()
    return {(row[0], row[1]): Use(*row[2:]) for row in rows}
