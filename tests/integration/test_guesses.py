"""Failed logins: never more than the limit are judged, and never fewer, however many workers there are."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.errors import StateUnavailable
from gatepost.observe.events import StateTroubled
from gatepost.state import guess_rows
from gatepost.state import guesses as guesses_module
from gatepost.state import slots as slots_module
from gatepost.state.guesses import Guess, LockedOut
from gatepost.state.homes import Homes
from gatepost.state.lockouts import Lockout, forget, lockouts
from gatepost.state.slots import Slots
from gatepost.state.subjects import LoginLimits
from guess_world import GuessWorker, HandClock, workers

SMALL = LoginLimits(per_address=8, per_network=20, per_login=12)
ADDRESS = "too many failed logins from this address"


async def test_after_the_limit_no_login_of_an_address_is_judged_right_or_wrong(tmp_path):
    async with workers(tmp_path, SMALL, 2) as (one, other):
        assert await one.fail(times=99) == 8
        for worker in (one, other):
            assert await worker.reason() == ADDRESS
            assert await worker.reason(login="bob") == ADDRESS
            assert await worker.reason(login="") == ADDRESS
            assert await worker.reason("192.0.2.2") == ""
        assert one.locked == [("address", "192.0.2.1")]
        assert other.locked == []


async def test_an_ipv6_client_has_no_more_guesses_for_having_more_addresses(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        judged = [await one.fail(f"2001:db8:0:1::{number:x}", f"user{number}") for number in range(20)]
        assert sum(judged) == 8
        assert await one.reason("2001:db8:0:2::1", "bob") == ""


async def test_a_network_is_locked_out_as_a_whole_and_its_neighbours_are_not(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        judged = [await one.fail(f"192.0.2.{number}", f"user{number}", 3) for number in range(20)]
        assert sum(judged) == 20
        assert await one.reason("192.0.2.200", "bob") == "too many failed logins from this network"
        assert await one.reason("192.0.3.200", "bob") == ""
        assert one.locked == [("network", "192.0.2.0/24")]


async def test_a_login_is_locked_out_for_strangers_but_not_where_it_is_at_home(tmp_path):
    async with workers(tmp_path, SMALL, 2) as (one, other):
        await one.succeed("198.51.100.7")
        one.guesses._homes.flush()
        judged = [await one.fail(f"203.0.{number}.1") for number in range(20)]
        assert sum(judged) == 12
        for worker in (one, other):
            assert await worker.reason("203.0.99.1") == "too many failed logins with this name"
            assert await worker.reason("203.0.99.1", "bob") == ""
            assert await worker.reason("198.51.100.7") == ""
        assert one.locked == [("login", "tim")]


async def test_a_name_that_nobody_has_is_locked_out_just_the_same(tmp_path):
    """Nothing here knows who exists, so no answer can tell."""
    async with workers(tmp_path, SMALL) as (one,):
        for name in ("tim", "nobody at all"):
            assert sum([await one.fail(f"203.0.{number}.1", name) for number in range(15)]) == 12


async def test_even_at_home_there_is_a_limit(tmp_path):
    limits = LoginLimits(per_address=100, per_network=100, per_login=5)
    async with workers(tmp_path, limits) as (one,):
        await one.succeed()
        assert await one.fail(times=99) == 5
        assert await one.reason() == "too many failed logins with this name from this address"
        assert await one.reason("198.51.100.1") == ""
        assert one.locked == [("login at home", "192.0.2.1 tim")]


async def test_a_success_forgives_the_login_where_it_is_at_home_but_not_the_address(tmp_path):
    async with workers(tmp_path, LoginLimits(per_address=30, per_login=5)) as (one,):
        await one.succeed()
        for _ in range(5):
            await one.fail(times=4)
            await one.succeed()
        assert await one.count("h 192.0.2.1 tim") == 0
        assert await one.count("a 192.0.2.1") == 20
        # With a login of their own nobody gets more guesses at the others.
        assert await one.fail(login="bob", times=4) == 4
        await one.succeed()
        assert await one.fail(login="eve", times=99) == 5
        assert await one.fail(login="joe", times=99) == 1
        assert await one.reason() == ADDRESS


async def test_failures_are_forgotten_a_window_later_and_not_before(tmp_path):
    async with workers(tmp_path, SMALL, 2) as (one, other):
        assert await one.fail(times=5) == 5
        one.clock.time += 1800
        assert await other.fail(times=9) == 3
        one.clock.time += 1799
        assert await other.fail() == 0
        one.clock.time += 301
        # The first five are forgotten, the later three are not.
        assert await one.fail(times=9) == 5
        one.clock.time += 3900
        assert await one.fail(times=99) == 8


async def test_what_is_forgotten_is_deleted(tmp_path):
    async with workers(tmp_path, LoginLimits()) as (one,):
        for number in range(30):
            await one.fail(login=f"user{number}")
        one.clock.time += 2 * 3600
        await one.fail("198.51.100.1", "bob")
        rows = await one.database.write(lambda c: c.execute("SELECT count(*) FROM guess").fetchone()[0])
        assert rows == 3


async def test_a_clock_that_was_wrong_locks_nobody_out_for_long(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        one.clock.time += 365 * 86_400
        assert await one.fail(times=99) == 8
        one.clock.time -= 365 * 86_400
        assert await one.fail(times=99) == 8


async def test_more_is_not_kept_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(guess_rows, "_ROW_LIMIT", 50)
    async with workers(tmp_path, LoginLimits()) as (one,):
        for number in range(60):
            await one.fail(login=f"user{number}")
        one.clock.time += 400
        await one.fail("198.51.100.1", "bob")
        await one.count("")
        rows = await one.database.write(lambda c: c.execute("SELECT count(*) FROM guess").fetchone()[0])
        assert rows == 3


async def test_an_exempt_address_is_not_counted_but_its_logins_are(tmp_path):
    limits = LoginLimits(per_address=5, per_network=5, per_login=7, exempt=(ipaddress.ip_network("192.0.2.0/24"),))
    async with workers(tmp_path, limits) as (one,):
        assert sum([await one.fail(login=f"user{number}") for number in range(40)]) == 40
        assert await one.fail(times=99) == 7
        assert await one.fail("198.51.100.1", "bob", times=99) == 5


async def test_without_limits_nothing_is_counted(tmp_path):
    async with workers(tmp_path, LoginLimits(0, 0, 0)) as (one,):
        assert await one.fail(times=300) == 300
        await one.succeed()
        assert await one.count("a 192.0.2.1") == 0


async def test_other_limits_hold_at_once(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        await one.fail(times=99)
        one.guesses.adapt(LoginLimits(per_address=10))
        assert await one.fail(times=99) == 2
        one.guesses.adapt(SMALL)
        assert await one.reason() == ADDRESS


# What it costs


async def test_a_login_from_where_nobody_failed_writes_nothing_and_looks_once(tmp_path, monkeypatch):
    async with workers(tmp_path, LoginLimits()) as (one,):
        await one.succeed()
        one.guesses._homes.flush()
        await one.count("")
        looks = []
        read = one.database.read
        monkeypatch.setattr(one.database, "read", lambda *of: looks.append(of) or read(*of))
        monkeypatch.setattr(one.database, "submit", lambda _: pytest.fail("it wrote"))
        for _ in range(50):
            await one.succeed()
        assert len(looks) == 50


async def test_an_address_with_some_failures_still_logs_in_without_writing(tmp_path, monkeypatch):
    async with workers(tmp_path, LoginLimits()) as (one,):
        await one.succeed()
        await one.fail(login="bob", times=60)
        one.guesses._homes.flush()
        await one.count("")
        monkeypatch.setattr(one.database, "submit", lambda _: pytest.fail("it wrote"))
        await one.succeed()


async def test_successes_near_the_limit_are_all_judged(tmp_path):
    """What is written before they are judged is taken back, before the next one comes."""
    async with workers(tmp_path, SMALL, 2) as both:
        await both[0].fail(login="bob", times=7)
        for number in range(30):
            await both[number % 2].succeed()
        assert await both[0].count("a 192.0.2.1") == 7
        assert await both[1].fail(times=9) == 1


async def test_many_at_once_from_an_address_without_failures_are_all_judged(tmp_path):
    async with workers(tmp_path, LoginLimits(), 2) as both:
        held = [await both[number % 2].guesses.begin("192.0.2.1", "tim") for number in range(60)]
        assert all(isinstance(each, Guess) for each in held)
        for each in held:
            await each.succeeded()
        assert await both[0].count("a 192.0.2.1") == 0


async def test_what_was_not_judged_counts_for_nothing(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        for _ in range(30):
            guess = await one.guesses.begin("192.0.2.1", "tim")
            guess.withdrawn()
        assert await one.fail(times=99) == 8
        one.guesses.adapt(LoginLimits(per_address=9))
        for _ in range(30):
            guess = await one.guesses.begin("192.0.2.1", "tim")
            guess.withdrawn()
            await one.count("")
        assert await one.fail(times=99) == 1


async def test_a_guess_ends_once(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        guess = await one.guesses.begin("192.0.2.1", "tim")
        await guess.failed()
        await guess.failed()
        await guess.succeeded()
        guess.withdrawn()
        assert await one.count("a 192.0.2.1") == 1


async def test_a_session_that_is_cancelled_while_it_reserves_keeps_nothing(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        await one.fail(times=7)
        for _ in range(5):
            task = asyncio.create_task(one.guesses.begin("192.0.2.1", "tim"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await one.count("")
            await asyncio.sleep(0)
            await one.count("")
        assert await one.count("a 192.0.2.1") == 7
        assert await one.fail(times=9) == 1


async def test_a_failure_is_written_though_its_session_is_cancelled(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        guess = await one.guesses.begin("192.0.2.1", "tim")
        task = asyncio.create_task(guess.failed())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await one.count("a 192.0.2.1") == 1


async def test_nobody_waits_for_ever_for_those_who_are_being_judged(tmp_path):
    async with workers(tmp_path, SMALL, 2) as (one, other):
        slow = await one.guesses.begin("192.0.2.1", "slow")
        await other.fail(times=6)
        waiting = asyncio.create_task(other.guesses.begin("192.0.2.1", "tim"))
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        other.clock.waited += 11
        assert isinstance(await waiting, LockedOut)
        await slow.failed()
        assert await other.fail(times=9) == 1


async def test_it_is_told_once_whoever_fills_the_last_place(tmp_path):
    async with workers(tmp_path, SMALL, 2) as (one, other):
        await one.fail(times=6)
        held = [await one.guesses.begin("192.0.2.1", "tim"), await other.guesses.begin("192.0.2.1", "tim")]
        assert isinstance(await one.guesses.begin("192.0.2.1", "tim"), LockedOut)
        await held[1].succeeded()
        await held[0].failed()
        assert one.locked + other.locked == []
        assert await one.fail(times=9) == 1
        assert one.locked + other.locked == [("address", "192.0.2.1")]


# Exactly

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 2), st.sampled_from(["tim", "bob"])),
        st.tuples(st.just("end"), st.integers(0, 30), st.sampled_from(["failed", "failed", "succeeded", "withdrawn"])),
    ),
    min_size=1,
    max_size=40,
)


class Model:
    """Attempts of all workers, in any order; at no moment may more be judged than the limit allows."""

    def __init__(self, limit: int, all_of_them: list[GuessWorker]) -> None:
        self.limit = limit
        self.workers = all_of_them
        # How full it was at most since each of them began: who still waits may have a place, and not have heard of it.
        self.waiting: dict[asyncio.Task[Guess | LockedOut], int] = {}
        self.judged: list[Guess] = []
        self.failures = 0

    async def settle(self) -> None:
        if self.waiting:
            await asyncio.wait(self.waiting, timeout=0.02)
        done = {task: fullest for task, fullest in self.waiting.items() if task.done()}
        for task, fullest in done.items():
            del self.waiting[task]
            answer = task.result()
            if isinstance(answer, Guess):
                self.judged.append(answer)
            else:
                # Nobody is turned away who always had room.
                assert fullest >= self.limit, answer
        assert self.failures + len(self.judged) <= self.limit

    async def begin(self, worker: int, login: str) -> None:
        guesses = self.workers[worker % len(self.workers)].guesses
        self.waiting[asyncio.create_task(guesses.begin("192.0.2.1", login))] = 0
        full = self.failures + len(self.judged) + len(self.waiting) - 1
        self.waiting = {task: max(fullest, full) for task, fullest in self.waiting.items()}
        await self.settle()

    async def end(self, number: int, how: str) -> None:
        if not self.judged:
            return
        guess = self.judged.pop(number % len(self.judged))
        if how == "failed":
            self.failures += 1
            await guess.failed()
        elif how == "succeeded":
            await guess.succeeded()
        else:
            guess.withdrawn()
            for each in self.workers:
                await each.count("")
        await self.settle()

    async def finish(self) -> None:
        while self.judged or self.waiting:
            await self.end(0, "failed")
            await self.settle()
        while self.failures < self.limit:
            self.failures += await self.workers[self.failures % len(self.workers)].fail(login="eve")
        for each in self.workers:
            assert await each.reason(login="eve") == ADDRESS
        assert await self.workers[0].count("a 192.0.2.1") == self.limit


async def play(folder: Path, limit: int, count: int, operations: list[tuple[str, int, str]]) -> None:
    async with workers(folder, LoginLimits(limit, 0, 0), count) as all_of_them:
        model = Model(limit, all_of_them)
        for name, number, what in operations:
            await getattr(model, name)(number, what)
        await model.finish()


@given(st.integers(1, 13), st.integers(1, 3), OPERATIONS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_in_no_order_of_things_are_more_judged_than_the_limit_or_fewer(tmp_path_factory, limit, count, operations):
    asyncio.run(play(tmp_path_factory.mktemp("state"), limit, count, operations))


CHILD = """
import asyncio, json, sys, time
from pathlib import Path
import gatepost.state.file as file
from gatepost.observe.emit import Emitter
from gatepost.observe.events import LoginsLocked
from gatepost.state.database import Database
from gatepost.state.guesses import Guesses, LockedOut
from gatepost.state.subjects import LoginLimits

