"""Faults on the way to a next hop, octet by octet, and the judge of what our client made of them.

async with Cutter(hop.port, down=57) as way:    # the 57th octet of the next hop is the last that arrives
    results = await deliver(way.port)
judge(hop, recipients, results)
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Self

from gatepost.model.delivery import Deferred, Delivered, Failed, Result
from next_hop import FakeNextHop

__all__ = ["Cutter", "judge"]


class Cutter:
    """A way to a port of 127.0.0.1 that ends after so many octets.

    Args:
        port: where it leads.
        down: octets that come back from there before all is cut.
        up: octets that get there before all is cut.
        each: octets that are passed on at once.

    Attributes:
        down_count: octets that came back.
        up_count: octets that got there.
    """

    def __init__(self, port: int, *, down: float = math.inf, up: float = math.inf, each: int = 65536) -> None:
        self._port = port
        self._down = down
        self._up = up
        self._each = each
        self._tasks: set[asyncio.Task[None]] = set()
        self.down_count = 0
        self.up_count = 0

    @property
    def port(self) -> int:
        """Where it begins."""
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            ends.append(far_writer)
            ways = [self._carry(reader, far_writer, down=False), self._carry(far_reader, writer, down=True)]
            both = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in both:
                    each.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.close()
            for end in ends:
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await end.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        """Pass octets on until one side closes, or as many have passed as may."""
        while data := await reader.read(self._each):
            left = self._down - self.down_count if down else self._up - self.up_count
            data = data[: int(min(left, len(data)))]
            if down:
                self.down_count += len(data)
            else:
                self.up_count += len(data)
            writer.write(data)
            await writer.drain()
            if left <= len(data):
                return


def judge(hop: FakeNextHop, recipients: Sequence[str], results: Sequence[Result]) -> None:
    """Hold *results* to what the next hop did: nothing is lost, nobody gets a wrong bounce, each doubt is told."""
    assert len(results) == len(recipients)
    taken = {each for mail in hop.accepted for each in mail.recipients}
    for recipient, result in zip(recipients, results, strict=True):
        match result:
            case Delivered():
                assert recipient in taken, f"{recipient} is lost"
            case Failed():
                steps = {"MAIL", f"RCPT {recipient}", "DATA", "content", "end"}
                noes = [octets for step, octets in hop.said if step in steps and octets[:1] == b"5"]
                assert noes, f"nobody refused {recipient}, which failed"
                assert recipient not in taken, f"{recipient} is taken, and failed"
            case Deferred():
                assert result.is_doubtful or recipient not in taken, (
                    f"one more copy for {recipient}, and nobody says so"
                )
