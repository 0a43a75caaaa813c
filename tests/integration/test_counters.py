"""Quotas over all processes of a node: never more than the quota, whoever dies, and none of it lost for long."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gatepost.errors import StateUnavailable
from gatepost.state.counters import Counters
from gatepost.state.database import Database
from gatepost.state.windows import MESSAGES, RECIPIENTS, Shortage, Want
from identities import Clock

DAY = 86_400.0
TIM = "tim@example.org"


def recipients(amount: int = 1, limit: int = 1000) -> list[Want]:
    return [Want(RECIPIENTS, amount, limit)]


def messages(limit: int = 100) -> list[Want]:
    return [Want(MESSAGES, 1, limit)]


class Node:
    """Some processes' worth of counters, on one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock(time=1_800_000_000.0 // 3600 * 3600)
        self.databases: list[Database] = []

    def process(self) -> Counters:
        database = Database(self.path)
        database.open()
        self.databases.append(database)
        return Counters(database, self.clock)

    def die(self, number: int) -> None:
        """Let a process end without a word."""
        self.databases[number].close()

    def counted(self, window: str = "recipients", account: str = TIM) -> int:
        connection = sqlite3.connect(self.path)
        try:
            sql = "SELECT coalesce(sum(amount), 0) FROM quota WHERE quota = ? AND account = ?"
            return int(connection.execute(sql, (window, account)).fetchone()[0])
        finally:
            connection.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path / "state.db")
    yield made
    for database in made.databases:
        database.close()


async def taken(counters: Counters, wants: list[Want], times: int) -> int:
    """Try so often; return how often it went well."""
    return sum([await counters.take(TIM, wants) is None for _ in range(times)])


@pytest.mark.parametrize("limit", [1, 2, 7, 49, 50, 51, 99, 100, 399, 400, 1000])
async def test_a_quota_is_had_to_the_last(node: Node, limit: int) -> None:
    counters = node.process()
    assert await taken(counters, recipients(limit=limit), limit + 20) == limit
    await counters.close()
    assert node.counted() == limit


