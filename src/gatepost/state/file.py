"""The node's state file on disk: how it is made, opened, and set aside when it is damaged.

Everybody opens it under a lock beside it, so that nobody opens a file that is just being replaced together with the log
of the other one.  Who has the old one open sees by its inode that another stands at its place (`StateFile.inode`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gatepost.errors import StateUnavailable
from gatepost.state.schema import MIGRATIONS, migrate

__all__ = ["StateFile", "is_damage"]

# How long a writer waits for another process, and how long between two looks, in seconds.
_PATIENCE: Final = 2.0
_PAUSE: Final = 0.001
_LOG_BYTES: Final = 4 << 20


def is_damage(error: Exception) -> bool:
    """Tell whether *error* says that the file is damaged, or no database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StateFile:
    """The file at *path*; its folder must be there.

    All methods raise `sqlite3.Error`, `OSError` or `StateUnavailable` when they cannot do what they say.
    """

    def __init__(self, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
        self.path = path
        self._name = str(path)
        self._migrations = migrations

    def inode(self) -> tuple[int, int]:
        """Return what tells this file from another at its place."""
        try:
            status = os.stat(self._name)  # noqa: PTH116 - asked before each look-up, and a third cheaper so
        except FileNotFoundError:
            return (0, 0)
        return (status.st_dev, status.st_ino)

    def open_writer(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        """Open it to write, made or brought up to date if need be; return its inode too.

        Raises:
            ConfigError: a newer gatepost wrote it.
        """
        with self._holding(fcntl.LOCK_EX, _PATIENCE):
            self._make()
            inode = self.inode()
            connection = self.connect()
            try:
                migrate(connection, self.path, self._migrations)
            except BaseException:
                connection.close()
                raise
            return connection, inode

    def open_reader(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        """Open it to read, without waiting; return its inode too."""
        with self._holding(fcntl.LOCK_SH, 0.0):
            inode = self.inode()
            address = f"{self.path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=0.0, check_same_thread=False)
            try:
                # The first look opens the log, which must be the one of this file.
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except BaseException:
                connection.close()
                raise
            return connection, inode

    def connect(self) -> sqlite3.Connection:
        """Connect to what is there, to write."""
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, timeout=_PATIENCE, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StateUnavailable(f"{self.path}: this file system cannot hold a write-ahead log")
            # Synced only when the log is moved: a power cut costs the last changes, which are no mail, never the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def set_aside(self, inode: tuple[int, int]) -> Path | None:
        """Rename the damaged file *inode*, over one that was set aside before; None if another process was faster."""
        with self._holding(fcntl.LOCK_EX, _PATIENCE):
            if self.inode() != inode:
                return None
            aside = self.path.with_name(f"{self.path.name}.damaged")
            for ending in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + ending).replace(aside.with_name(aside.name + ending))
            self.path.replace(aside)
            return aside

    def _make(self) -> None:
        # SQLite would go by the umask; its journals get mode and owner of the database.
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        try:
            self._give_to_owner(descriptor)
        finally:
            os.close(descriptor)

    def _give_to_owner(self, descriptor: int) -> None:
        # Made by root on the command line, it must still be the server's.
        if os.geteuid() == 0:
            owner = self.path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)

    @contextlib.contextmanager
    def _holding(self, kind: int, patience: float) -> Iterator[None]:
        descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._give_to_owner(descriptor)
            deadline = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StateUnavailable(f"{self.path}: another process is just opening it") from None
                    time.sleep(_PAUSE)
            yield
        finally:
            os.close(descriptor)
