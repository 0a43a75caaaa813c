"""Messages that were kept, and whose 250 the client cannot have seen: it will send them again.

Noted when a session ends without an octet from its client after our 250, and known to all workers of the node for some
minutes.  A note that is lost, with a process or with trouble of the state file, costs a message that comes twice.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from gatepost.errors import StateUnavailable
from gatepost.model.clock import Clock
from gatepost.model.envelope import MessageId
from gatepost.state.database import Database
from gatepost.state.keys import Keys

__all__ = ["Fingerprint", "Unheard"]

_FIND: Final = "SELECT message FROM unheard WHERE fingerprint = ? AND until > ?"
_NOTE: Final = """
    INSERT INTO unheard (fingerprint, message, until) VALUES (?, ?, ?)
    ON CONFLICT (fingerprint) DO UPDATE SET message = excluded.message, until = excluded.until"""
_FORGET: Final = "DELETE FROM unheard WHERE until <= ?"
_HEARD: Final = "DELETE FROM unheard WHERE fingerprint = ?"


class Fingerprint:
    """What tells one submission from every other, made while its content comes in.

    Args:
        key: of the node: who reads the state file cannot guess contents.
        write: takes the body.
    """

    __slots__ = ("_hash", "_write")

    def __init__(self, key: bytes, write: Callable[[bytes], None]) -> None:
        self._hash = blake2b(key=key, digest_size=16)
        self._write = write

    def write(self, piece: bytes) -> None:
        """Take a piece of the body, and hand it on."""
        self._hash.update(piece)
        self._write(piece)

    def close(self, *parts: bytes) -> bytes:
        """Return the fingerprint of the body and of what else belongs to the submission."""
        lengths = b""
        for part in parts:
            self._hash.update(part)
            lengths += len(part).to_bytes(8, "big")
        self._hash.update(lengths)  # last, and as long as there are parts: nothing runs into what stands before it
        return self._hash.digest()


class Unheard:
    """Knows them.

    Args:
        database: the node's state file.
        keys: of the node.
        clock: what time it is.
        seconds: how long they are known.
    """

    def __init__(self, database: Database, keys: Keys, clock: Clock, seconds: float) -> None:
        self._database = database
        self._key = keys.derive("unheard submissions")
        self._clock = clock
        self._seconds = seconds

    def fingerprint(self, write: Callable[[bytes], None]) -> Fingerprint:
        """Begin the fingerprint of a message whose body goes to *write*."""
        return Fingerprint(self._key, write)

    def find(self, fingerprint: bytes) -> MessageId | None:
        """Return the id of the message that was kept for a submission like this; None if none is known."""
        with contextlib.suppress(StateUnavailable):
            for (message,) in self._database.read(_FIND, (fingerprint, self._clock.now())):
                return MessageId(message)
        return None

    def forget(self, fingerprint: bytes) -> None:
        """Take it that a client has heard of its message: the next one like it is another."""
        self._database.submit(lambda connection: connection.execute(_HEARD, (fingerprint,)))

    def note(self, fingerprint: bytes, message: MessageId) -> None:
        """Remember a message whose client cannot know that it was kept."""
        now = self._clock.now()

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(_FORGET, (now,))
            connection.execute(_NOTE, (fingerprint, message, now + self._seconds))

        self._database.submit(change)
