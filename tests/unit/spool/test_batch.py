"""A batch as statements: whole or not at all, however many rows it has, and of whatever kind."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.model.address import Mailbox
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.spool.batch import Batch, prepare
from gatepost.spool.change import Change
from gatepost.spool.row import row_of
from gatepost.spool.schema import connect_writer, migrate
from gatepost.spool.transition import new_entry


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect_writer(tmp_path)
    migrate(connection, tmp_path)
    prepare(connection)
    yield connection
    connection.close()


@pytest.fixture
def future() -> Iterator[asyncio.Future[None]]:
    loop = asyncio.new_event_loop()
    yield loop.create_future()
    loop.close()


def keep(future: asyncio.Future[None], number: int, file_bytes: int | None = None) -> Change:
    name = MessageId(f"m{number}")
    entry = new_entry(name, Envelope(None, (Recipient(Mailbox("kim", "example.org")),)), 1.0, 2.0)
    return Change(future, messages=(row_of(entry, file_bytes),), contents=((name, b"%d" % number),))


def remove(future: asyncio.Future[None], number: int) -> Change:
    return Change(future, removed=(MessageId(f"m{number}"),))


def kept(database: sqlite3.Connection) -> dict[str, bytes]:
    assert database.execute("SELECT id FROM message ORDER BY id").fetchall() == [
        (name,) for (name,) in database.execute("SELECT id FROM content ORDER BY id")
    ]
    return dict(database.execute("SELECT id, octets FROM content"))


def write(database: sqlite3.Connection, changes: list[Change]) -> bool:
    """Write *changes* as the writer does; tell whether it took one statement."""
    batch = Batch(changes)
    if not batch.is_one_statement:
        database.execute("BEGIN IMMEDIATE")
    batch.apply(database)
    if not batch.is_one_statement:
        database.execute("COMMIT")
    return batch.is_one_statement


@pytest.mark.parametrize("count", [1, 2, 5, 7, 63, 64])
def test_as_many_as_fit_are_one_statement_and_a_transaction(
    database: sqlite3.Connection, future: asyncio.Future[None], count: int
) -> None:
    assert write(database, [keep(future, number) for number in range(count)])
    assert not database.in_transaction
    assert kept(database) == {f"m{number}": b"%d" % number for number in range(count)}
    assert write(database, [remove(future, number) for number in range(1, count)])
    assert kept(database) == {"m0": b"0"}


def test_more_than_fit_want_a_transaction(database: sqlite3.Connection, future: asyncio.Future[None]) -> None:
    assert not write(database, [keep(future, number) for number in range(200)])
    assert len(kept(database)) == 200
    assert not write(database, [remove(future, number) for number in range(1, 200)])
    assert kept(database) == {"m0": b"0"}


def test_large_contents_are_not_all_in_one_statement(
    database: sqlite3.Connection, future: asyncio.Future[None]
) -> None:
    large = [
        Change(future, messages=each.messages, contents=((each.contents[0][0], bytes(60_000)),))
        for each in (keep(future, number) for number in range(64))
    ]
    assert sorted(len(part) for part in Batch(large)._parts) == [13, 17, 17, 17]
    assert not write(database, large)
    assert {len(octets) for octets in kept(database).values()} == {60_000}
    one = Change(future, messages=keep(future, 99).messages, contents=((MessageId("m99"), bytes(2_000_000)),))
    assert write(database, [one, remove(future, 1)])


def test_what_is_kept_and_what_is_removed_go_together(
    database: sqlite3.Connection, future: asyncio.Future[None]
) -> None:
    assert write(database, [keep(future, 1)])
    assert write(database, [keep(future, 2), remove(future, 1), keep(future, 3)])
    assert set(kept(database)) == {"m2", "m3"}


def test_one_that_cannot_be_kept_keeps_all_others_out(
    database: sqlite3.Connection, future: asyncio.Future[None]
) -> None:
    write(database, [keep(future, 1)])
    batch = Batch([remove(future, 1), keep(future, 2), keep(future, 3), keep(future, 3)])
    assert batch.is_one_statement
    with pytest.raises(sqlite3.IntegrityError):
        batch.apply(database)
    assert not database.in_transaction
    assert set(kept(database)) == {"m1"}


@pytest.mark.parametrize("file_bytes", [None, 0, 1, 1 << 40])
def test_a_body_in_a_file_has_its_length_in_the_row(
    database: sqlite3.Connection, future: asyncio.Future[None], file_bytes: int | None
) -> None:
    change = keep(future, 1, file_bytes)
    write(database, [change])
    names = "id, due, held, accepted_at, attempts, stalled, file_bytes, envelope, progress, lane"
    assert database.execute(f"SELECT {names} FROM message").fetchall() == list(change.messages)


def test_results_and_what_an_operator_changed_stand_in_a_transaction(
    database: sqlite3.Connection, future: asyncio.Future[None]
) -> None:
    write(database, [keep(future, number) for number in range(3)])
    one, two, three = (MessageId(f"m{number}") for number in range(3))
    changes = [
        Change(future, updates=((5.0, 6.0, 7, "[]", one),)),
        Change(future, alterations=((True, None, True, two),)),
        Change(future, rewrites=((8.0, "{}", "", three),)),
        keep(future, 3),
    ]
    assert not write(database, changes)
    found = database.execute(
        "SELECT due, held, attempts, stalled, progress, envelope FROM message ORDER BY id"
    ).fetchall()
    assert found[0][:5] == (5.0, 0, 7, 6.0, "[]")
    assert found[1][:2] == (2.0, 1)
    assert (found[2][0], found[2][5]) == (8.0, "{}")
    assert len(found) == 4


def test_what_is_written_to_is_seen_by_nobody_else(database: sqlite3.Connection, tmp_path: Path) -> None:
    with (
        sqlite3.connect(tmp_path / "spool.db") as other,
        pytest.raises(sqlite3.OperationalError, match="no such table"),
    ):
        other.execute("SELECT * FROM batch")
    other.close()
    assert database.execute("SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone() == (0,)
