"""Kept connections: how many, who gets one, when they go.  No socket: connections are stand-ins that count."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from gatepost.model.delivery import Cause
from gatepost.relay.client import Connection
from gatepost.relay.pool import Pool
from gatepost.relay.trouble import Trouble, next_hop_trouble, route_trouble


class StandInWire:
    """As much of a wire as a pool sees."""

    def __init__(self) -> None:
        self.on_lost: Callable[[], None] | None = None
        self.is_open = True
        self.is_gone = False

    def lose(self) -> None:
        self.is_open, self.is_gone = False, True
        if self.on_lost is not None:
            self.on_lost()

    def quit(self, seconds: float) -> None:
        self.lose()

    def abort(self) -> None:
        self.lose()

    async def closed(self) -> None:
        assert self.is_gone


class Opener:
    """Opens connections when it is told to, or at once."""

    def __init__(self) -> None:
        self.count = 0
        self.opened: list[Connection] = []
        self.patiences: list[float | None] = []
        self.trouble: Trouble | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, patience: float | None = None) -> Connection:
        self.count += 1
        self.patiences.append(patience)
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        connection = Connection.__new__(Connection)
        connection.wire = StandInWire()  # type: ignore[assignment]
        connection.served, connection.since = 0, 0.0
        connection.transactions_limit = math.inf
        connection.trouble = None
        connection.quit = connection.wire.abort  # type: ignore[method-assign]
        self.opened.append(connection)
        return connection


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def opener() -> Opener:
    return Opener()


async def test_a_connection_given_back_is_used_again(opener: Opener) -> None:
    pool = Pool(opener)
    first = await pool.acquire()
    pool.release(first)
    assert await pool.acquire() is first
    assert opener.count == 1


async def test_the_last_used_is_taken_first(opener: Opener) -> None:
    pool = Pool(opener)
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)
    assert await pool.acquire() is second


async def test_no_more_than_the_limit_and_the_others_wait_in_line(opener: Opener) -> None:
    pool = Pool(opener, limit=2)
    first, second = await pool.acquire(), await pool.acquire()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await settle()
    assert opener.count == 2
    pool.release(second)
    assert await waiting[0] is second
    pool.release(first)
    assert await waiting[1] is first


async def test_too_many_who_wait_are_sent_away(opener: Opener) -> None:
    pool = Pool(opener, limit=1, waiting_limit=1)
    connection = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    with pytest.raises(Trouble, match="too many deliveries wait"):
        await pool.acquire()
    pool.release(connection)
    assert await waiting is connection


async def test_a_connection_of_no_more_use_makes_room_for_another(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    first = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    first.trouble = next_hop_trouble("4.4.2", "gone")
    pool.release(first)
    assert await waiting is not first
    assert opener.count == 2


async def test_a_connection_serves_so_many_messages(opener: Opener) -> None:
    pool = Pool(opener, messages_limit=2)
    first = await pool.acquire()
    first.served = 1
    pool.release(first)
    assert await pool.acquire() is first
    first.served = 2
    pool.release(first)
    assert await pool.acquire() is not first


async def test_an_idle_connection_that_is_lost_is_forgotten_at_once(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    first = await pool.acquire()
    pool.release(first)
    opener.opened[0].wire.abort()
    assert await pool.acquire() is not first


async def test_fresh_lets_go_of_what_lay_idle(opener: Opener) -> None:
    pool = Pool(opener, limit=2)
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)
    third = await pool.acquire(fresh=True)
    assert third not in (first, second)
    assert not first.wire.is_open
    assert not second.wire.is_open


# A next hop that is down, or refuses our login, hears from us once.


@pytest.mark.parametrize("trouble", [next_hop_trouble("4.4.1", "down"), route_trouble("4.7.8", "wrong password")])
async def test_one_failure_answers_all_who_wait_for_the_first_connection(opener: Opener, trouble: Trouble) -> None:
    pool = Pool(opener)
    opener.trouble = trouble
    opener.gate.clear()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(50)]
    await settle()
    assert opener.count == 1
    opener.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert opener.count == 1
    assert all(isinstance(answer, Trouble) and answer.cause is trouble.cause for answer in answers)


async def test_after_a_failure_the_next_one_tries_again(opener: Opener) -> None:
    pool = Pool(opener)
    opener.trouble = next_hop_trouble("4.4.1", "down")
    with pytest.raises(Trouble):
        await pool.acquire()
    opener.trouble = None
    assert await pool.acquire()


async def test_after_the_first_success_all_who_wait_open_theirs(opener: Opener) -> None:
    pool = Pool(opener, limit=3)
    opener.gate.clear()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(5)]
    await settle()
    assert opener.count == 1
    opener.gate.set()
    await settle()
    assert opener.count == 3
    pool.release(opener.opened[0])
    pool.release(opener.opened[1])
    assert len(await asyncio.gather(*waiting)) == 5


async def test_a_next_hop_that_takes_fewer_connections_is_served_over_these(opener: Opener) -> None:
    pool = Pool(opener, limit=10)
    first = await pool.acquire()
    opener.trouble = Trouble(next_hop_trouble("4.3.2", "too many connections").reply, Cause.NEXT_HOP)
    second = asyncio.create_task(pool.acquire())
    third = asyncio.create_task(pool.acquire())
    await settle()
    assert opener.count <= 3
    tried = opener.count
    pool.release(first)
    assert await second is first
    pool.release(first)
    assert await third is first
    pool.release(first)
    assert await pool.acquire() is first
    fourth = asyncio.create_task(pool.acquire())
    await settle()
    assert opener.count == tried  # for a while no more is tried
    pool.release(first)
    assert await fourth is first


async def test_trouble_with_the_login_is_told_even_when_others_stand(opener: Opener) -> None:
    pool = Pool(opener)
    await pool.acquire()
    opener.trouble = route_trouble("4.7.8", "password changed")
    with pytest.raises(Trouble, match="password changed"):
        await pool.acquire()


# Those who go away.


async def test_who_goes_away_while_waiting_leaves_the_line(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    connection = await pool.acquire()
    gone, stays = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await settle()
    gone.cancel()
    await settle()
    pool.release(connection)
    assert await stays is connection


async def test_what_was_given_to_who_went_away_is_passed_on(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    connection = await pool.acquire()
    gone, stays = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await settle()
    pool.release(connection)
    gone.cancel()
    assert await stays is connection
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_room_that_was_given_to_who_went_away_is_passed_on(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    connection = await pool.acquire()
    gone, stays = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await settle()
    connection.trouble = next_hop_trouble("4.4.2", "gone")
    pool.release(connection)
    gone.cancel()
    assert await stays is opener.opened[1]


async def test_who_goes_away_while_opening_makes_room(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    opener.gate.clear()
    gone, stays = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await settle()
    gone.cancel()
    opener.gate.set()
    assert await stays is opener.opened[0]


# The end.


async def test_closing_refuses_nobody_who_waits_and_keeps_nothing(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    connection = await pool.acquire()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await settle()
    await pool.close()
    assert connection.wire.is_open  # a delivery in progress goes on
    pool.release(connection)
    assert await waiting[0] is connection
    connection.trouble = next_hop_trouble("4.4.2", "gone")
    pool.release(connection)
    assert await waiting[1] is opener.opened[1]
    pool.release(opener.opened[1])
    assert opener.opened[1].wire.is_gone


async def test_a_delivery_that_goes_on_gets_a_connection_of_a_closed_pool(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    await pool.close()
    connection = await pool.acquire(fresh=True)
    pool.release(connection)
    assert connection.wire.is_gone
    assert opener.count == 1


class Taken:
    """Connections that others have, until they let go of them."""

    def __init__(self) -> None:
        self.is_free = False
        self.is_waiting = False

    def take(self, _who: object) -> bool:
        return self.is_free

    def give_back(self) -> None:
        pass

    def wait(self, _who: object, *, is_waiting: bool) -> None:
        self.is_waiting = is_waiting

    def must_yield(self, _who: object) -> bool:
        return False


async def test_who_waits_for_what_others_have_gets_it_after_closing_too(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.relay.pool._LOOK_SECONDS", 0.0)
    share = Taken()
    pool = Pool(opener, share=share)
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    await pool.close()
    assert share.is_waiting
    share.is_free = True
    connection = await waiting
    pool.release(connection)
    assert connection.wire.is_gone
    while share.is_waiting:
        await asyncio.sleep(0)


async def test_each_connection_is_opened_with_the_patience_of_who_opens_it(opener: Opener) -> None:
    pool = Pool(opener, limit=1)
    first = await pool.acquire(patience=30.0)
    waiting = [asyncio.create_task(pool.acquire(patience=each)) for each in (None, 7.0)]
    await settle()
    for _ in waiting:
        first.trouble = next_hop_trouble("4.4.2", "gone")
        pool.release(first)
        await settle()
        first = opener.opened[-1]
    assert opener.patiences == [30.0, None, 7.0]
    await asyncio.gather(*waiting)


async def test_closing_lets_go_of_what_is_idle(opener: Opener) -> None:
    pool = Pool(opener)
    connection = await pool.acquire()
    pool.release(connection)
    await pool.close()
    assert connection.wire.is_gone


async def test_closing_that_is_cut_short_leaves_no_connection_open(opener: Opener) -> None:
    pool = Pool(opener)
    connection = await pool.acquire()
    pool.release(connection)
    wire = connection.wire
    connection.quit = lambda: None  # type: ignore[method-assign]  # no answer to QUIT
    never = asyncio.Event()
    wire.closed = never.wait  # type: ignore[assignment,method-assign]
    closing = asyncio.create_task(pool.close(3600))
    await settle()
    assert not wire.is_gone
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert wire.is_gone
