"""A disk that fails on purpose: files and a database that do as told, but for the one call that was named."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

from contracts.spool_contract import SteppedClock
from gatepost.spool.files import Files
from gatepost.spool.schema import connect_writer
from gatepost.spool.sqlite import SqliteSpool

__all__ = ["Databases", "FailingConnection", "FailingFiles", "body_files", "reopened"]


class FailingFiles(Files):
    """Does what `Files` does, but for the one call that was named."""

    def __init__(self) -> None:
        self.failing = ""
        self.passes = 0
        self.error = errno.EIO
        self.calls: list[str] = []

    def fail(self, name: str, passes: int = 0, error: int = errno.EIO) -> None:
        self.failing, self.passes, self.error = name, passes, error

    def _step(self, name: str) -> None:
        self.calls.append(name)
        if name == self.failing:
            if self.passes == 0:
                self.failing = ""
                raise OSError(self.error, os.strerror(self.error))
            self.passes -= 1

    def create(self, path: Path) -> int:
        self._step("create")
        return super().create(path)

    def write(self, fd: int, data: bytes | bytearray) -> None:
        if self.failing == "write half" and self.passes == 0:
            os.write(fd, data[: len(data) // 2])
        self._step("write half")
        self._step("write")
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self._step("sync")
        super().sync(fd)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder")
        super().sync_folder(path)

    def close(self, fd: int) -> None:
        super().close(fd)
        self._step("close")

    def remove(self, path: Path) -> None:
        self._step("remove")
        super().remove(path)

    def read(self, path: Path, size: int, offset: int) -> bytes:
        self._step("read")
        return super().read(path, size, offset)


class FailingConnection(sqlite3.Connection):
    """A database connection, one of whose statements fails."""

    failing = ""
    times = 0
    after = False
    statements: list[str] | None = None

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if self.statements is not None:
            self.statements.append(sql)
        if self.failing and sql.startswith(self.failing) and self.times > 0:
            self.times -= 1
            if self.after:
                super().execute(sql, *arguments)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *arguments)


class Databases:
    """Opens the database for the spool, and keeps hold of what it opened."""

    def __init__(self) -> None:
        self.opened: list[FailingConnection] = []

    def __call__(self, folder: Path) -> sqlite3.Connection:
        connect_writer(folder).close()
        connection = sqlite3.connect(
            folder / "spool.db", isolation_level=None, check_same_thread=False, factory=FailingConnection
        )
        connection.execute("PRAGMA synchronous = FULL")
        self.opened.append(connection)
        return connection

    @property
    def last(self) -> FailingConnection:
        return self.opened[-1]


def reopened(tmp_path: Path) -> SqliteSpool:
    return SqliteSpool(tmp_path / "spool", clock=SteppedClock(), reserve_bytes=0)


def body_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "spool" / "bodies").iterdir())
