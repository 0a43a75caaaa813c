"""What a start finds, and what a reader sees beside a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.spool_contract import PREFIX, SteppedClock, commit, delivered, octets, read
from gatepost.errors import ConfigError, SpoolUnavailable
from gatepost.model.envelope import MessageId
from gatepost.observe.events import Event, SpoolTroubled
from gatepost.spool.reader import open_reader
from gatepost.spool.schema import MIGRATIONS, connect_writer
from gatepost.spool.sqlite import SqliteSpool

LARGE = 300_000


def opened(folder: Path, events: list[Event] | None = None) -> SqliteSpool:
    emit = None if events is None else events.append
    return SqliteSpool(folder, clock=SteppedClock(), reserve_bytes=0, emit=emit)


async def test_a_file_that_no_message_names_is_removed(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    small, large = await commit(spool), await commit(spool, octets(LARGE))
    await spool.close()
    strays = ["0" * 16, small.id, "something else"]
    for name in strays:
        (tmp_path / "bodies" / name).write_bytes(b"half a mess")
    events: list[Event] = []
    again = opened(tmp_path, events)
    assert again.recovered.removed == 3
    assert events == []
    assert [path.name for path in (tmp_path / "bodies").iterdir()] == [large.id]
    assert await read(again, small.id) == PREFIX + b"hello\r\n"
    assert await read(again, large.id) == PREFIX + octets(LARGE)
    await again.close()


@pytest.mark.parametrize("damage", ["gone", "short", "long"])
async def test_a_message_without_its_whole_body_is_put_on_hold_and_said_aloud(tmp_path: Path, damage: str) -> None:
    spool = opened(tmp_path)
    lost = await commit(spool, octets(LARGE), "ann@example.net", "bob@example.net")
    others = [await commit(spool, octets(LARGE)) for _ in range(3)]
    await spool.close()
    path = tmp_path / "bodies" / lost.id
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, LARGE - 1 if damage == "short" else LARGE + 1)
    events: list[Event] = []
    again = opened(tmp_path, events)
    assert again.recovered.lost == (lost.id,)
    assert [type(event) for event in events] == [SpoolTroubled]
    assert lost.id in str(events[0])
    entry = again.entry(lost.id)
    assert entry is not None
    assert entry.is_held
    assert {each.reply for each in entry.progress} == {"451 4.3.0 the body of this message is missing from the spool"}
    assert again.due(float("inf"), 10) == [other.id for other in others]
    await again.close()


async def test_a_message_of_which_nothing_can_be_read_keeps_no_spool_from_opening(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    broken, whole = await commit(spool, octets(LARGE)), await commit(spool)
    await spool.close()
    (tmp_path / "bodies" / broken.id).unlink()
    connection = connect_writer(tmp_path)
    connection.execute("UPDATE message SET envelope = '{' WHERE id = ?", (broken.id,))
    connection.close()
    again = opened(tmp_path)
    assert again.recovered.lost == (broken.id,)
    assert again.due(float("inf"), 10) == [whole.id]
    with pytest.raises(SpoolUnavailable, match="cannot be read"):
        again.entry(broken.id)
    # It can still be dropped.
    assert await again.alter(broken.id, held=False)
    assert await again.remove(broken.id) == ()
    assert again.count() == 1
    await again.close()


async def test_an_empty_folder_a_missing_one_and_a_deep_one_become_spools(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "a", tmp_path / "b" / "c" / "d"):
        spool = opened(folder)
        await commit(spool)
        await spool.close()


async def test_a_spool_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    await commit(spool)
    await spool.close()
    connection = connect_writer(tmp_path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="version 99"):
        opened(tmp_path)
    with pytest.raises(ConfigError, match="version 99"):
        open_reader(tmp_path)
    connection = connect_writer(tmp_path)
    assert connection.execute("SELECT count(*) FROM message").fetchone() == (1,)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.close()
    await opened(tmp_path).close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"hello " * 1000)
    with pytest.raises(SpoolUnavailable, match="cannot be opened: file is not a database"):
        opened(tmp_path)


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(SpoolUnavailable, match="cannot be opened"):
        opened(tmp_path / "spool")


async def test_a_reader_sees_what_the_server_keeps_while_it_runs(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with open_reader(tmp_path) as reader:
        assert reader.count() == 0
        small, large = await commit(spool), await commit(spool, octets(LARGE))
        assert reader.count() == 2
        assert reader.list() == spool.list()
        assert reader.list(limit=1) == spool.list(limit=1)
        assert reader.list(after=small.id) == [spool.entry(large.id)]
        assert reader.entry(MessageId("0" * 16)) is None
        for receipt, body in ((small, b"hello\r\n"), (large, octets(LARGE))):
            entry = reader.entry(receipt.id)
            assert entry is not None
            assert b"".join(reader.content(entry)) == PREFIX + body
        await spool.settle(large.id, delivered(entry))
        with pytest.raises(SpoolUnavailable):
            list(reader.content(entry))
        assert reader.count() == 1
        await spool.close()
        assert reader.count() == 1
        again = opened(tmp_path)
        await commit(again)
        assert reader.count() == 2
        await again.close()


async def test_a_reader_finds_a_body_that_is_damaged(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    receipts = [await commit(spool, octets(LARGE)) for _ in range(2)]
    (tmp_path / "bodies" / receipts[0].id).unlink()
    os.truncate(tmp_path / "bodies" / receipts[1].id, 1000)
    with open_reader(tmp_path) as reader:
        for entry in reader.list():
            with pytest.raises(SpoolUnavailable):
                list(reader.content(entry))
    await spool.close()


async def test_a_list_passes_over_rows_that_are_damaged_and_tells(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    receipts = [await commit(spool) for _ in range(7)]
    await spool.close()
    names = [each.id for each in receipts]
    connection = connect_writer(tmp_path)
    for name in (names[0], names[1], names[4], names[6]):
        connection.execute("UPDATE message SET envelope = '{' WHERE id = ?", (name,))
    connection.close()
    told: list[str] = []
    with open_reader(tmp_path, told.append) as reader:
        assert [each.id for each in reader.list()] == [names[2], names[3], names[5]]
        assert [name for name in names if any(name in each for each in told)] == [
            names[0],
            names[1],
            names[4],
            names[6],
        ]
        assert [each.id for each in reader.list(limit=1)] == [names[2]]
        assert [each.id for each in reader.list(after=names[3], limit=1)] == [names[5]]
        assert reader.list(after=names[5]) == []
        assert reader.count() == 7
    again = opened(tmp_path)
    assert [each.id for each in again.list(limit=2)] == [names[2], names[3]]
    await again.close()


async def test_a_row_without_content_is_trouble_for_its_reader(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    receipt = await commit(spool)
    entry = spool.entry(receipt.id)
    await spool.close()
    connection = connect_writer(tmp_path)
    connection.execute("DELETE FROM content")
    connection.close()
    again = opened(tmp_path)
    with pytest.raises(SpoolUnavailable, match="content"):
        async with again.content(entry):
            pass
    await again.close()


def test_there_is_no_reader_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable):
        open_reader(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
