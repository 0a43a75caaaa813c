"""The wire to a next hop: what ends it, and that its one timer rings for the wait that is on, and for no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gatepost.model.delivery import Cause
from gatepost.relay.trouble import Silence, Trouble, Violation
from gatepost.relay.wire import Wire


class StandInTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        self.written = b""
        self.is_cut = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: object) -> None:
        self.written += bytes(data)  # type: ignore[call-overload]

    def abort(self) -> None:
        self.is_cut = True

    def close(self) -> None:
        self.wire.connection_lost(None)


class Alarm:
    """A timer of a stand-in clock."""

    def __init__(self, when: float, ring: Callable[[], None]) -> None:
        self._when = when
        self.ring = ring
        self.is_cancelled = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.is_cancelled = True


class Hands:
    """A clock that is turned by hand, in place of that of the event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.alarms: list[Alarm] = []
        self.set_count = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], None]) -> Alarm:
        self.set_count += 1
        self.alarms.append(Alarm(when, ring))
        return self.alarms[-1]

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def turn(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [alarm for alarm in self.alarms if alarm.when() <= end and not alarm.is_cancelled]:
            alarm = min(due, key=Alarm.when)
            self.alarms.remove(alarm)
            self.now = alarm.when()
            alarm.ring()
        self.now = end


@pytest.fixture
async def hands() -> Hands:
    return Hands()


@pytest.fixture
async def wire(hands: Hands) -> Wire:
    wire = Wire()
    wire._loop = hands  # type: ignore[assignment]
    wire.connection_made(StandInTransport(wire))
    wire.data_received(b"220 hop\r\n")
    await wire.reply("greeting", 1)
    return wire


async def waiting(wire: Wire, seconds: float, stage: str = "MAIL") -> asyncio.Task[object]:
    task = asyncio.create_task(wire.reply(stage, seconds))
    await asyncio.sleep(0)
    return task


async def test_replies_come_in_order(wire: Wire) -> None:
    wire.send(b"MAIL\r\nRCPT\r\n", 2)
    wire.data_received(b"250 one\r\n250 two\r\n")
    assert (await wire.reply("MAIL", 1)).lines == ("one",)
    assert (await wire.reply("RCPT", 1)).lines == ("two",)


async def test_replies_that_came_before_the_end_are_still_read(wire: Wire) -> None:
    wire.send(b"MAIL\r\nRCPT\r\n", 2)
    wire.data_received(b"250 one\r\n")
    wire.connection_lost(None)
    assert (await wire.reply("MAIL", 1)).code == 250
    with pytest.raises(Trouble, match=r"connection closed by the next hop \(RCPT\)"):
        await wire.reply("RCPT", 1)


async def test_a_reset_names_its_reason(wire: Wire) -> None:
    wire.connection_lost(ConnectionResetError("reset by peer"))
    with pytest.raises(Trouble, match="connection lost: reset by peer"):
        await wire.reply("MAIL", 1)


@pytest.mark.rfc("5321 §3.8")
async def test_a_421_that_nobody_asked_for_is_what_the_next_hop_said(wire: Wire) -> None:
    wire.data_received(b"421 4.3.2 closing\r\n")
    assert not wire.is_open
    with pytest.raises(Trouble) as caught:
        await wire.reply("MAIL", 1)
    assert caught.value.reply.is_remote
    assert caught.value.reply.code == 421
    assert caught.value.cause is Cause.NEXT_HOP


async def test_any_other_reply_that_nobody_asked_for_ends_the_connection(wire: Wire) -> None:
    wire.data_received(b"250 surprise\r\n")
    with pytest.raises(Trouble, match="nobody asked for"):
        await wire.reply("MAIL", 1)
    wire.data_received(b"250 more\r\n")
    wire.send(b"too late\r\n")
    transport = wire._transport
    assert isinstance(transport, StandInTransport)
    assert transport.is_cut
    assert transport.written == b""


async def test_a_reply_that_will_not_come_is_not_expected(wire: Wire) -> None:
    wire.send(b"DATA\r\n", 2)
    wire.data_received(b"554 no\r\n")
    await wire.reply("DATA", 1)
    wire.forgo()
    assert wire.is_open
    wire.send(b"DATA\r\n", 2)
    wire.data_received(b"554 no\r\n250 but yes\r\n")
    await wire.reply("DATA", 1)
    with pytest.raises(Violation, match="a reply that nobody asked for: 250 but yes"):
        wire.forgo()
    assert not wire.is_open


async def test_a_goodbye_in_its_place_belongs_to_no_command(wire: Wire) -> None:
    wire.send(b"DATA\r\n", 2)
    wire.data_received(b"554 no\r\n421 4.3.2 closing\r\n")
    await wire.reply("DATA", 1)
    wire.forgo()
    assert not wire.is_open


async def test_silence_ends_the_wait_at_its_time_and_not_before(wire: Wire, hands: Hands) -> None:
    wire.send(b"MAIL\r\n")
    task = await waiting(wire, 300)
    hands.turn(299.9)
    await asyncio.sleep(0)
    assert not task.done()
    hands.turn(0.2)
    with pytest.raises(Silence, match=r"no answer within 300 seconds \(MAIL\)"):
        await task


async def test_a_later_wait_starts_its_time_anew(wire: Wire, hands: Hands) -> None:
    wire.send(b"MAIL\r\nRCPT\r\n", 2)
    task = await waiting(wire, 300)
    hands.turn(200)
    wire.data_received(b"250 ok\r\n")
    await task
    task = await waiting(wire, 300)
    hands.turn(299)
    await asyncio.sleep(0)
    assert not task.done()
    hands.turn(2)
    with pytest.raises(Silence):
        await task


async def test_a_shorter_wait_after_a_longer_one_ends_at_its_own_time(wire: Wire, hands: Hands) -> None:
    wire.send(b"a\r\nb\r\n", 2)
    task = await waiting(wire, 600)
    wire.data_received(b"250 ok\r\n")
    await task
    task = await waiting(wire, 10)
    hands.turn(11)
    with pytest.raises(Silence, match="10 seconds"):
        await task


async def test_nothing_ends_while_nobody_waits(wire: Wire, hands: Hands) -> None:
    wire.send(b"a\r\n")
    task = await waiting(wire, 5)
    wire.data_received(b"250 ok\r\n")
    await task
    hands.turn(10_000)
    assert wire.is_open


async def test_a_thousand_replies_need_one_timer(wire: Wire, hands: Hands) -> None:
    for _ in range(1000):
        wire.send(b"NOOP\r\n")
        task = await waiting(wire, 300)
        wire.data_received(b"250 ok\r\n")
        await task
    assert hands.set_count == 1


async def test_back_pressure_holds_us_until_there_is_room(wire: Wire) -> None:
    wire.pause_writing()
    task = asyncio.create_task(wire.writable(60))
    await asyncio.sleep(0)
    assert not task.done()
    wire.resume_writing()
    assert await task is True


async def test_back_pressure_ends_when_the_next_hop_speaks_or_goes(wire: Wire) -> None:
    wire.send(b"", 1)
    wire.pause_writing()
    task = asyncio.create_task(wire.writable(60))
    await asyncio.sleep(0)
    wire.data_received(b"552 too big\r\n")
    assert await task is False
    await wire.reply("content", 1)
    task = asyncio.create_task(wire.writable(60))
    await asyncio.sleep(0)
    wire.connection_lost(None)
    assert await task is False


@pytest.mark.rfc("5321 §4.1.1.10")
async def test_quit_is_said_once_and_closes_at_its_reply(wire: Wire) -> None:
    lost = []
    wire.on_lost = lambda: lost.append(True)
    wire.quit(5)
    wire.quit(5)
    transport = wire._transport
    assert isinstance(transport, StandInTransport)
    assert transport.written == b"QUIT\r\n"
    assert not wire.is_open
    wire.data_received(b"221 bye\r\n")
    assert wire.is_gone
    assert lost == [True]


async def test_an_unanswered_quit_is_cut(wire: Wire, hands: Hands) -> None:
    wire.quit(5)
    hands.turn(6)
    transport = wire._transport
    assert isinstance(transport, StandInTransport)
    assert transport.is_cut
