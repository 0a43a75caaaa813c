"""The node's state file: shared by processes, and in no trouble that stops mail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from gatepost.errors import ConfigError, StateUnavailable
from gatepost.observe.emit import Emitter
from gatepost.observe.events import StateTroubled
from gatepost.state import database as database_module
from gatepost.state import file as file_module
from gatepost.state.database import Database
from gatepost.state.schema import MIGRATIONS

ADD = "INSERT INTO guess VALUES (?, 0, 1) ON CONFLICT DO UPDATE SET count = count + 1"
COUNT = "SELECT count FROM guess WHERE subject = ?"


class Opened:
    """A database, and what it tells."""

    def __init__(self, path: Path) -> None:
        self.events: list = []
        self.database = Database(path, emit=Emitter(self.events.append))

    def __enter__(self) -> Self:
        self.database.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    async def add(self, subject: str = "x") -> None:
        await self.database.write(lambda connection: connection.execute(ADD, (subject,)))

    def count(self, subject: str = "x") -> int:
        rows = self.database.read(COUNT, (subject,))
        return rows[0][0] if rows else 0

    async def troubles(self) -> list[str]:
        await asyncio.sleep(0)
        assert all(type(each) is StateTroubled for each in self.events)
        return [each.reason for each in self.events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def test_what_was_written_is_read_by_all(path: Path) -> None:
    with Opened(path) as one, Opened(path) as other:
        assert one.count() == other.count() == 0
        await one.add()
        assert one.count() == other.count() == 1
        await other.add()
        assert one.count() == 2
        assert await one.troubles() == await other.troubles() == []
    with Opened(path) as again:
        assert again.count() == 2


async def test_the_file_is_for_its_owner_only(path: Path) -> None:
    with Opened(path) as opened:
        await opened.add()
        for each in path.parent.iterdir():
            assert stat.S_IMODE(each.stat().st_mode) == 0o600, each


async def test_changes_that_wait_are_one_transaction_and_a_bad_one_spoils_no_other(path: Path) -> None:
    with Opened(path) as opened:
        held, go = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            held.set()
            assert go.wait(60)

        first = opened.database.submit(wait)
        assert held.wait(60)
        good = [opened.database.submit(lambda c: c.execute(ADD, ("x",)).rowcount) for _ in range(5)]
        wrong = opened.database.submit(lambda c: c.execute("SELECT * FROM absent"))
        odd = opened.database.submit(lambda _: int("odd"))
        more = opened.database.submit(lambda c: c.execute(ADD, ("x",)).rowcount)
        go.set()
        await asyncio.wrap_future(more)
        assert first.result() is None
        assert [each.result() for each in good] == [1] * 5
        with pytest.raises(StateUnavailable, match="no such table"):
            wrong.result()
        with pytest.raises(ValueError, match="odd"):
            odd.result()
        assert opened.count() == 6


async def test_a_change_that_was_given_up_before_its_turn_is_not_done(path: Path) -> None:
    with Opened(path) as opened:
        held, go = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            held.set()
            assert go.wait(60)

        opened.database.submit(wait)
        assert held.wait(60)
        task = asyncio.create_task(opened.add())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await opened.add("y")
        assert (opened.count("x"), opened.count("y")) == (0, 1)


async def test_too_many_changes_are_turned_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_QUEUE_LIMIT", 3)
    with Opened(path) as opened:
        held, go = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            held.set()
            assert go.wait(60)

        opened.database.submit(wait)
        assert held.wait(60)
        taken = [opened.database.submit(lambda c: c.execute(ADD, ("x",))) for _ in range(3)]
        with pytest.raises(StateUnavailable, match="too many"):
            await opened.add()
        go.set()
        await asyncio.wrap_future(taken[-1])
        assert opened.count() == 3
        assert len(await opened.troubles()) == 1


async def test_what_waits_is_written_when_it_is_closed_and_nothing_later(path: Path) -> None:
    with Opened(path) as opened:
        futures = [opened.database.submit(lambda c: c.execute(ADD, ("x",))) for _ in range(600)]
    assert all(each.done() and each.exception() is None for each in futures)
    with pytest.raises(StateUnavailable, match="closed"):
        await opened.add()
    with Opened(path) as again:
        assert again.count() == 600


def test_the_command_line_needs_no_loop(path: Path) -> None:
    with Opened(path) as opened:
        assert opened.database.change(lambda c: c.execute(ADD, ("x",)).rowcount) == 1
        assert opened.count() == 1


@pytest.mark.parametrize("octets", [b"no database at all" * 999, b"SQLite format 3\0" + b"\xff" * 8176])
async def test_a_file_that_is_no_database_is_set_aside_and_begun_anew(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    with Opened(path) as opened:
        await opened.add()
        assert opened.count() == 1
        [reason] = await opened.troubles()
        assert "state.db.damaged" in reason
    assert path.with_name("state.db.damaged").read_bytes() == octets


async def test_a_file_that_breaks_under_way_is_set_aside_for_all_who_have_it_open(path: Path) -> None:
    with Opened(path) as one, Opened(path) as other:
        await one.add()
        assert other.count() == 1
        one.database._checkpoint()
        # Every page but the first, which SQLite looks at again only when another has written.
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        # A change by another process lets everybody forget what they remember of the pages.
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as stranger:
            stranger.execute("PRAGMA wal_autocheckpoint = 0")
            stranger.execute("PRAGMA user_version = 2")
        await one.add()
        assert one.count() == 1
        assert any("damaged" in each for each in await one.troubles())
        await other.add()
        other.database._looked_at = 0.0
        assert other.count() == one.count() == 2
        assert not any("damaged, kept" in each for each in await other.troubles())
    with Opened(path) as again:
        assert again.count() == 2


async def test_damage_that_only_a_reader_meets_is_seen_to_as_well(path: Path) -> None:
    with Opened(path) as opened:
        for number in range(2000):
            opened.database.submit(lambda c, number=number: c.execute(ADD, (f"subject {number:06}",)))
        await opened.add("subject 001000")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))
    with Opened(path) as opened:
        with pytest.raises(StateUnavailable, match="malformed"):
            opened.count("subject 001000")
        # The writer was told to look.
        await opened.add("y")
        opened.database._looked_at = 0.0
        assert (opened.count("y"), opened.count("subject 001000")) == (1, 0)
        assert path.with_name("state.db.damaged").exists()


async def test_a_file_that_vanished_is_made_anew(path: Path) -> None:
    with Opened(path) as opened:
        await opened.add()
        for each in path.parent.glob("state.db*"):
            each.unlink()
        await opened.add("y")
        opened.database._looked_at = 0.0
        assert (opened.count("x"), opened.count("y")) == (0, 1)


async def test_without_its_folder_it_says_so_and_goes_on_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "away" / "state.db"
    with Opened(path) as opened:
        with pytest.raises(StateUnavailable, match="No such file"):
            await opened.add()
        with pytest.raises(StateUnavailable):
            opened.count()
        assert len(await opened.troubles()) == 1
        path.parent.mkdir()
        await opened.add()
        assert opened.count() == 1


@pytest.fixture
def ordinary_folder() -> Iterator[Path]:
    """Return a folder, and be no root meanwhile, who may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)


