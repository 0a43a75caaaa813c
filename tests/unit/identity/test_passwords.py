"""The hashing pool and the memory of verified passwords: bounded both, and a no is never remembered."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity import passwords
from gatepost.identity.passwords import HashingPool, PasswordMemory, Passwords
from gatepost.identity.store import Account, Credential
from gatepost.identity.verifiers import make
from gatepost.model.identity import Secret
from identities import CHEAP, KEYS, Clock


def _account(secret: str, login: str = "tim") -> Account:
    salt = bytes(16)
    held = make(
        Secret(secret.encode()), is_chosen=False, mechanisms=("PLAIN",), salt=salt, iterations=4096, argon2=CHEAP
    )
    return Account(login, salt, 4096, credentials=(Credential("c1", verifiers=held),))


async def test_a_full_pool_says_so_at_once_and_has_room_again_later() -> None:
    pool = HashingPool(1, queue_limit=2)
    go = threading.Event()
    waiting = [asyncio.ensure_future(pool.run(go.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="too many"):
        await pool.run(lambda: None)
    go.set()
    await asyncio.gather(*waiting)
    assert await pool.run(lambda: 7) == 7
    pool.close()


async def test_a_client_that_goes_away_gives_its_place_back() -> None:
    pool = HashingPool(1, queue_limit=1)
    go = threading.Event()
    running, waiting = (asyncio.ensure_future(pool.run(go.wait)) for _ in range(2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    again = asyncio.ensure_future(pool.run(lambda: 7))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await pool.run(lambda: None)
    go.set()
    await running
    assert await again == 7
    pool.close()
    with pytest.raises(RuntimeError):
        await pool.run(lambda: None)


@pytest.mark.skipif(sys.platform != "linux", reason="priority by thread is Linux's")
async def test_hashing_threads_yield_to_the_loop() -> None:
    def place() -> tuple[int, int]:
        return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    pool, before = HashingPool(1), place()
    assert await pool.run(place) == (os.SCHED_IDLE, 19)
    assert place() == before
    pool.close()


async def test_an_error_in_the_pool_comes_out_and_frees_its_place() -> None:
    pool = HashingPool(queue_limit=0)

    def fail() -> None:
        raise ValueError("broken record")

    for _ in range(20):
        with pytest.raises(ValueError, match="broken record"):
            await pool.run(fail)
    pool.close()


async def test_a_thread_rests_as_long_as_it_worked_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    spent, rested = iter([10.0, 10.25, 20.0, 30.0, 31.0, 40.0]), []
    monkeypatch.setattr(passwords.time, "thread_time", lambda: next(spent))
    pool = HashingPool(rest=rested.append)
    checker = Passwords(pool, PasswordMemory(KEYS, Clock()))
    account = _account("right one")
    assert await checker.find(account, Secret(b"wrong one")) is None
    assert await checker.find(account, Secret(b"right one")) is not None
    assert await checker.find(account, Secret(b"wrong two")) is None
    await pool.run(lambda: None)  # by then the thread has rested
    assert rested == [0.25, 1.0]
    pool.close()


async def test_who_waits_for_a_pool_that_closes_does_not_wait_for_ever() -> None:
    pool, began, go = HashingPool(1), threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return go.wait()

    running, waiting = (asyncio.ensure_future(pool.run(work)) for _ in range(2))
    assert await asyncio.to_thread(began.wait, 60)
    pool.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert await running


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    real = passwords.matching

    def counting(*arguments: object) -> int | None:
        done.append("hashed")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(passwords, "matching", counting)
    return done


async def test_a_good_password_is_known_for_its_time_and_a_bad_one_never(monkeypatch: pytest.MonkeyPatch) -> None:
    done, clock = _counted(monkeypatch), Clock()
    checker = Passwords(HashingPool(1), PasswordMemory(KEYS, clock, seconds=300))
    account = _account("right one")
    for _ in range(3):
        found = await checker.find(account, Secret(b"right one"))
        assert found is not None
        assert found.id == "c1"
    assert len(done) == 1
    for _ in range(3):
        assert await checker.find(account, Secret(b"wrong one")) is None
    assert len(done) == 4
    clock.time += 299
    await checker.find(account, Secret(b"right one"))
    assert len(done) == 4
    clock.time += 1
    await checker.find(account, Secret(b"right one"))
    assert len(done) == 5
    checker.close()


async def test_many_who_bring_the_same_password_at_once_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _counted(monkeypatch)
    checker = Passwords(HashingPool(1, queue_limit=2), PasswordMemory(KEYS, Clock(), seconds=0))
    account = _account("right one")
    found = await asyncio.gather(*[checker.find(account, Secret(b"right one")) for _ in range(100)])
    assert {each.id for each in found if each is not None} == {"c1"}
    assert None not in found
    assert await asyncio.gather(*[checker.find(account, Secret(b"wrong one")) for _ in range(100)]) == [None] * 100
    assert len(done) == 2
    # Later ones begin anew, and what is not the same is not shared.
    guesses = [checker.find(account, Secret(b"guess %d" % number)) for number in range(10)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    turned_away = sum(isinstance(each, StoreUnavailable) for each in answers)
    assert len(done) == 2 + 10 - turned_away
    assert answers.count(None) == 10 - turned_away
    checker.close()


async def test_one_who_goes_away_takes_nothing_from_those_who_bring_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    done, account = _counted(monkeypatch), _account("right one")
    pool = HashingPool(1, queue_limit=1)
    checker, go = Passwords(pool, PasswordMemory(KEYS, Clock())), threading.Event()
    busy = asyncio.ensure_future(pool.run(go.wait))
    first, second = (asyncio.ensure_future(checker.find(account, Secret(b"right one"))) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    third = asyncio.ensure_future(checker.find(account, Secret(b"right one")))
    await asyncio.sleep(0.01)
    second.cancel()
    third.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    # All have gone, and so has their place in the queue.
    again = asyncio.ensure_future(checker.find(account, Secret(b"right one")))
    await asyncio.sleep(0.01)
    go.set()
    await busy
    found = await again
    assert found is not None
    assert len(done) == 1
    checker.close()


async def test_a_changed_verifier_another_name_and_another_password_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    done, clock = _counted(monkeypatch), Clock()
    checker = Passwords(HashingPool(1), PasswordMemory(KEYS, clock))
    await checker.find(_account("right one"), Secret(b"right one"))
    assert await checker.find(_account("another one"), Secret(b"right one")) is None
    assert await checker.find(_account("right one", "ann"), Secret(b"right one")) is not None
    assert await checker.find(_account("right one"), Secret(b"right on")) is None
    assert len(done) == 4
    checker.close()


def test_the_memory_is_bounded_and_forgets_what_was_not_used() -> None:
    memory = PasswordMemory(KEYS, Clock(), entries=3)
    tags = [bytes([number]) * 32 for number in range(4)]
    for tag in tags[:3]:
        memory.remember(tag)
    assert memory.knows(tags[0])
    memory.remember(tags[3])
    assert [memory.knows(tag) for tag in tags] == [True, False, True, True]


@pytest.mark.parametrize(("seconds", "entries"), [(0, 10), (300, 0)])
def test_a_memory_that_is_off_remembers_nothing(seconds: float, entries: int) -> None:
    memory = PasswordMemory(KEYS, Clock(), seconds, entries)
    memory.remember(b"tag")
    assert not memory.knows(b"tag")


def test_a_tag_tells_its_parts_apart_and_holds_none() -> None:
    memory = PasswordMemory(KEYS, Clock())
    tags = {
        memory.tag("tim", Secret(b"ab"), Secret(b"c")),
        memory.tag("tim", Secret(b"a"), Secret(b"bc")),
        memory.tag("ti", Secret(b"mab"), Secret(b"c")),
    }
    assert len(tags) == 3
    assert all(len(each) == 32 for each in tags)