@pytest.mark.parametrize("limit", [1, 10, 60, 400, 1000])
async def test_processes_together_have_no_more_and_in_the_end_no_less(node: Node, limit: int) -> None:
    processes = [node.process() for _ in range(4)]
    done = 0
    for number in range(limit * 3):
        done += await processes[number % 4].take(TIM, recipients(limit=limit)) is None
        assert node.counted() >= done or number % 50
    assert limit - 4 * (limit // 50) <= done <= limit
    # What a process keeps for an account that is idle comes back.
    for each in processes:
        await each.close()
    assert node.counted() == done
    done += await taken(processes[0], recipients(limit=limit), limit)
    assert done == limit


async def test_sessions_of_one_process_share_one_block(node: Node) -> None:
    counters = node.process()
    done = await asyncio.gather(*[taken(counters, recipients(limit=500), 10) for _ in range(60)])
    assert sum(done) == 500
    await counters.close()
    assert node.counted() == 500


async def test_most_takes_write_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = node.process()
    writes = running = 0
    write = node.databases[0].write

    async def counting(change: Callable[[sqlite3.Connection], object]) -> object:
        nonlocal writes, running
        writes += 1
        running += 1
        try:
            return await write(change)
        finally:
            running -= 1

    monkeypatch.setattr(node.databases[0], "write", counting)
    waited = 0
    for _ in range(200):
        before = writes
        assert await counters.take(TIM, recipients()) is None
        waited += writes > before
        for _ in range(5):
            await asyncio.sleep(0)
        while running:
            await asyncio.sleep(0.0005)  # so that what was asked for ahead comes
        await asyncio.sleep(0)
    assert writes <= 20
    assert waited <= 1  # only the first one waits


async def test_all_or_nothing(node: Node) -> None:
    counters = node.process()
    wants = [*recipients(5, limit=100), *messages(limit=2)]
    assert await counters.take(TIM, wants) is None
    assert await counters.take(TIM, wants) is None
    shortage = await counters.take(TIM, wants)
    assert shortage is not None
    assert shortage.want.window is MESSAGES
    await counters.close()
    assert (node.counted("recipients"), node.counted("messages")) == (10, 2)


async def test_accounts_have_nothing_to_do_with_each_other(node: Node) -> None:
    counters = node.process()
    assert await counters.take(TIM, recipients(10, limit=10)) is None
    assert await counters.take("ann@example.org", recipients(10, limit=10)) is None
    assert await counters.take(TIM, recipients(limit=10)) is not None


async def test_more_at_once_than_there_ever_is(node: Node) -> None:
    counters = node.process()
    shortage = await counters.take(TIM, recipients(11, limit=10))
    assert shortage == Shortage(recipients(11, limit=10)[0], 25 * 3600.0)
    assert await counters.take(TIM, recipients(10, limit=10)) is None


async def test_what_was_used_comes_back_after_a_day_and_not_before(node: Node) -> None:
    counters = node.process()
    node.clock.time += 1800.0  # in the middle of an hour
    assert await taken(counters, recipients(limit=10), 11) == 10
    shortage = await counters.take(TIM, recipients(limit=10))
    assert shortage is not None
    assert shortage.seconds == 24.5 * 3600
    node.clock.time += DAY - 1.0
    assert await counters.take(TIM, recipients(limit=10)) is not None
    node.clock.time += shortage.seconds - DAY
    assert await counters.take(TIM, recipients(limit=10)) is not None
    node.clock.time += 1.0
    assert await taken(counters, recipients(limit=10), 11) == 10


async def test_the_wait_is_for_as_much_as_is_wanted(node: Node) -> None:
    counters = node.process()
    began = node.clock.time
    for amount in (3, 3, 4):
        assert await counters.take(TIM, recipients(amount, limit=10)) is None
        node.clock.time += 3600.0
    for amount, hours in ((1, 25), (3, 25), (4, 26), (7, 27), (10, 27)):
        shortage = await counters.take(TIM, recipients(amount, limit=10))
        assert shortage is not None
        assert node.clock.time + shortage.seconds == began + hours * 3600


@pytest.mark.parametrize("seed", range(5))
async def test_no_day_and_no_minute_sees_more_than_the_limit(node: Node, seed: int) -> None:
    chance = random.Random(seed)
    processes = [node.process() for _ in range(2)]
    spans = {RECIPIENTS: DAY, MESSAGES: 60.0}
    for window, limit in ((RECIPIENTS, 30), (MESSAGES, 12)):
        span = spans[window]
        times: list[float] = []
        for _ in range(150):
            node.clock.time += chance.random() * span / 20
            each = chance.choice(processes)
            if await each.take(TIM, [Want(window, 1, limit)]) is None:
                times.append(node.clock.time)
        assert len(times) > limit
        for number, then in enumerate(times[limit:]):
            assert then - times[number] > span


async def test_a_process_that_dies_costs_an_account_one_block_and_gives_it_no_more(node: Node) -> None:
    first, second = node.process(), node.process()
    assert await taken(first, recipients(), 5) == 5
    node.die(0)
    left = await taken(second, recipients(), 1000)
    assert 1000 - 5 - 20 <= left <= 1000 - 5
    node.clock.time += 2 * DAY
    assert await taken(second, recipients(), 1001) == 1000


async def test_what_is_idle_is_given_back(node: Node) -> None:
    counters = node.process()
    assert await taken(counters, recipients(), 3) == 3
    assert node.counted() > 3
    running = asyncio.create_task(counters.run())
    async with asyncio.timeout(60):
        while node.counted() != 3:
            await asyncio.sleep(0.01)
    assert not counters._purses
    running.cancel()


async def test_what_came_to_nothing_costs_nothing(node: Node) -> None:
    counters = node.process()
    for _ in range(50):
        assert await counters.take(TIM, recipients(10, limit=10)) is None
        counters.give_back(TIM, RECIPIENTS, 10)
    await counters.close()
    assert node.counted() == 0
    counters.give_back("nobody@example.org", RECIPIENTS, 10)
    assert not counters._purses


async def test_a_look_takes_nothing_and_sees_the_others(node: Node) -> None:
    first, second = node.process(), node.process()
    assert first.peek(TIM, recipients(10, limit=10)) is None
    assert first.peek(TIM, recipients(11, limit=10)) is not None
    assert await taken(second, recipients(limit=10), 10) == 10
    node.clock.time += 1.0
    assert first.peek(TIM, recipients(limit=10)) is not None
    await second.close()
    assert node.counted() == 10


async def test_a_look_sees_what_was_set_aside_here(node: Node) -> None:
    counters = node.process()
    assert await counters.take(TIM, recipients(limit=100)) is None
    assert counters.peek(TIM, recipients(99, limit=100)) is None
    assert counters.peek(TIM, recipients(100, limit=100)) is not None


async def test_who_hangs_up_while_it_is_asked_for_keeps_nothing(node: Node) -> None:
    counters = node.process()
    taking = asyncio.create_task(counters.take(TIM, recipients(10, limit=10)))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert await counters.take(TIM, recipients(10, limit=10)) is None


async def test_other_limits_hold_at_once(node: Node) -> None:
    counters = node.process()
    assert await taken(counters, recipients(limit=10), 11) == 10
    assert await taken(counters, recipients(limit=20), 20) == 10
    assert await taken(counters, recipients(limit=5), 5) == 0


async def test_a_clock_that_was_far_ahead_locks_nobody_out(node: Node) -> None:
    counters = node.process()
    node.clock.time += 10 * 365 * DAY
    assert await taken(counters, recipients(limit=10), 10) == 10
    await counters.close()
    node.clock.time -= 10 * 365 * DAY
    assert await taken(counters, recipients(limit=10), 11) == 10


async def test_a_clock_put_back_a_little_gives_no_more(node: Node) -> None:
    counters = node.process()
    assert await taken(counters, recipients(limit=10), 10) == 10
    node.clock.time -= 60.0
    assert await counters.take(TIM, recipients(limit=10)) is not None


async def test_what_is_over_does_not_stay_in_the_file(node: Node) -> None:
    counters = node.process()
    for number in range(30):
        assert await counters.take(f"{number}@example.org", [*recipients(), *messages()]) is None
    await counters.close()
    node.clock.time += 3 * DAY
    running = asyncio.create_task(counters.run())

    def rows() -> int:
        with contextlib.closing(sqlite3.connect(node.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM quota").fetchone()[0])

    async with asyncio.timeout(60):
        while rows():
            await asyncio.sleep(0.01)
    running.cancel()


async def test_while_the_file_is_in_trouble_a_process_counts_by_itself_and_owes(node: Node) -> None:
    counters = node.process()
    database = node.databases[0]
    assert await taken(counters, recipients(limit=100), 10) == 10
    real, real_read = database.write, database.read

    async def fail(change: object) -> None:
        raise StateUnavailable("read-only")

    def fail_read(sql: str, values: object = ()) -> None:
        raise StateUnavailable("gone")

    database.write, database.read = fail, fail_read  # type: ignore[method-assign, assignment]
    assert await taken(counters, recipients(limit=100), 100) == 90
    assert counters.peek(TIM, recipients(limit=100)) is not None
    assert await taken(counters, recipients(limit=50), 10) == 0
    await counters._settle(list(counters._purses))  # in vain
    assert await taken(counters, recipients(limit=100), 5) == 0
    database.write, database.read = real, real_read  # type: ignore[method-assign]
    await counters.close()
    assert node.counted() == 100
    other = node.process()
    assert await taken(other, recipients(limit=100), 5) == 0


async def test_long_trouble_with_the_file_stops_nobody_for_longer_than_the_window(tmp_path: Path) -> None:
    clock = Clock(time=1_800_000_000.0)
    counters = Counters(Database(tmp_path / "nowhere" / "state.db"), clock)
    for _ in range(5):
        assert await taken(counters, messages(limit=10), 20) == 10
        assert counters.peek(TIM, messages(limit=10)) is not None
        await counters._settle(list(counters._purses))
        clock.time += 70.0
        assert counters.peek(TIM, messages(limit=10)) is None
    [block] = counters._purses[TIM].blocks.values()
    assert len(block.owed) <= 8
    await counters._settle(list(counters._purses))
    assert not counters._purses


async def test_without_a_file_a_process_counts_by_itself(tmp_path: Path) -> None:
    counters = Counters(Database(tmp_path / "nowhere" / "state.db"), Clock())
    assert counters.peek(TIM, recipients(10, limit=10)) is None
    assert await taken(counters, recipients(limit=10), 15) == 10
    counters.give_back(TIM, RECIPIENTS, 2)
    assert await taken(counters, recipients(limit=10), 15) == 2
    await counters.close()
    assert counters.peek(TIM, recipients(limit=10)) is not None


PROCESS = """
import asyncio, sys, time
from pathlib import Path
import gatepost.state.file as file
from gatepost.app import RealClock
from gatepost.state.counters import Counters
from gatepost.state.database import Database
from gatepost.state.windows import RECIPIENTS, Want

file._PATIENCE = 60.0  # nobody counts by itself because the machine is slow

async def main(path, limit):
    database = Database(Path(path))
    database.open()
    counters = Counters(database, RealClock())
    running = asyncio.create_task(counters.run())
    want = [Want(RECIPIENTS, 1, int(limit))]
    print("up", flush=True)
    refused = 0
    while refused < 3:
        if await counters.take("tim@example.org", want) is None:
            print("+", flush=True)
            refused = 0
        else:
            refused += 1
            await asyncio.sleep(0.01)
    running.cancel()
    await counters.close()
    database.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_that_are_killed_never_send_more_in_sum(tmp_path: Path) -> None:
    limit, path = 3000, tmp_path / "state.db"
    block = limit // RECIPIENTS.part

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(path), str(limit)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    def sent(process: subprocess.Popen[str], number: int = -1) -> int:
        """Return how many it sent of *number*, or until its end."""
        assert process.stdout is not None
        return sum(1 for _ in zip(process.stdout, range(number) if number >= 0 else iter(int, 1), strict=False))

    total = 0
    running = [start() for _ in range(3)]
    kills = 3
    for kill in range(kills):
        total += sent(running[kill], 60 + 17 * kill)
        running[kill].kill()
        total += sent(running[kill])
        running.append(start())
    for process in running:
        with process:
            total += sent(process)
        assert process.returncode in (0, -signal.SIGKILL)
    with start() as last:
        total += sent(last)
    assert last.returncode == 0
    # One that was killed may have taken one that it did not tell of.
    assert limit - kills * (block + 1) <= total <= limit
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT sum(amount) FROM quota").fetchone() == (limit,)
