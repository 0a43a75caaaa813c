"""The replies after the final dot: each has its patience, and all together have theirs."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from contracts.transport_contract import delivery
from gatepost.model.delivery import Deferred, Delivered
from gatepost.relay.capabilities import Capabilities
from gatepost.relay.lmtp import LmtpConnection
from gatepost.relay.replies import WireReply
from gatepost.relay.trouble import Silence
from gatepost.relay.wire import Timeouts, Wire

GO_ON = WireReply(354, ("go on",))
KEPT = WireReply(250, ("2.1.5 kept",))


class SlowWire:
    """Answers everything at once, but for the content: there each reply takes so many seconds of a clock of its own."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.is_open = True
        self.has_spoken_unasked = False
        self.patience: list[float] = []

    def send(self, data: bytes, replies: int = 1) -> None: ...

    def write(self, data: bytes) -> None: ...

    def expect(self, replies: int) -> None: ...

    def abort(self) -> None:
        self.is_open = False

    async def writable(self, seconds: float) -> bool:
        return True

    async def reply(self, stage: str, seconds: float) -> WireReply:
        if stage != "content":
            return GO_ON if stage == "DATA" else KEPT
        self.patience.append(seconds)
        if seconds < self.seconds:
            raise Silence("no answer")
        self.now += self.seconds
        return KEPT


async def transact(wire: SlowWire, count: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: wire.now)
    connection = LmtpConnection(cast("Wire", wire), Capabilities(pipelining=True), "hop", Timeouts(final=600.0))
    it = delivery(*(f"u{number}@x.net" for number in range(count)))
    return await connection.transact(it.envelope, it.recipients, it.content)


@pytest.mark.rfc("2033 §4.2")
async def test_each_reply_may_take_as_long_as_that_of_smtp(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = SlowWire(599.0)
    assert all(isinstance(each, Delivered) for each in await transact(wire, 4, monkeypatch))
    assert wire.patience == [600.0] * 4


async def test_all_replies_together_end_in_time_and_those_that_came_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = SlowWire(590.0)
    results = await transact(wire, 100, monkeypatch)
    assert [isinstance(each, Delivered) for each in results] == [True] * 4 + [False] * 96
    assert all(isinstance(each, Deferred) and each.is_doubtful for each in results[4:])
    assert wire.now < 3000.0