async def test_a_read_only_folder_is_told_of_and_written_to_once_it_is_not(ordinary_folder: Path) -> None:
    ordinary_folder.chmod(0o500)
    with Opened(ordinary_folder / "state.db") as opened:
        with pytest.raises(StateUnavailable, match="Permission denied"):
            await opened.add()
        with pytest.raises(StateUnavailable):
            opened.count()
        assert await opened.troubles()
        ordinary_folder.chmod(0o700)
        await opened.add()
        assert opened.count() == 1


async def test_a_full_disk_is_told_of_and_what_stood_there_stays(path: Path) -> None:
    with Opened(path) as opened:
        await opened.add()
        await opened.database.write(lambda c: None)

        def fill(connection: sqlite3.Connection) -> None:
            connection.executemany(ADD, [(f"{number:0500}",) for number in range(200)])

        assert opened.database._writer is not None
        opened.database._writer.execute("PRAGMA max_page_count = 12")
        with pytest.raises(StateUnavailable, match="full"):
            await opened.database.write(fill)
        assert [each.split(": ")[1] for each in await opened.troubles()] == ["database or disk is full"]
        assert opened.count() == 1
        opened.database._writer.execute("PRAGMA max_page_count = 1000")
        await opened.database.write(fill)
        assert opened.count(f"{7:0500}") == 1


