"""Every operation on the disk fails once: the message is whole or not there, and the spool goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.spool_contract import PREFIX, SteppedClock, commit, delivered, envelope, octets, read, settled
from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.observe.events import Event, SpoolTroubled
from gatepost.spool.files import Files
from gatepost.spool.schema import connect_writer
from gatepost.spool.spool import Draft, Status
from gatepost.spool.sqlite import SqliteSpool

LARGE = 1_000_000


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


@pytest.fixture
def files() -> FailingFiles:
    return FailingFiles()


@pytest.fixture
def databases() -> Databases:
    return Databases()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def spool(
    tmp_path: Path, files: FailingFiles, databases: Databases, events: list[Event]
) -> AsyncIterator[SqliteSpool]:
    spool = SqliteSpool(
        tmp_path / "spool", clock=SteppedClock(), reserve_bytes=0, files=files, connect=databases, emit=events.append
    )
    files.calls.clear()
    yield spool
    await spool.close()


def reopened(tmp_path: Path) -> SqliteSpool:
    return SqliteSpool(tmp_path / "spool", clock=SteppedClock(), reserve_bytes=0)


def body_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "spool" / "bodies").iterdir())


def descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if "/bodies/" in path]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize(
    ("name", "passes"),
    [("create", 0), ("write", 0), ("write", 1), ("write half", 0), ("sync", 0), ("close", 0), ("sync_folder", 0)],
)
async def test_a_large_message_whose_file_fails_is_not_there(
    spool: SqliteSpool, files: FailingFiles, tmp_path: Path, name: str, passes: int, error: int
) -> None:
    files.fail(name, passes, error)
    with pytest.raises(SpoolUnavailable) as caught:
        await commit(spool, octets(LARGE))
    assert isinstance(caught.value, SpoolFull) == (error == errno.ENOSPC)
    assert files.failing == ""
    assert spool.count() == 0
    assert body_files(tmp_path) == []
    assert descriptors() == []
    receipt = await commit(spool, octets(LARGE))
    await spool.close()
    again = reopened(tmp_path)
    assert [entry.id for entry in again.list()] == [receipt.id]
    assert await read(again, receipt.id) == PREFIX + octets(LARGE)
    await again.close()


async def test_trouble_shows_at_drain_and_what_follows_is_thrown_away(
    spool: SqliteSpool, files: FailingFiles, tmp_path: Path
) -> None:
    files.fail("write", 1)
    incoming = spool.begin()
    incoming.write(octets(200_000))
    await incoming.drain()
    incoming.write(octets(LARGE))
    with pytest.raises(SpoolUnavailable):
        while True:
            await incoming.drain()
            incoming.write(octets(LARGE))
    assert incoming.backlog_bytes == 0
    incoming.write(octets(LARGE))
    assert incoming.backlog_bytes == 0
    with pytest.raises(SpoolUnavailable):
        await incoming.commit(envelope(), PREFIX)
    incoming.abort()
    await spool.close()
    assert body_files(tmp_path) == []


async def test_the_file_is_durable_before_its_row_is_written(
    spool: SqliteSpool, files: FailingFiles, databases: Databases
) -> None:
    databases.last.statements = files.calls
    await commit(spool, octets(100_000))
    steps = [call for call in files.calls if not call.startswith(("PRAGMA", "write half"))]
    names = [step.split("(")[0].strip() for step in steps]
    assert names == [
        *("create", "write", "write", "sync", "close", "sync_folder"),
        *("BEGIN IMMEDIATE", "INSERT INTO message VALUES", "INSERT INTO content VALUES", "COMMIT"),
    ]


async def test_a_body_is_removed_after_the_commit_that_finishes_it(
    spool: SqliteSpool, files: FailingFiles, databases: Databases, tmp_path: Path
) -> None:
    receipt = await commit(spool, octets(100_000))
    entry = spool.entry(receipt.id)
    files.calls.clear()
    databases.last.statements = files.calls
    await spool.settle(receipt.id, delivered(entry))
    await spool.close()
    assert files.calls.index("COMMIT") < files.calls.index("remove")
    assert body_files(tmp_path) == []


async def test_a_body_that_cannot_be_removed_is_left_for_the_next_start(
    spool: SqliteSpool, files: FailingFiles, tmp_path: Path
) -> None:
    receipt = await commit(spool, octets(100_000))
    files.fail("remove")
    await spool.settle(receipt.id, delivered(spool.entry(receipt.id)))
    await spool.close()
    assert body_files(tmp_path) == [receipt.id]
    again = reopened(tmp_path)
    assert again.recovered.removed == 1
    assert body_files(tmp_path) == []
    assert again.count() == 0
    await again.close()


async def test_a_body_that_cannot_be_read_is_trouble_for_that_reader_only(
    spool: SqliteSpool, files: FailingFiles
) -> None:
    receipt = await commit(spool, octets(LARGE))
    files.fail("read", 1)
    with pytest.raises(SpoolUnavailable):
        await read(spool, receipt.id)
    assert await read(spool, receipt.id) == PREFIX + octets(LARGE)


@pytest.mark.parametrize("damage", ["gone", "short"])
async def test_a_body_that_vanishes_while_it_is_read_is_trouble(
    spool: SqliteSpool, tmp_path: Path, damage: str
) -> None:
    receipt = await commit(spool, octets(LARGE))
    path = tmp_path / "spool" / "bodies" / receipt.id
    async with spool.content(spool.entry(receipt.id)) as content:
        pieces = content.chunks()
        assert await anext(pieces) == PREFIX
        await anext(pieces)
        if damage == "gone":
            path.unlink()
        else:
            os.truncate(path, 300_000)
        with pytest.raises(SpoolUnavailable):
            async for _ in pieces:
                pass


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO message", "INSERT INTO content", "COMMIT"])
async def test_a_message_whose_transaction_fails_is_not_there(
    spool: SqliteSpool, databases: Databases, events: list[Event], tmp_path: Path, statement: str, size: int
) -> None:
    databases.last.failing, databases.last.times = statement, 1
    with pytest.raises(SpoolUnavailable):
        await commit(spool, octets(size))
    assert spool.count() == 0
    assert spool.list() == []
    assert [type(event) for event in events] == [SpoolTroubled]
    receipt = await commit(spool, octets(size))
    assert len(events) == 1
    await spool.close()
    # A body whose commit failed is kept until a later commit has overwritten that one in the log.
    assert body_files(tmp_path) == ([receipt.id] if size == LARGE else [])
    again = reopened(tmp_path)
    assert [entry.id for entry in again.list()] == [receipt.id]
    assert await read(again, receipt.id) == PREFIX + octets(size)
    await again.close()


async def test_a_body_whose_commit_is_in_doubt_outlives_a_crash(
    spool: SqliteSpool, databases: Databases, tmp_path: Path
) -> None:
    # The log got the commit, and the sync of it failed: the next start finds the message, and it must be whole.
    databases.last.failing, databases.last.times, databases.last.after = "COMMIT", 1, True
    with pytest.raises(SpoolUnavailable):
        await commit(spool, octets(LARGE))
    await spool.close()
    again = reopened(tmp_path)
    (entry,) = again.list()
    assert await read(again, entry.id) == PREFIX + octets(LARGE)
    await again.close()


@pytest.mark.parametrize("statement", ["BEGIN", "UPDATE", "INSERT INTO message", "COMMIT"])
async def test_a_settlement_that_fails_is_not_written_at_all_and_can_be_tried_again(
    spool: SqliteSpool, databases: Databases, statement: str
) -> None:
    receipt = await commit(spool, b"", "ann@example.net", "bob@example.net")
    entry = spool.entry(receipt.id)
    bounce = Draft(envelope(sender=None), b"Subject: no\r\n\r\n")
    settlement = settled(entry, Status.FAILED, Status.PENDING, bounces=(bounce,))
    databases.last.failing, databases.last.times = statement, 1
    with pytest.raises(SpoolUnavailable):
        await spool.settle(receipt.id, settlement)
    assert spool.list() == [entry]
    (bounced,) = await spool.settle(receipt.id, settlement)
    assert [each.id for each in spool.list()] == [receipt.id, bounced.id]
    assert spool.entry(receipt.id).attempts == 1


async def test_a_connection_that_cannot_roll_back_is_replaced(spool: SqliteSpool, databases: Databases) -> None:
    broken = databases.last
    broken.failing, broken.times = "INSERT INTO content", 1
    original = broken.execute

    def execute(sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql == "ROLLBACK":
            raise sqlite3.OperationalError("disk I/O error")
        return original(sql, *arguments)

    broken.execute = execute  # type: ignore[method-assign]
    with pytest.raises(SpoolUnavailable):
        await commit(spool)
    receipt = await commit(spool)
    assert len(databases.opened) == 2
    assert [entry.id for entry in spool.list()] == [receipt.id]


async def test_one_change_that_cannot_be_written_does_not_fail_the_others(
    spool: SqliteSpool, databases: Databases
) -> None:
    databases.last.execute(
        "CREATE TRIGGER poison BEFORE INSERT ON message WHEN NEW.envelope LIKE '%poison%'"
        " BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
    )
    receipt = await commit(spool)
    results = await asyncio.gather(
        *[commit(spool, octets(10), "poison@example.net" if number == 7 else "ann@example.net") for number in range(9)],
        spool.settle(receipt.id, delivered(spool.entry(receipt.id))),
        return_exceptions=True,
    )
    assert [type(result) for result in results if isinstance(result, BaseException)] == [SpoolUnavailable]
    assert isinstance(results[7], SpoolUnavailable)
    assert spool.count() == 8
    assert len(spool.list()) == 8


async def test_when_the_database_has_no_room_results_are_still_written_and_new_mail_is_not(
    spool: SqliteSpool, databases: Databases
) -> None:
    receipts = [await commit(spool, octets(10_000)) for _ in range(5)]
    (pages,) = databases.last.execute("PRAGMA page_count").fetchone()
    databases.last.execute(f"PRAGMA max_page_count = {pages}")
    entry = spool.entry(receipts[0].id)
    results = await asyncio.gather(
        *[commit(spool, octets(60_000)) for _ in range(3)],
        spool.settle(receipts[0].id, delivered(entry)),
        return_exceptions=True,
    )
    assert [type(result) for result in results[:3]] == [SpoolFull] * 3
    assert results[3] == ()
    assert [each.id for each in spool.list()] == [receipt.id for receipt in receipts[1:]]
    databases.last.execute("PRAGMA max_page_count = 1000000")
    await commit(spool, octets(60_000))
    assert spool.count() == 5


async def test_nothing_is_kept_while_the_disk_is_broken_and_everything_once_it_is_well(
    spool: SqliteSpool, databases: Databases, events: list[Event]
) -> None:
    first = await commit(spool)
    databases.last.failing, databases.last.times = "COMMIT", 1_000_000
    results = await asyncio.gather(*[commit(spool, octets(10)) for _ in range(20)], return_exceptions=True)
    assert {type(result) for result in results} == {SpoolUnavailable}
    assert len({id(result) for result in results}) == 20
    with pytest.raises(SpoolUnavailable):
        await spool.settle(first.id, delivered(spool.entry(first.id)))
    assert spool.count() == 1
    assert len(events) == 1
    databases.last.times = 0
    await asyncio.gather(*[commit(spool, octets(10)) for _ in range(20)])
    await spool.settle(first.id, delivered(spool.entry(first.id)))
    assert spool.count() == len(spool.list()) == 20


async def test_a_writer_that_ends_by_a_fault_of_ours_leaves_nobody_waiting(
    spool: SqliteSpool, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = []
    monkeypatch.setattr("threading.excepthook", caught.append)
    await commit(spool)

    def execute(sql: str, *arguments: Any) -> sqlite3.Cursor:
        raise ZeroDivisionError

    databases.last.execute = execute  # type: ignore[method-assign]
    with pytest.raises(SpoolUnavailable, match="has ended"):
        await commit(spool)
    with pytest.raises(SpoolUnavailable, match="has ended"):
        await commit(spool)
    assert [hook.exc_type for hook in caught] == [ZeroDivisionError]


async def test_a_large_message_stops_at_half_of_the_reserve(tmp_path: Path) -> None:
    free = 100 << 20

    class SmallDisk(Files):
        def statvfs(self, path: Path) -> os.statvfs_result:
            blocks = free // 4096
            return os.statvfs_result((4096, 4096, blocks, blocks, blocks, 0, 0, 0, 0, 255))

    clock = SteppedClock()
    spool = SqliteSpool(tmp_path / "spool", clock=clock, reserve_bytes=64 << 20, files=SmallDisk())
    incoming = spool.begin()
    incoming.write(octets(300_000))
    await incoming.drain()
    free, clock.time = 60 << 20, clock.time + 2
    with pytest.raises(SpoolFull):
        spool.begin()
    incoming.write(octets(300_000))
    await incoming.drain()
    free, clock.time = 31 << 20, clock.time + 2
    incoming.write(octets(300_000))
    with pytest.raises(SpoolFull):
        await incoming.commit(envelope(), PREFIX)
    await spool.put(Draft(envelope(), b"our own may use the reserve"))
    await spool.close()
    assert body_files(tmp_path) == []


@pytest.mark.parametrize("passes", [0, 1, 2])
async def test_a_spool_that_cannot_be_opened_lets_go_of_everything(
    tmp_path: Path, files: FailingFiles, passes: int
) -> None:
    files.fail("sync_folder", passes)
    with pytest.raises(SpoolUnavailable, match="cannot be opened"):
        SqliteSpool(tmp_path / "spool", clock=SteppedClock(), files=files)
    await reopened(tmp_path).close()


async def test_a_spool_that_is_in_use_says_by_whom(spool: SqliteSpool, tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable, match=f"in use by process {os.getpid()}"):
        reopened(tmp_path)
    await spool.close()
    await reopened(tmp_path).close()


async def test_what_lies_there_is_for_its_owner_only(spool: SqliteSpool, tmp_path: Path) -> None:
    await commit(spool, octets(LARGE))
    for path in (tmp_path / "spool").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
