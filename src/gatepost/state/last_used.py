"""When each credential was last used, by whom it seems, and how often: noted at login, written a few seconds later.

A login waits for nothing of it, and a crash may cost the last seconds.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gatepost.errors import StateUnavailable
from gatepost.model.clock import Clock
from gatepost.observe.events import Event, LoginSucceeded
from gatepost.state.database import Database

__all__ = ["LastUsed", "Use", "read_uses"]

_WRITE_EVERY: Final = 3.0
# So many credentials wait to be written at most; what is noted of more is lost.
_LIMIT: Final = 20_000
# What a client says of itself is cut off here.
_TEXT_LIMIT: Final = 255
# Rows of credentials that nobody used for so long are forgotten.
_KEEP: Final = 400 * 86_400.0
_FORGET_EVERY: Final = 86_400.0

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
        self._forgot_at = float("-inf")

    def __call__(self, event: Event) -> None:
        """Note a login."""
        if not isinstance(event, LoginSucceeded):
            return
        key = (event.login, event.credential)
        use = Use(self._clock.now(), event.peer, event.mechanism, event.tls, event.client[:_TEXT_LIMIT])
        self._note(key, use)

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
                        lambda connection, limit=limit: (
                            connection.execute(  # type: ignore[misc]
                                "DELETE FROM last_used WHERE time < ?", (limit,)
                            ).rowcount
                        )
                    )

    async def write(self) -> None:
        """Write what was noted; what cannot be written waits on."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        rows = [
            (*key, use.time, use.address, use.mechanism, use.tls, use.client, use.uses) for key, use in waiting.items()
        ]
        try:
            await self._database.write(lambda connection: _write(connection, rows))
        except StateUnavailable:
            for key, use in waiting.items():
                self._note(key, use)


def _write(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    connection.executemany(_WRITE, rows)


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
