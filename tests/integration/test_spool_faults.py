"""Every operation on a body's file fails once: the message is whole or not there, and the spool goes on by itself."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.spool_contract import PREFIX, SteppedClock, commit, delivered, envelope, octets, read
from failing_disk import Databases, FailingFiles, body_files, reopened
from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.spool.files import Files
from gatepost.spool.spool import Draft
from gatepost.spool.sqlite import SqliteSpool

LARGE = 1_000_000


@pytest.fixture
def files() -> FailingFiles:
    return FailingFiles()


@pytest.fixture
def databases() -> Databases:
    return Databases()


@pytest.fixture
async def spool(tmp_path: Path, files: FailingFiles, databases: Databases) -> AsyncIterator[SqliteSpool]:
    spool = SqliteSpool(tmp_path / "spool", clock=SteppedClock(), reserve_bytes=0, files=files, connect=databases)
    files.calls.clear()
    yield spool
    await spool.close()


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
    names = [step.split("(")[0].removesuffix("VALUES ").strip() for step in steps]
    assert names == ["create", "write", "write", "sync", "close", "sync_folder", "INSERT INTO batch"]


async def test_a_body_is_removed_after_the_commit_that_finishes_it(
    spool: SqliteSpool, files: FailingFiles, databases: Databases, tmp_path: Path
) -> None:
    receipt = await commit(spool, octets(100_000))
    entry = spool.entry(receipt.id)
    files.calls.clear()
    databases.last.statements = files.calls
    await spool.settle(receipt.id, delivered(entry))
    await spool.close()
    (written,) = [place for place, call in enumerate(files.calls) if call.startswith("INSERT INTO batch")]
    assert written < files.calls.index("remove")
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