async def test_a_lock_that_somebody_keeps_is_waited_for_and_then_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "_PATIENCE", 0.05)
    with Opened(path) as opened:
        await opened.add()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as stuck:
            stuck.execute("PRAGMA wal_autocheckpoint = 0")
            stuck.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateUnavailable, match="locked"):
                await opened.add()
            # A look waits for nobody.
            assert opened.count() == 1
            stuck.execute("ROLLBACK")
        await opened.add()
        assert opened.count() == 2


async def test_the_same_trouble_is_told_of_once_a_minute(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Opened(path / "away" / "state.db") as opened:
        for _ in range(20):
            with pytest.raises(StateUnavailable):
                await opened.add()
        assert len(await opened.troubles()) == 1
        opened.database._told_at -= 61
        with pytest.raises(StateUnavailable):
            await opened.add()
        assert len(await opened.troubles()) == 2


def test_a_file_of_a_newer_gatepost_is_left_alone(path: Path) -> None:
    with Opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="newer gatepost"):
        Database(path).open()
    assert path.read_bytes() == before


async def test_an_older_file_is_brought_up_to_date_with_what_is_in_it(path: Path) -> None:
    older = Database(path, migrations=MIGRATIONS[:1])
    older.open()
    older.change(lambda c: c.execute(ADD, ("x",)))
    older.close()
    with Opened(path) as opened:
        assert opened.count() == 1
        assert opened.database.read("PRAGMA user_version") == [(len(MIGRATIONS),)]


async def test_the_log_does_not_grow_without_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_CHECKPOINT_EVERY", 20)
    with Opened(path) as one, Opened(path) as other:
        for _ in range(150):
            await one.add()
            await other.add()
        assert path.with_name("state.db-wal").stat().st_size < 100 * 4096 * 3
        assert one.count() == 300
        # The file alone holds nearly all.
        copy = path.with_name("copy.db")
        copy.write_bytes(path.read_bytes())
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute(COUNT, ("x",)).fetchone()[0] > 200


async def test_in_quiet_times_the_log_is_moved_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_QUIET", 0.01)
    with Opened(path) as opened:
        before = path.stat().st_mtime_ns
        await opened.add()
        async with asyncio.timeout(60):
            # The file itself is written to by nothing else.
            while path.stat().st_mtime_ns == before:
                await asyncio.sleep(0.005)


CHILD = """
import sys
from pathlib import Path
import gatepost.state.file as file
from gatepost.state.database import Database
file._PATIENCE = 60.0  # nobody gives up because the machine is slow
database = Database(Path(sys.argv[1]))
database.open()
print("open", flush=True)
add = "INSERT INTO guess VALUES (?, 0, 1) ON CONFLICT DO UPDATE SET count = count + 1"
for number in range(int(sys.argv[2])):
    database.change(lambda c: (c.execute(add, ("all",)), c.execute(add, (sys.argv[3],))))
    print(number + 1, flush=True)
database.close()
"""


def child(path: Path, changes: int, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(changes), name], stdout=subprocess.PIPE, text=True
    )


async def test_four_processes_open_a_new_file_at_once_and_lose_no_change(path: Path) -> None:
    children = [child(path, 100, f"child {number}") for number in range(4)]
    for each in children:
        each.communicate(timeout=120)
        assert each.returncode == 0
    with Opened(path) as opened:
        assert opened.count("all") == 400
        assert [opened.count(f"child {number}") for number in range(4)] == [100] * 4
        assert opened.database.read("PRAGMA integrity_check") == [("ok",)]


async def test_a_process_killed_in_mid_write_takes_nothing_with_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was told is written stays; what it was just writing is there whole or not at all; others go on."""
    monkeypatch.setattr(file_module, "_PATIENCE", 60.0)
    with Opened(path) as opened:
        said = 0
        for number in range(5):
            with child(path, 1_000_000, "victim") as victim:
                assert victim.stdout is not None
                while int(victim.stdout.readline().replace("open", "0")) < 10 + 7 * number:
                    await opened.add("ours")
                victim.send_signal(signal.SIGKILL)
                # The last line may be cut short.
                said += int(victim.stdout.read().rpartition("\n")[0].rpartition("\n")[2] or 10 + 7 * number)
            await opened.add("ours")
        assert opened.count("all") == opened.count("victim") >= said > 0
        assert opened.count("victim") <= said + 2 * 5
        assert opened.database.read("PRAGMA integrity_check") == [("ok",)]
        assert await opened.troubles() == []
