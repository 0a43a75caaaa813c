"""The last word of a session, over a transport that takes nothing after its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.session.wire import Wire


class Transport(asyncio.Transport):
    """As strict as those of the event loops."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.calls: list[str] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if "eof" in self.calls:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.said += data

    def write_eof(self) -> None:
        if self.is_closed:
            raise RuntimeError("closed")
        self.calls.append("eof")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


@pytest.fixture
async def wire() -> Any:
    wire = Wire(asyncio.get_running_loop())
    wire.transport = Transport()
    yield wire
    wire.connection_lost(None)


async def test_nothing_goes_out_after_the_last_word(wire: Wire) -> None:
    transport = wire.transport
    assert isinstance(transport, Transport)
    wire.send(b"421 bye\r\n")
    wire.take_leave()
    wire.send(b"235 too late\r\n")
    wire.flush()
    wire.data_received(b"MAIL FROM:<>\r\n")
    wire.send(b"250 too late\r\n")
    wire.take_leave()
    assert transport.said == b"421 bye\r\n"
    assert transport.calls == ["eof", "resume"]
    assert not wire.has_input
    assert not wire.eof_received()


async def test_a_connection_that_is_lost_already_is_only_closed(wire: Wire) -> None:
    transport = wire.transport
    assert isinstance(transport, Transport)
    transport.is_closed = True
    wire.take_leave()
    assert transport.calls == ["close"]
