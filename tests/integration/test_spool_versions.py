"""A spool that an older gatepost left behind opens, can be looked at before, and what lies in it is delivered."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from contracts.spool_contract import octets
from gatepost.errors import ConfigError
from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Delivered, RemoteReply, Result
from gatepost.model.envelope import Body, MessageId
from gatepost.observe.events import Event, MessageFinished
from gatepost.queue.scheduler import Scheduler
from gatepost.relay.transport import Delivery
from gatepost.spool.reader import open_reader
from gatepost.spool.schema import MIGRATIONS
from gatepost.spool.spool import Status
from gatepost.spool.sqlite import SqliteSpool
from queue_world import ByDomain, Way

HEADER = b"Message-ID: <m1@example.org>\r\nSubject: hello\r\n\r\n"
LARGE = octets(300_000)
SMALL, FILED, TRIED, HELD = (MessageId(f"0sx2{letter}9gq7m3v1k5a"[:16]) for letter in "abcd")

# Just as version 1 wrote it: never to be changed.
VERSION_1 = """
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    CREATE TABLE message (
        id          TEXT PRIMARY KEY,
        due         REAL NOT NULL,
        held        INTEGER NOT NULL,
        accepted_at REAL NOT NULL,
        attempts    INTEGER NOT NULL,
        stalled     REAL NOT NULL,
        file_bytes  INTEGER,
        envelope    TEXT NOT NULL,
        progress    TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX message_by_due ON message (held, due);
    CREATE INDEX message_by_file ON message (id) WHERE file_bytes IS NOT NULL;
    CREATE TABLE content (id TEXT PRIMARY KEY, octets BLOB NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = 1;
"""
TO_ANN = '{"from":"tim@example.org","to":["ann@example.net"],"size":60,"header":47,"account":"tim","credential":"c1"}'
TO_TWO = (
    '{"from":"tim@example.org","to":["ann@example.net","bob@example.net"],"size":60,"header":47,"account":"tim",'
    '"credential":"c1","body":"8BITMIME"}'
)
PROGRESS = (
    '[["delivered",1,"250 2.0.0 taken","mx.example.net",1700000000.5],'
    '["pending",2,"451 4.2.0 greylisted","mx.example.net",1700000060.5]]'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a spool of version 1, with four messages."""
    folder = tmp_path / "0"
    (folder / "bodies").mkdir(parents=True)
    now = time.time() - 60
    with contextlib.closing(sqlite3.connect(folder / "spool.db", isolation_level=None)) as connection:
        connection.executescript(VERSION_1)
        for name, held, attempts, file_bytes, envelope, progress in (
            (SMALL, 0, 0, None, TO_ANN, ""),
            (FILED, 0, 0, len(LARGE), TO_ANN, ""),
            (TRIED, 0, 2, None, TO_TWO, PROGRESS),
            (HELD, 1, 0, None, TO_ANN, ""),
        ):
            connection.execute(
                "INSERT INTO message VALUES (?,?,?,?,?,?,?,?,?)",
                (name, now, held, now, attempts, 0.0, file_bytes, envelope, progress),
            )
            connection.execute("INSERT INTO content VALUES (?,?)", (name, HEADER if file_bytes else HEADER + b"hi\r\n"))
    (folder / "bodies" / FILED).write_bytes(LARGE)
    return folder


class WallClock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


class Hop:
    """Takes everything."""

    def __init__(self) -> None:
        self.taken: list[tuple[MessageId, tuple[str, ...], bytes]] = []

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        whole = b"".join([piece async for piece in delivery.content.chunks()])
        self.taken.append((delivery.message_id, tuple(map(str, delivery.recipients)), whole))
        return [Delivered(RemoteReply.parse(250, "2.0.0 taken"), "mx.example.net")] * len(delivery.recipients)

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def delivering(spool: SqliteSpool, hop: Hop, events: list[Event]) -> AsyncIterator[None]:
    scheduler = Scheduler(
        spool,
        ByDomain({"*": Way("main", hop)}),
        hostname="mail.example.org",
        clock=WallClock(),
        emit=events.append,
    )
    task = asyncio.create_task(scheduler.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_lies_in_a_spool_of_version_1_is_delivered(folder: Path) -> None:
    events: list[Event] = []
    spool = SqliteSpool(folder, clock=WallClock(), reserve_bytes=0, emit=events.append)
    assert spool.count() == 4
    assert (spool.recovered.removed, spool.recovered.lost, spool.recovered.held) == (0, (), ())
    tried = spool.entry(TRIED)
    assert tried is not None
    assert (tried.attempts, tried.crashes, tried.envelope.body) == (2, 0, Body.EIGHT_BIT)
    assert [each.status for each in tried.progress] == [Status.DELIVERED, Status.PENDING]
    hop = Hop()
    async with delivering(spool, hop, events), asyncio.timeout(60):
        while spool.count() > 1:
            await asyncio.sleep(0.01)
    assert sorted(hop.taken) == [
        (SMALL, ("ann@example.net",), HEADER + b"hi\r\n"),
        (FILED, ("ann@example.net",), HEADER + LARGE),
        (TRIED, ("bob@example.net",), HEADER + b"hi\r\n"),
    ]
    assert len([event for event in events if isinstance(event, MessageFinished)]) == 3
    assert [entry.id for entry in spool.list()] == [HELD]
    assert await spool.alter(HELD, held=False)
    await spool.close()
    again = SqliteSpool(folder, clock=WallClock(), reserve_bytes=0)
    assert again.due(float("inf"), 10) == [HELD]
    await again.close()


async def test_a_spool_of_version_1_can_be_looked_at_before_anything_opens_it(folder: Path) -> None:
    before = (folder / "spool.db").read_bytes()
    with open_reader(folder) as reader:
        assert [entry.id for entry in reader.list()] == [SMALL, FILED, TRIED, HELD]
        filed = reader.entry(FILED)
        assert filed is not None
        assert filed.crashes == 0
        assert filed.envelope.reverse_path == parse_mailbox("tim@example.org")
        assert b"".join(reader.content(filed)) == HEADER + LARGE
    assert (folder / "spool.db").read_bytes() == before


async def test_a_spool_of_a_version_to_come_is_refused_and_says_what_to_do(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "spool.db")) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    for opening in (lambda: SqliteSpool(folder, clock=WallClock()), lambda: open_reader(folder)):
        with pytest.raises(
            ConfigError, match=r"written by a newer gatepost.*run the newer one until its queue is empty"
        ):
            opening()
    with contextlib.closing(sqlite3.connect(folder / "spool.db")) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (4,)