class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)

file._PATIENCE = 60.0  # nobody counts by itself because the machine is slow

async def main(path, attempts, pace, hangs):
    events = []
    emit = Emitter(events.append)
    database = Database(Path(path), emit=emit)
    database.open()
    guesses = Guesses(database, LoginLimits(per_address=100, per_network=0, per_login=0), Clock(), emit)
    guesses.open()
    print("open", flush=True)
    sys.stdin.readline()
    judged = 0
    async def attempt(number):
        nonlocal judged
        guess = await guesses.begin("192.0.2.1", f"user{number}")
        if isinstance(guess, LockedOut):
            return
        if hangs:
            print("judging", flush=True)
            await asyncio.sleep(3600)
        await asyncio.sleep(pace * (number % 7))
        if number % 5 == 0:
            await guess.succeeded()
        else:
            judged += 1
            await guess.failed()
    await asyncio.gather(*map(attempt, range(attempts)))
    print(json.dumps([judged, sum(isinstance(each, LoginsLocked) for each in events)]), flush=True)
    guesses.close()
    database.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "hangs"))
"""


def child(path: Path, attempts: int, pace: float = 0.0, how: str = "ends") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(attempts), str(pace), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("pace", [0.0, 0.003, 0.02])
async def test_four_processes_under_fire_judge_exactly_the_limit(tmp_path, pace):
    """A fifth of the guesses are right, and are taken for wrong ones until they were judged."""
    children = [child(tmp_path / "state.db", 150, pace) for _ in range(4)]
    for each in children:
        assert each.stdout.readline() == "open\n"
    for each in children:
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [json.loads(each.communicate(timeout=120)[0]) for each in children]
    failed = sum(judged for judged, _ in said)
    assert 90 < failed <= 100
    limits = LoginLimits(per_address=100, per_network=0, per_login=0)
    async with workers(tmp_path, limits) as (one,):
        one.clock.now = time.time
        assert failed + await one.fail(times=99) == 100
        assert sum(locked for _, locked in said) + len(one.locked) == 1


async def test_what_a_killed_process_held_comes_back_and_what_it_reserved_stays_a_failure(tmp_path):
    async with workers(tmp_path, LoginLimits(per_address=100, per_network=0, per_login=0)) as (one,):
        # The clock of the child is the true one.
        one.clock.now = time.time
        with child(tmp_path / "state.db", 40, 0.0, "hangs") as victim:
            assert victim.stdout.readline() == "open\n"
            victim.stdin.write("go\n")
            victim.stdin.flush()
            for _ in range(40):
                assert victim.stdout.readline() == "judging\n"
            reserved = await one.count("a 192.0.2.1")
            assert 15 <= reserved < 40
            # While they are judged, nobody takes their places.
            assert await one.fail(times=75 - int(reserved)) == 75 - reserved
            waiting = asyncio.create_task(one.fail(times=99))
            await asyncio.wait({waiting}, timeout=0.05)
            assert not waiting.done()
            victim.send_signal(signal.SIGKILL)
        assert await waiting == 25
        assert await one.count("a 192.0.2.1") == 100


# In trouble


async def test_without_its_file_each_worker_counts_by_itself_and_says_so(tmp_path):
    folder = tmp_path / "away"
    async with workers(folder, SMALL) as (one,):
        for _ in range(20):
            await one.succeed("198.51.100.9")
        assert await one.fail(times=99) == 8
        assert await one.reason() == ADDRESS
        assert await one.reason("198.51.100.9") == ""
        assert [type(each) for each in one.events] == [StateTroubled]
        # What it counted meanwhile holds when the file is back.
        folder.mkdir()
        assert await one.reason() == ADDRESS
        assert await one.fail("198.51.100.9", "bob", times=99) == 8
        assert await one.count("a 198.51.100.9") == 8
        one.clock.time += 2 * 3600
        assert await one.fail(times=99) == 8


async def test_a_damaged_file_locks_nobody_out(tmp_path):
    (tmp_path / "state.db").write_bytes(b"nonsense" * 4096)
    async with workers(tmp_path, SMALL, 2) as both:
        await both[0].succeed()
        await both[1].succeed()
        assert await both[0].fail(login="bob", times=99) == 8
        assert await both[1].reason() == ADDRESS
        await asyncio.sleep(0)
        assert [type(each) for each in both[0].events].count(StateTroubled) == 1


async def test_a_file_that_cannot_be_written_lets_logins_in_near_the_limit_too(tmp_path, monkeypatch):
    async with workers(tmp_path, SMALL) as (one,):
        await one.succeed()
        await one.fail(login="bob", times=7)

        def broken(_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(one.database, "_attempt", broken)
        await one.succeed()
        guess = await one.guesses.begin("192.0.2.1", "eve")
        await guess.failed()
        assert await one.reason(login="eve") == ADDRESS
        monkeypatch.undo()
        assert await one.count("a 192.0.2.1") == 7


@pytest.mark.sources
async def test_what_could_not_be_written_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(guesses_module, "_UNWRITTEN_LIMIT", 10)
    monkeypatch.setattr(guesses_module, "_PLAN_LIMIT", 10)
    async with workers(tmp_path / "away", SMALL) as (one,):
        for number in range(50):
            await one.fail(f"198.51.{number}.1", f"user{number}")
        assert len(one.guesses._unwritten) <= 12
        assert len(one.guesses._plans) <= 10


# Homes


async def test_a_home_is_written_down_once_a_day_and_forgotten_after_thirty(tmp_path):
    async with workers(tmp_path, SMALL, 2) as (one, other):
        await one.succeed()
        assert await one.database.write(lambda c: c.execute("SELECT count(*) FROM home").fetchone()[0]) == 0
        one.guesses._homes.flush()
        await one.count("")
        today = int(one.clock.time) // 86_400
        assert one.database.read("SELECT * FROM home") == [("tim", "192.0.2.1", today)]
        one.clock.time += 29 * 86_400
        await other.succeed()
        other.guesses._homes.flush()
        await other.count("")
        assert one.database.read("SELECT * FROM home") == [("tim", "192.0.2.1", today + 29)]
        one.clock.time += 31 * 86_400
        await one.fail("198.51.100.1", "bob")
        await one.count("")
        assert one.database.read("SELECT * FROM home") == []
        await other.fail()
        assert await other.count("l tim") == 1


async def test_homes_take_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("gatepost.state.homes._REMEMBERED", 10)
    monkeypatch.setattr("gatepost.state.homes._ROW_LIMIT", 15)
    async with workers(tmp_path, SMALL) as (one,):
        homes: Homes = one.guesses._homes
        for number in range(35):
            homes.note("tim", f"192.0.2.{number}")
        assert len(homes._known) <= 10
        assert len(homes._unwritten) < 10
        homes.flush()
        one.clock.time += 86_400
        homes.note("tim", "198.51.100.1")
        homes.flush()
        homes.prune()
        await one.count("")
        assert one.database.read("SELECT address FROM home") == [("198.51.100.1",)]


# Slots


async def test_a_slot_is_for_one_and_all_of_them_are_for_nobody_else(tmp_path):
    one, other = Slots(tmp_path / "slots"), Slots(tmp_path / "slots")
    one.open()
    other.open()
    places = [each for _ in range(50) if (each := one.take(0, 4)) is not None]
    assert len(places) == len(set(places)) == 4
    assert not other.hold(0, 4)
    assert not one.hold(0, 4)
    assert other.hold(4, 4)
    assert one.take(4, 4) is None
    other.let_go(4, 4)
    for each in places:
        one.give_back(each)
    assert other.hold(0, 4)
    other.let_go(0, 4)
    assert one.hold(0, 4)
    one.close()
    other.close()


async def test_a_slot_is_kept_a_moment_for_who_comes_next(tmp_path, monkeypatch):
    monkeypatch.setattr(slots_module, "_IDLE", 0.01)
    one, other = Slots(tmp_path / "slots"), Slots(tmp_path / "slots")
    one.open()
    other.open()
    place = one.take(0, 1)
    one.keep(0, place)
    assert not other.hold(0, 1)
    assert one.take(0, 1) == place
    one.keep(0, place)
    async with asyncio.timeout(60):
        while not other.hold(0, 1):
            await asyncio.sleep(0.005)
    one.close()
    other.close()


async def test_without_such_locks_every_guess_is_written_first_and_the_limit_is_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(slots_module.fcntl, "F_OFD_SETLK", 9999)
    async with workers(tmp_path, SMALL, 2) as (one, other):
        guess = await one.guesses.begin("192.0.2.1", "tim")
        assert await other.count("a 192.0.2.1") == 1
        await guess.succeeded()
        assert await other.count("a 192.0.2.1") == 0
        assert await one.fail(times=5) == 5
        assert await other.fail(times=9) == 3


async def test_where_the_slots_cannot_be_opened_the_limit_still_is_a_limit(tmp_path):
    (tmp_path / "guesses.lock").mkdir()
    async with workers(tmp_path, SMALL) as (one,):
        await one.succeed()
        # In the last quarter it cannot be known who is at it: each worker counts what it adds.
        assert 6 <= await one.fail(login="bob", times=99) <= 8 + 8
        assert await one.reason(login="bob") == ADDRESS


# For people


async def test_people_see_who_is_locked_out_and_let_them_in_again(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        await one.succeed("198.51.100.7")
        await one.fail("198.51.100.7", times=2)
        await one.fail(times=99)
        found = lockouts(one.database, SMALL, one.clock.now())
        assert found[:1] == [Lockout("address", "192.0.2.1", 8, 8)]
        assert Lockout("login at home", "198.51.100.7 tim", 2, 12) in found
        assert Lockout("network", "192.0.2.0/24", 8, 20) in found
        assert [each.kind for each in found if each.is_locked] == ["address"]
        assert forget(one.database, address="192.0.2.1") == 2
        assert await one.reason() == ""
        assert await one.count("l tim") == 8
        assert forget(one.database, login="tim") == 2
        assert forget(one.database, login="tim") == 0
        assert await one.count("h 198.51.100.7 tim") == 0
        assert await one.count("a 198.51.100.7") == 2
        assert forget(one.database, address="198.51.100.7") == 2
        assert lockouts(one.database, SMALL, one.clock.now()) == []


async def test_an_ipv6_address_is_let_in_by_any_of_its_addresses(tmp_path):
    async with workers(tmp_path, SMALL) as (one,):
        await one.fail("2001:db8::1", times=99)
        assert forget(one.database, address="2001:db8::ffff") == 2
        assert await one.reason("2001:db8::1") == ""


async def test_people_hear_when_it_cannot_be_read(tmp_path):
    worker = GuessWorker(tmp_path / "away", SMALL, HandClock())
    worker.database.open()
    with pytest.raises(StateUnavailable):
        lockouts(worker.database, SMALL, 0)
    with pytest.raises(StateUnavailable):
        forget(worker.database, login="tim")
    worker.database.close()
